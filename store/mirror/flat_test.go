package mirror_test

import (
	"io"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"sync"
	"testing"

	"piimg/store"
	"piimg/store/disk"
	"piimg/store/mirror"
	"piimg/store/s3/s3test"
)

// heap is the highest number of bytes that were in use while something was read.
type heap struct {
	mu     sync.Mutex
	sample []metrics.Sample
	peak   uint64
}

func newHeap() *heap {
	runtime.GC()
	return &heap{sample: []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}}
}

func (h *heap) look() {
	h.mu.Lock()
	defer h.mu.Unlock()
	metrics.Read(h.sample)
	h.peak = max(h.peak, h.sample[0].Value.Uint64())
}

// watchedReader looks at the heap once for every MiB that is read.
type watchedReader struct {
	io.Reader
	heap *heap
	n    int
}

func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if r.n += n; r.n > 1<<20 {
		r.n = 0
		r.heap.look()
	}
	return n, err
}

func (r *watchedReader) Close() error { return nil }

// generated is size bytes that no one holds in memory.
func generated(t *testing.T, h *heap, seed byte, size int64) store.Content {
	t.Helper()
	open := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{seed}), size) }
	d, n, err := store.SumReader(open())
	if err != nil || n != size {
		t.Fatal(n, err)
	}
	return store.Content{Digest: d, Size: size, Open: func() (io.ReadCloser, error) {
		return &watchedReader{open(), h, 0}, nil
	}}
}

// A large file goes up to a server, comes down from it, and goes from there into a folder and
// back onto a server, in the same little memory whatever its size. With the tag "big" it has
// 4 GiB and not 192 MiB.
func TestMemoryStaysFlat(t *testing.T) {
	const most = 64 << 20
	server, h := s3test.Start(t), newHeap()
	s := newStore(t, server.Open(t))
	c := generated(t, h, 1, largeSize)
	if _, err := s.Blobs().Put(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	up := h.peak
	r, err := s.Blobs().Open(t.Context(), c.Blob())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := io.Copy(io.Discard, &watchedReader{r, h, 0}); err != nil || n != largeSize {
		t.Fatalf("read %d of %d bytes, %v", n, int64(largeSize), err)
	}
	down := h.peak

	image := store.Image{Name: "large", Config: put(t, s, []byte("{}"))}
	image.Files = []store.File{store.NewFile("sdcard.img", 0o644, c.Blob())}
	d, err := s.PutImage(t.Context(), image, store.Record{Name: "large"})
	if err != nil {
		t.Fatal(err)
	}
	folder, err := disk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	local, elsewhere := newStore(t, folder), newStore(t, server.Open(t))
	for _, way := range [][2]*store.Store{{s, local}, {local, elsewhere}} {
		if _, err := mirror.Image(t.Context(), way[0], way[1], d, mirror.Options{Moved: func(int64) { h.look() }}); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d MiB: at most %d MiB on the way up, %d MiB with the way down, %d MiB with the copies", int64(largeSize)>>20, up>>20, down>>20, h.peak>>20)
	if h.peak > most {
		t.Errorf("%d bytes of memory for %d of content", h.peak, int64(largeSize))
	}
}
