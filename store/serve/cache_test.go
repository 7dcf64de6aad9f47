package serve_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/serve"
)

// flakySource fails on demand, and counts what it is asked for.
type flakySource struct {
	serve.Source
	mu    sync.Mutex
	err   error
	opens atomic.Int64
	delay time.Duration
	hold  func() // is waited for when a blob is opened; may be nil
}

func (s *flakySource) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *flakySource) failing() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *flakySource) Find(ctx context.Context, d store.Digest) (store.Blob, error) {
	if err := s.failing(); err != nil {
		return store.Blob{}, err
	}
	return s.Source.Find(ctx, d)
}

func (s *flakySource) Open(ctx context.Context, b store.Blob) (io.ReadCloser, error) {
	if err := s.failing(); err != nil {
		return nil, err
	}
	s.opens.Add(1)
	time.Sleep(s.delay)
	if s.hold != nil {
		s.hold()
	}
	return s.Source.Open(ctx, b)
}

// liar serves damaged blobs without noticing.
type liar struct {
	serve.Source
	damage map[store.Digest]func([]byte) []byte
}

func (l *liar) Open(ctx context.Context, b store.Blob) (io.ReadCloser, error) {
	r, err := l.Source.Open(ctx, b)
	if damage := l.damage[b.Digest]; err == nil && damage != nil {
		defer r.Close()
		body, _ := io.ReadAll(r)
		return io.NopCloser(bytes.NewReader(damage(body))), nil
	}
	return r, err
}

// TestFaultRow10DamagedInTheStore promotes an image one of whose blobs the store cannot give whole.
func TestFaultRow10DamagedInTheStore(t *testing.T) {
	tests := map[string]func(w *world, blob store.Digest, l *liar){
		"truncated in the store": func(w *world, blob store.Digest, _ *liar) {
			w.overwrite(blob, func(b []byte) []byte { return b[:len(b)/2] })
		},
		"bit flip in the store": func(w *world, blob store.Digest, _ *liar) {
			w.overwrite(blob, func(b []byte) []byte { b[7] ^= 1; return b })
		},
		"gone from the store": func(w *world, blob store.Digest, _ *liar) {
			w.store.Bucket().Delete(w.t.Context(), store.BlobKey(blob))
		},
		"short body that nobody noticed": func(_ *world, blob store.Digest, l *liar) {
			l.damage[blob] = func(b []byte) []byte { return b[:len(b)-1] }
		},
		"long body that nobody noticed": func(_ *world, blob store.Digest, l *liar) {
			l.damage[blob] = func(b []byte) []byte { return append(b, 'x') }
		},
		"bit flip on the way": func(_ *world, blob store.Digest, l *liar) {
			l.damage[blob] = func(b []byte) []byte { b[0] ^= 0x80; return b }
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			l := &liar{damage: map[store.Digest]func([]byte) []byte{}}
			w := newWorld(t, func(c *serve.Config) { l.Source = c.Source; c.Source = l })
			w.promote("dev", "v1")
			image := w.image("v2", pi4Files...)
			kernel := []byte(text("vmlinuz", "v2"))
			damage(w, store.Sum(kernel), l)
			w.fleet.promote("dev", image)

			err := w.front.Refresh(t.Context())
			if err == nil || !strings.Contains(err.Error(), "vmlinuz") || !strings.Contains(err.Error(), store.Sum(kernel).Short()) {
				t.Errorf("refresh: %v, want an error that names the blob and its file", err)
			}
			w.want("91cdf03d/vmlinuz", "v1")
			w.wantTrouble("by-digest/" + image.String() + "/config.txt")
			w.wantClean()

			w.overwrite(store.Sum(kernel), func([]byte) []byte { return kernel })
			clear(l.damage)
			w.refresh()
			w.clock.pass(time.Minute)
			w.want("91cdf03d/vmlinuz", "v2")
		})
	}
}

// TestFileIsNoImage asks for a file of an image as if it were one. A large one is not
// even fetched.
func TestFileIsNoImage(t *testing.T) {
	w := newWorld(t)
	for size, cached := range map[int]bool{store.MaxManifestLen: true, store.MaxManifestLen + 1: false} {
		b := w.put(make([]byte, size))
		w.wantMissing("by-digest/" + b.Digest.String() + "/config.txt")
		if _, err := os.Stat(w.cached(b.Digest)); (err == nil) != cached {
			t.Errorf("a file of %d bytes is in the cache: %v, want %v", size, err == nil, cached)
		}
	}
}

// overwrite replaces what the store keeps under d, as bit rot would.
func (w *world) overwrite(d store.Digest, change func([]byte) []byte) {
	w.t.Helper()
	var body []byte
	if r, err := w.store.Bucket().Get(w.t.Context(), store.BlobKey(d), 0, -1); err == nil {
		body, _ = io.ReadAll(r)
		r.Close()
	}
	if err := w.store.Bucket().Put(w.t.Context(), store.BlobKey(d), store.Bytes(change(body))); err != nil {
		w.t.Fatal(err)
	}
}

