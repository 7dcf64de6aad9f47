package serve_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/serve"
	"piimg/store/serve/servetest"
)

// cacheSize is how many bytes of blobs lie in the cache folder.
func (w *world) cacheSize() int64 {
	w.t.Helper()
	var n int64
	all, err := os.ReadDir(filepath.Dir(w.cached(store.Digest{})))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range all {
		info, err := e.Info()
		if err != nil {
			w.t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}

// sizedWorld has room for so many images.
func sizedWorld(t *testing.T, images int64) (*world, *flakySource) {
	source := &flakySource{}
	w := newWorld(t, func(c *serve.Config) { source.Source = c.Source; c.Source = source })
	w.promote("dev", "v0")
	w.cfg.CacheSize = images*w.cacheSize() + w.cacheSize()/2
	w.restart()
	return w, source
}

// The cache stays below its limit, and keeps what an environment runs and ran before.
func TestCacheSize(t *testing.T) {
	w, source := sizedWorld(t, 3)
	var images []store.Digest
	for n := range 8 {
		images = append(images, w.promote("dev", fmt.Sprintf("v%d", n+1)))
		if got := w.cacheSize(); got > w.cfg.CacheSize {
			t.Errorf("after image %d the cache has %d bytes, the limit is %d", n+1, got, w.cfg.CacheSize)
		}
		w.clock.pass(time.Hour)
	}
	if got := w.scrape(); !strings.Contains(got, fmt.Sprintf("\npiimg_cache_bytes %d\n", w.cacheSize())) {
		t.Errorf("piimg_cache_bytes is not %d:\n%s", w.cacheSize(), got)
	}
	source.fail(errors.New("the store is away"))
	w.want("by-digest/"+images[7].String()+"/vmlinuz", "v8")
	w.want("by-digest/"+images[6].String()+"/vmlinuz", "v7")
	w.wantTrouble("by-digest/" + images[0].String() + "/vmlinuz")
	w.restart()
	w.want("91cdf03d/vmlinuz", "v8")
	w.want("by-digest/"+images[6].String()+"/vmlinuz", "v7")

	source.fail(nil)
	w.clock.pass(time.Minute)
	w.want("by-digest/"+images[0].String()+"/vmlinuz", "v1") // fetched again
}

// A new head that there is no room for is not served, and does not take the place of an
// image that a board is booting; it is served once that boot is over.
func TestCacheSizeAgainstSessions(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w, _ := sizedWorld(t, 3)
		w.want("00000001/start4.elf", "v0") // its boot goes on all the time
		stay := func() {
			w.clock.pass(20 * time.Second)
			w.want("00000001/config.txt", "v0")
		}
		for n := range 3 {
			w.fleet.promote("dev", w.image(fmt.Sprintf("v%d", n+1), pi4Files...))
			err := w.front.Refresh(t.Context())
			if n < 2 && err != nil || n == 2 && (err == nil || !strings.Contains(err.Error(), "the cache is full")) {
				t.Errorf("head %d: %v", n+1, err)
			}
			for range 4 {
				stay()
			}
			if restart {
				w.restart()
			}
		}
		w.want("00000002/config.txt", "v2")
		w.want("00000001/vmlinuz", "v0")
		w.clock.pass(2 * time.Minute) // now both are over
		w.refresh()
		w.want("00000001/config.txt", "v3")
	}
}

// An image that a board has been told to run is kept as a head is.
func TestCacheSizeAgainstAssignments(t *testing.T) {
	w, source := sizedWorld(t, 4)
	own := w.image("own", pi4Files...)
	w.fleet.assign("00000001", serve.Assignment{Image: own})
	w.want("00000001/config.txt", "own")
	w.want("00000002/config.txt", "v0")
	for n := range 4 {
		w.clock.pass(time.Hour)
		w.promote("dev", fmt.Sprintf("v%d", n+1))
	}
	w.restart()
	w.clock.pass(time.Hour)
	w.promote("dev", "v9")
	source.fail(errors.New("the store is away"))
	w.fleet.goDown(errors.New("the store is away"))
	w.clock.pass(time.Hour)
	w.want("00000001/config.txt", "own")
	w.want("00000002/config.txt", "v9")
}

// Some of the file system stays free.
func TestCacheLeavesDiskFree(t *testing.T) {
	free := int64(1 << 40)
	w := newWorld(t, func(c *serve.Config) {
		c.Space = func(string) (int64, int64, error) { return free, 1 << 40, nil }
	})
	w.promote("dev", "v1")
	free = 1 << 30 // what has to stay
	w.fleet.promote("dev", w.image("v2", pi4Files...))
	if err := w.front.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "the cache is full") {
		t.Errorf("refresh on a full disk: %v", err)
	}
	w.want("91cdf03d/config.txt", "v1")
	free = 1<<30 + 1<<20
	w.clock.pass(time.Minute)
	w.refresh()
	w.want("91cdf03d/config.txt", "v2")
}

