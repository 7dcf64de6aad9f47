package main

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"piimg/cmd/piimg/config"
	"piimg/recipes"
	"piimg/store"
	"piimg/store/env"
	"piimg/store/mem"
	"piimg/store/serve/simpi"
)

// fillCounter counts how often each blob is read from a bucket.
type fillCounter struct {
	store.Bucket
	mu    sync.Mutex
	reads map[string]int
}

func (b *fillCounter) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if strings.HasPrefix(key, "blobs/") {
		b.mu.Lock()
		b.reads[key]++
		b.mu.Unlock()
	}
	return b.Bucket.Get(ctx, key, off, n)
}

// TestFaultRow36BootStorm switches on 500 boards together, over a network that loses 1 % of
// the packets in each direction (nftables), and doubles some and delays all by 5 ms (a relay),
// while the environment is promoted and rolled back every second: every board boots, each
// with the files of one image, each blob was fetched once, and memory, descriptors and
// goroutines are back where they were.
func TestFaultRow36BootStorm(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	const boards = 500
	bucket := &fillCounter{Bucket: mem.New(), reads: map[string]int{}}
	s, err := store.Init(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	images := []*store.Image{putSmallImage(t, s, "one"), putSmallImage(t, s, "two")}
	promoteTo(t, s, images[0])
	clear(bucket.reads)
	f, err := openFrontEnd(attach(s), config.Serve{TFTP: "127.0.69.1:0", Default: "prod", Cache: t.TempDir()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- f.run(ctx) }()
	before := holding(t)

	way := newBadWay(t, badness{loss: 10, double: 10, delay: 5 * time.Millisecond}, f.tftp.Addr())
	calm, still := context.WithCancel(t.Context())
	var switching sync.WaitGroup
	switching.Go(func() { switchBackAndForth(calm, t, s, f.front.Refresh, images) })
	storm := simpi.Storm{Boards: rowOfBoards(t, boards), Spread: 5 * time.Second, Seed: 36}
	seen := map[string]int{}
	storm.After = func(r *simpi.Report) { seen[imageOf(t, r, images)]++ }
	figures, err := storm.Run(t.Context(), way.addr())
	still()
	switching.Wait()
	if err != nil {
		t.Fatal(err)
	}
	lost, passed := way.lost(t), way.counts()
	way.end(t)
	way = nil
	t.Logf("%.0f boots a minute, half in %s, 99 %% in %s, first answer %s for 99 %%, boots by image %v; %d packets were lost, %+v",
		figures.PerMinute, figures.BootP50, figures.BootP99, figures.AnswerP99, seen, lost, passed)
	if figures.Booted != boards || seen[""] > 0 || len(seen) < 2 {
		t.Errorf("%d of %d boards have booted, by image %v: %+v", figures.Booted, boards, seen, figures.Problems)
	}
	if lost == 0 || passed.twice == 0 {
		t.Error("the network was a good one")
	}
	for _, img := range images {
		for _, file := range img.Files {
			if n := bucket.reads["blobs/sha256/"+file.Digest.Hex()]; n > 1 {
				t.Errorf("%s was fetched %d times", file.Path, n)
			}
		}
	}
	before.wantBack(t, boards)
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// switchBackAndForth promotes the second image and rolls back every second, until ctx ends,
// and lets the front end see it.
func switchBackAndForth(ctx context.Context, t *testing.T, s *store.Store, see func(context.Context) error, images []*store.Image) {
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
		var err error
		if n%2 == 1 {
			_, err = env.Promote(ctx, s, env.PromoteOptions{Env: "prod", Image: images[1].Digest, Actor: "test"})
		} else {
			_, err = env.Rollback(ctx, s, env.RollbackOptions{Env: "prod", Actor: "test"})
		}
		if err == nil {
			err = see(ctx)
		}
		if err != nil && ctx.Err() == nil {
			t.Errorf("switch %d: %v", n, err)
			return
		}
	}
}

// rowOfBoards are Pi 4 boards with addresses of their own and the time limits of real ones.
func rowOfBoards(t *testing.T, n int) []simpi.Board {
	t.Helper()
	model, err := recipes.BoardByName("pi4b")
	if err != nil {
		t.Fatal(err)
	}
	styles := []simpi.Style{simpi.StyleA, simpi.StyleB, simpi.StyleC}
	var all []simpi.Board
	for i := range n {
		all = append(all, simpi.Board{
			Model: simpi.Model{Board: model.Board}, Serial: 0x3600_0000 + uint32(i), Seed: uint64(i), Style: styles[i%len(styles)],
			Local: netip.AddrFrom4([4]byte{127, 4, byte(i / 250), byte(i%250 + 1)}),
		})
	}
	return all
}

// imageOf names the image that all files of a boot are of, and is "" where there is none.
func imageOf(t *testing.T, r *simpi.Report, images []*store.Image) string {
	for _, img := range images {
		fits := len(r.Files()) > 0
		for _, req := range r.Requests {
			file, _ := img.File(req.Name)
			if !req.Digest.IsZero() && req.Digest != file.Digest && !madeOf(r, img, file) {
				fits = false
			}
		}
		if fits {
			return img.Digest.Short()
		}
	}
	t.Errorf("board %s has files of two images, or none: %s", r.Serial, r.Summary())
	return ""
}

// held is what a process holds.
type held struct {
	goroutines, files int
	heap              int64 // bytes in use
}

// holding is what this process holds, once it has thrown away what nothing needs.
func holding(t *testing.T) held {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.GC() // pools keep what they have for one round
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return held{runtime.NumGoroutine(), len(entries), int64(m.HeapAlloc)}
}

// wantBack waits until this process holds what it held before, but for what a front end
// remembers of so many boards: where each was last, and its trail.
func (before held) wantBack(t *testing.T, boards int) {
	t.Helper()
	const remembered = 24 << 10 // of a board: four boots at most
	var now held
	for range 240 { // a client whose last packet was lost is sent it again 7 times, after 5 s each at most
		if now = holding(t); now.goroutines <= before.goroutines && now.files <= before.files && now.heap <= before.heap+int64(boards*remembered) {
			t.Logf("held before: %+v, after: %+v", before, now)
			return
		}
		time.Sleep(250 * time.Millisecond)
	}
	t.Errorf("held before: %+v, after: %+v", before, now)
}