// wantClean checks that every file of the cache is what its name says.
func (w *world) wantClean() {
	w.t.Helper()
	all, err := os.ReadDir(filepath.Dir(w.cached(store.Digest{})))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range all {
		c, err := store.FileContent(filepath.Join(w.cfg.Dir, "blobs", "sha256", e.Name()))
		if err != nil || c.Digest.Hex() != e.Name() {
			w.t.Errorf("cache holds %s with digest %s, %v", e.Name(), c.Digest.Hex(), err)
		}
	}
}

// TestDamagedCache damages the copies on disk: they are fetched again, before and after
// a restart.
func TestDamagedCache(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"gone":       os.Remove,
		"empty":      func(path string) error { return os.Truncate(path, 0) },
		"cut":        func(path string) error { return os.Truncate(path, 10) },
		"longer":     func(path string) error { return os.Truncate(path, 1<<20) },
		"other text": func(path string) error { return os.WriteFile(path, []byte(text("vmlinuz", "v9")), 0o644) },
	} {
		for _, restart := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t)
				image := w.promote("dev", "v1")
				w.want("91cdf03d/vmlinuz", "v1")
				for _, d := range []store.Digest{image, store.Sum([]byte(text("vmlinuz", "v1"))), store.Sum([]byte(text("config.txt", "v1")))} {
					if err := damage(w.cached(d)); err != nil {
						t.Fatal(err)
					}
				}
				if restart {
					w.restart()
				}
				w.want("91cdf03d/config.txt", "v1")
				w.want("91cdf03d/vmlinuz", "v1")
				if restart {
					w.wantClean()
				}
			})
		}
	}
}

// Row 9 of the fault table. TestFaultRow09FlipInTheCache damages a copy in a way that only hashing shows; a restart hashes.
func TestFaultRow09FlipInTheCache(t *testing.T) {
	w := newWorld(t)
	w.promote("dev", "v1")
	path := w.cached(store.Sum([]byte(text("vmlinuz", "v1"))))
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	body[3] ^= 1
	if err := os.WriteFile(path, body, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.want("91cdf03d/vmlinuz", "v1")
}

// TestFaultRow36StormFetchesOnce lets many boards ask at once for an image that is not here yet.
func TestFaultRow36StormFetchesOnce(t *testing.T) {
	source := &flakySource{delay: 5 * time.Millisecond}
	w := newWorld(t, func(c *serve.Config) { source.Source = c.Source; c.Source = source })
	w.fleet.promote("dev", w.image("v1", pi4Files...))
	var wg sync.WaitGroup
	for n := range 100 {
		wg.Go(func() {
			if _, err := w.get(string([]byte{'0' + byte(n/10), '0' + byte(n%10)}) + "cdf03d/vmlinuz"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	// Nine files, one of them in two parts, the config and the manifest.
	if got := source.opens.Load(); got != 12 {
		t.Errorf("%d blobs were fetched, want 12", got)
	}
}

// TestClientGone cancels the request that started a download: the download goes on.
func TestClientGone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	source := &flakySource{hold: func() { cancel(); <-gone }}
	w := newWorld(t, func(c *serve.Config) { source.Source = c.Source; c.Source = source })
	w.fleet.promote("dev", w.image("v1", pi4Files...))
	if _, err := w.front.Open(ctx, serve.Request{Client: client, Name: "91cdf03d/vmlinuz"}); !errors.Is(err, context.Canceled) {
		t.Errorf("open: %v, want that it was canceled", err)
	}
	close(gone)
	w.want("91cdf03d/vmlinuz", "v1")
	if got := source.opens.Load(); got != 12 {
		t.Errorf("%d blobs were fetched, want 12", got)
	}
}

// TestFaultRow05FullDiskOfTheCache makes it impossible to save a new head: boards stay with the old one.
func TestFaultRow05FullDiskOfTheCache(t *testing.T) {
	w := newWorld(t)
	w.promote("dev", "v1")
	envs := filepath.Join(w.cfg.Dir, "envs")
	if err := errors.Join(os.RemoveAll(envs), os.WriteFile(envs, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	w.fleet.promote("dev", w.image("v2", pi4Files...))
	if err := w.front.Refresh(t.Context()); err == nil {
		t.Error("a head that could not be saved was taken")
	}
	w.want("91cdf03d/vmlinuz", "v1")
}

// TestLeftovers removes what a crash has left.
func TestLeftovers(t *testing.T) {
	w := newWorld(t)
	w.promote("dev", "v1")
	left := []string{
		w.cached(store.Digest{})[:len(w.cached(store.Digest{}))-64] + ".tmp-123",
		filepath.Join(w.cfg.Dir, "boards", ".tmp-1"), filepath.Join(w.cfg.Dir, "envs", ".tmp-1"),
		filepath.Join(w.cfg.Dir, "boards", "0000000a.json"),
	}
	for _, path := range left {
		if err := os.WriteFile(path, []byte("{half"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(w.cfg.Dir, "envs", "torn.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.restart()
	for _, path := range left {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	w.want("91cdf03d/vmlinuz", "v1")
}
