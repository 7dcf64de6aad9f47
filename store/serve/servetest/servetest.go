// Package servetest is what the tests of the protocol servers share: a front end with
// one image, and checks that nothing is left open.
package servetest

import (
	"context"
	"encoding/binary"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/mem"
	"piimg/store/serve"
)

// BoardID is the only board there is.
const BoardID = "91cdf03d"

// oneImage is a fleet in which every board runs the same image, and what the store has about it.
type oneImage struct {
	*store.Store
	image store.Digest
}

func (oneImage) Board(name string) (string, bool) { return BoardID, name == BoardID }

func (oneImage) Assigned(context.Context, string) (serve.Assignment, error) {
	return serve.Assignment{}, fs.ErrNotExist
}

func (f oneImage) Head(_ context.Context, env string, _ serve.Head) (serve.Head, error) {
	return serve.Head{Seq: 1, Image: f.image}, nil
}

// NewFront is a front end whose boards run an image of files, and that image.
func NewFront(t testing.TB, files map[string][]byte, change ...func(*serve.Config)) (*serve.Front, store.Digest) {
	t.Helper()
	s, err := store.Init(t.Context(), mem.New())
	if err != nil {
		t.Fatal(err)
	}
	d := Publish(t, s, files)
	return Serve(t, s, d, change...), d
}

// Publish puts an image of files into s.
func Publish(t testing.TB, s *store.Store, files map[string][]byte) store.Digest {
	t.Helper()
	img := store.Image{Name: "test", Config: Put(t, s, []byte("{}"))}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		img.Files = append(img.Files, store.NewFile(name, 0o644, Put(t, s, files[name])))
	}
	d, err := s.PutImage(t.Context(), img, store.Record{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Put puts b into s.
func Put(t testing.TB, s *store.Store, b []byte) store.Blob {
	t.Helper()
	c := store.Bytes(b)
	if _, err := s.Blobs().Put(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c.Blob()
}

// Serve is a front end whose boards run an image of s.
func Serve(t testing.TB, s *store.Store, image store.Digest, change ...func(*serve.Config)) *serve.Front {
	t.Helper()
	cfg := serve.Config{Dir: t.TempDir(), Fleet: oneImage{s, image}, Source: s.Blobs(), Policy: serve.Policy{Rules: serve.Rules{Default: "dev"}}}
	for _, c := range change {
		c(&cfg)
	}
	front, err := serve.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(front.Close)
	if err := front.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return front
}

// NoLeaks checks at the end of the test that goroutines and open files are as many as
// at its start.
func NoLeaks(t *testing.T) {
	t.Helper()
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	t.Cleanup(func() {
		var g, n int
		for range 6000 {
			if g, n = runtime.NumGoroutine(), openFiles(t); g <= goroutines && n <= files {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("%d goroutines and %d open files after the test, %d and %d before", g, n, goroutines, files)
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatalf("count open files: %v", err)
	}
	return len(entries)
}

// Pattern is n bytes in which every block differs from its neighbours.
func Pattern(n int) []byte {
	b := make([]byte, 0, n+8)
	for word := uint64(0); len(b) < n; word++ {
		b = binary.BigEndian.AppendUint64(b, word)
	}
	return b[:n]
}

// Await waits until something is so, for two minutes.
func Await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for range 12_000 {
		if so() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("there never was %s", what)
}

// LastEvent waits until the trail of the board has n events, and returns the last.
func LastEvent(t *testing.T, front *serve.Front, n int) serve.Event {
	t.Helper()
	for range 12_000 {
		if boots := front.Trail(BoardID); len(boots) > 0 && len(boots[0].Events) >= n {
			if got := len(boots[0].Events); got != n {
				t.Fatalf("%d events, want %d: %+v", got, n, boots[0].Events)
			}
			return boots[0].Events[n-1]
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("no %d events: %+v", n, front.Trail(BoardID))
	return serve.Event{}
}
