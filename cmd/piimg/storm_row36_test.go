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

// TestFaultRow36BootStorm switches on 500 boards together, over a network that loses 1 %
// of the packets, doubles some and delays all, while the environment is promoted and rolled
// back all the time: every board boots, each with the files of one image, each blob was
// fetched once, and nothing is left open.
func TestFaultRow36BootStorm(t *testing.T) {
	const boards = 500
	bucket := &fillCounter{Bucket: mem.New(), reads: map[string]int{}}
	s, err := store.Init(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	images := []*store.Image{putSmallImage(t, s, "one"), putSmallImage(t, s, "two")}
	promoteTo(t, s, images[0])
	clear(bucket.reads)
	goroutines, files := runtime.NumGoroutine(), countFiles(t)
	f, err := openFrontEnd(attach(s), config.Serve{TFTP: "127.0.0.1:0", Default: "prod", Cache: t.TempDir()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- f.run(ctx) }()

	calm, still := context.WithCancel(t.Context())
	var switching sync.WaitGroup
	switching.Go(func() { switchBackAndForth(calm, t, s, f, images) })
	storm := simpi.Storm{Boards: rowOfBoards(t, boards), Spread: time.Second, Seed: 36}
	seen := map[string]int{}
	storm.After = func(r *simpi.Report) { seen[imageOf(t, r, images)]++ }
	figures, err := storm.Run(t.Context(), f.tftp.Addr())
	still()
	switching.Wait()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f boots a minute, half in %s, 99 %% in %s, first answer %s for 99 %%, %d packets came twice, boots by image %v",
		figures.PerMinute, figures.BootP50, figures.BootP99, figures.AnswerP99, figures.Repeated, seen)
	if figures.Booted != boards || seen[""] > 0 {
		t.Errorf("%d of %d boards have booted: %+v", figures.Booted, boards, figures.Problems)
	}
	for _, img := range images {
		for _, file := range img.Files {
			if n := bucket.reads["blobs/sha256/"+file.Digest.Hex()]; n > 1 {
				t.Errorf("%s was fetched %d times", file.Path, n)
			}
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	for range 100 {
		if runtime.NumGoroutine() <= goroutines && countFiles(t) <= files {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%d goroutines and %d files are open, %d and %d were before", runtime.NumGoroutine(), countFiles(t), goroutines, files)
}

// switchBackAndForth promotes the second image and rolls back, until ctx ends.
func switchBackAndForth(ctx context.Context, t *testing.T, s *store.Store, f *frontEnd, images []*store.Image) {
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(300 * time.Millisecond):
		}
		var err error
		if n%2 == 1 {
			_, err = env.Promote(ctx, s, env.PromoteOptions{Env: "prod", Image: images[1].Digest, Actor: "test"})
		} else {
			_, err = env.Rollback(ctx, s, env.RollbackOptions{Env: "prod", Actor: "test"})
		}
		if err == nil {
			err = f.front.Refresh(ctx)
		}
		if err != nil && ctx.Err() == nil {
			t.Errorf("switch %d: %v", n, err)
			return
		}
	}
}

// rowOfBoards are Pi 4 boards on a bad network.
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
			Network:     simpi.Network{Loss: 0.01, Duplicate: 0.01, Reorder: 0.005, Delay: 5 * time.Millisecond},
			Local:       netip.AddrFrom4([4]byte{127, 4, byte(i / 250), byte(i%250 + 1)}),
			FileTimeout: 2 * time.Minute,
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

func countFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