// A damaged copy is put aside to be looked at, and at most a few of them.
func TestQuarantine(t *testing.T) {
	w := newWorld(t)
	w.promote("dev", "v1")
	kernel := store.Sum([]byte(text("vmlinuz", "v1")))
	if err := os.WriteFile(w.cached(kernel), []byte("damage"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.want("91cdf03d/vmlinuz", "v1")
	got, err := os.ReadFile(filepath.Join(w.cfg.Dir, "quarantine", kernel.Hex()))
	if err != nil || string(got) != "damage" {
		t.Errorf("quarantine holds %q, %v", got, err)
	}
	w.wantMetrics("piimg_cache_damaged_total 1")
	for n := range 20 {
		if err := os.WriteFile(w.cached(kernel), fmt.Appendf(nil, "damage %d", n), 0o644); err != nil {
			t.Fatal(err)
		}
		w.want("91cdf03d/vmlinuz", "v1")
	}
	if all, err := os.ReadDir(filepath.Join(w.cfg.Dir, "quarantine")); err != nil || len(all) > 8 {
		t.Errorf("%d files in quarantine, %v", len(all), err)
	}
	w.wantClean()
}

// Bits that have flipped since they were hashed, with nothing to show for it, are found
// within a week, and replaced.
func TestScrub(t *testing.T) {
	w := newWorld(t, func(c *serve.Config) { c.Poll = time.Millisecond })
	w.promote("dev", "v1")
	kernel := store.Sum([]byte(text("vmlinuz", "v1")))
	flip(t, w.cached(kernel))
	w.clock.pass(8 * 24 * time.Hour)
	w.runUntil("a damaged copy", func() bool { return strings.Contains(w.scrape(), "piimg_cache_damaged_total 1\n") })
	w.want("91cdf03d/vmlinuz", "v1")
	w.wantClean()
}

// flip changes a bit of a file, and not its time.
func flip(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	body[3] ^= 1
	if err := errors.Join(os.WriteFile(path, body, 0o644), os.Chtimes(path, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
}

func TestCacheFolderIsOfOneFrontEnd(t *testing.T) {
	w := newWorld(t)
	if _, err := serve.New(w.cfg); !errors.Is(err, serve.ErrInUse) {
		t.Errorf("a second front end in the folder: %v", err)
	}
	w.restart()
}

// TestFaultRow41StoreDownAtStartAndForADay takes the store away, restarts the front end,
// lets a day pass, and boots boards all the time.
func TestFaultRow41StoreDownAtStartAndForADay(t *testing.T) {
	source := &flakySource{}
	w := newWorld(t, func(c *serve.Config) { source.Source = c.Source; c.Source = source; c.Poll = 5 * time.Second })
	own := w.image("own", pi4Files...)
	w.fleet.assign("00000001", serve.Assignment{Image: own})
	w.fleet.assign("00000002", serve.Assignment{Target: serve.Target{Env: "canary"}})
	w.promote("dev", "v1")
	w.promote("canary", "c1")
	for board, version := range map[string]string{"00000001": "own", "00000002": "c1", "00000003": "v1"} {
		w.want(board+"/vmlinuz", version)
	}

	gone := errors.New("dial tcp: connection refused")
	w.fleet.goDown(gone)
	source.fail(gone)
	next := w.image("v2", pi4Files...)
	for hour := range 24 {
		if hour == 0 || hour == 12 {
			w.restart()
		}
		w.clock.pass(time.Hour)
		w.front.Refresh(t.Context())
		for board, version := range map[string]string{"00000001": "own", "00000002": "c1", "00000003": "v1"} {
			for _, name := range pi4Files {
				w.want(board+"/"+name, version)
			}
		}
	}
	w.wantMetrics(`piimg_stale_seconds{env="dev"} 86400`, `piimg_env_behind{env="dev"} 1`, `piimg_ready 1`)

	w.fleet.promote("dev", next)
	w.fleet.goDown(nil)
	source.fail(nil)
	w.clock.pass(15 * time.Second)
	w.runUntil("an environment that runs the new head", func() bool { // its first look is at once
		return slices.ContainsFunc(w.front.Environments(), func(e serve.Environment) bool { return e.Image == next })
	})
	w.clock.pass(time.Minute)
	w.want("00000003/vmlinuz", "v2")
	w.wantMetrics(`piimg_env_behind{env="dev"} 0`)
}

// runUntil runs the front end until something is so.
func (w *world) runUntil(what string, so func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.front.Run(ctx) }()
	servetest.Await(w.t, what, so)
	cancel()
	<-done
}

// TestInvariantI4NothingElseUnderADigest damages the store and the cache at random, and
// reads by digest all the time: what comes whole is what the digest says.
func TestInvariantI4NothingElseUnderADigest(t *testing.T) {
	l := &liar{damage: map[store.Digest]func([]byte) []byte{}}
	w := newWorld(t, func(c *serve.Config) { l.Source = c.Source; c.Source = l })
	image := w.promote("dev", "v1")
	damages := []func(path string) error{
		os.Remove,
		func(path string) error { return os.Truncate(path, 3) },
		func(path string) error { return os.Truncate(path, 1<<16) },
		func(path string) error { return os.WriteFile(path, []byte(text("vmlinuz", "v2")), 0o644) },
	}
	whole := 0
	for round := range 60 {
		name := pi4Files[round%len(pi4Files)]
		body := text(name, "v1")
		w.cut(name, damages[round%len(damages)])
		if round%3 == 0 { // the store gives other bytes as well
			l.damage[store.Sum([]byte(body))] = func(b []byte) []byte { b[len(b)/2] ^= 4; return b }
		}
		if round%10 == 9 {
			w.restart()
		}
		w.clock.pass(10 * time.Second) // what failed is tried again
		for _, n := range pi4Files {
			got, err := w.get("by-digest/" + image.String() + "/" + n)
			if err == nil {
				whole++
				if got != text(n, "v1") {
					t.Fatalf("round %d: %s came with other bytes", round, n)
				}
			} else if errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("round %d: %s: %v", round, n, err)
			}
		}
		clear(l.damage)
	}
	if whole < 60*len(pi4Files)/2 {
		t.Errorf("only %d files came whole", whole)
	}
}

// cut damages the cached copy of every part of a file.
func (w *world) cut(name string, damage func(string) error) {
	w.t.Helper()
	body := text(name, "v1")
	for _, part := range []string{body, body[:len(body)/2], body[len(body)/2:]} {
		path := w.cached(store.Sum([]byte(part)))
		if _, err := os.Stat(path); err == nil {
			if err := damage(path); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// A copy that is cut while a transfer reads it ends that transfer, and never early with
// success.
func TestInvariantI4CopyCutUnderATransfer(t *testing.T) {
	w := newWorld(t)
	w.promote("dev", "v1")
	f, err := w.open("91cdf03d/vmlinuz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w.cut("vmlinuz", func(path string) error { return os.Truncate(path, 10) })
	if _, err := io.ReadAll(f); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("read of a file that was cut: %v", err)
	}
}

// TestInvariantI5SeqNeverDecreases shows the front end heads of all ages, as stale reads
// and restored backups would, over restarts.
func TestInvariantI5SeqNeverDecreases(t *testing.T) {
	w := newWorld(t)
	images := []store.Digest{w.image("v1", pi4Files...), w.image("v2", pi4Files...), w.image("v3", pi4Files...)}
	served := int64(0)
	for round, seq := range []int64{1, 3, 2, 5, 4, 1, 5, 6, 2, 9, 8, 9, 1, 12} {
		w.fleet.mu.Lock()
		w.fleet.heads["dev"] = serve.Head{Seq: seq, Image: images[seq%3]}
		w.fleet.mu.Unlock()
		err := w.front.Refresh(t.Context())
		now := w.front.Environments()[0]
		if now.Seq < served {
			t.Fatalf("round %d: step %d after step %d", round, now.Seq, served)
		}
		if seq < served && (err == nil || now.Err == nil) {
			t.Errorf("round %d: nobody hears that step %d came after step %d", round, seq, served)
		}
		served = max(served, seq)
		if now.Seq != served || now.Image != images[served%3] {
			t.Errorf("round %d: step %d is served, want %d", round, now.Seq, served)
		}
		if round%3 == 2 {
			w.restart()
		}
	}
}

// Several front ends serve one store, each from a cache of its own, and come to the same.
func TestSeveralFrontEnds(t *testing.T) {
	w := newWorld(t)
	w.promote("dev", "v1")
	other := *w
	other.cfg.Dir = t.TempDir()
	other.start()
	defer other.front.Close()
	other.refresh()
	w.want("91cdf03d/start4.elf", "v1")
	other.want("91cdf03e/start4.elf", "v1")
	w.fleet.promote("dev", w.image("v2", pi4Files...))
	w.refresh()
	w.want("91cdf03d/vmlinuz", "v1") // each boot ends as it began
	other.want("91cdf03e/vmlinuz", "v1")
	other.refresh()
	w.clock.pass(time.Minute)
	w.want("91cdf03d/vmlinuz", "v2")
	other.want("91cdf03e/vmlinuz", "v2")
}
