package near_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"sync/atomic"
	"testing"

	"piimg/store"
	"piimg/store/mem"
	"piimg/store/near"
	"piimg/store/storetest"
)

// A bucket with copies is still a bucket.
func TestBucket(t *testing.T) {
	open := func() *near.Bucket { return near.New(mem.New(), mem.New(), 64<<20) }
	t.Run("writer", func(t *testing.T) { storetest.Run(t, func(*testing.T) store.Bucket { return open() }) })
	t.Run("reader", func(t *testing.T) {
		storetest.Run(t, func(*testing.T) store.Bucket { return near.Reader{Bucket: open()} })
	})
}

// far counts what is read of a bucket.
type far struct {
	store.Bucket
	gets atomic.Int64
}

func (f *far) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	f.gets.Add(1)
	return f.Bucket.Get(ctx, key, off, n)
}

func read(t *testing.T, b store.Bucket, c store.Content) ([]byte, error) {
	t.Helper()
	return store.NewBlobs(b).Read(t.Context(), c.Blob(), 1<<20)
}

func TestCopies(t *testing.T) {
	f, copies := &far{Bucket: mem.New()}, mem.New()
	open := func() near.Reader { return near.Reader{Bucket: near.New(f, copies, 4000)} }
	written, old, large := store.Bytes([]byte("written here")), store.Bytes([]byte("written elsewhere")), store.Bytes(make([]byte, 1001))
	for _, c := range []store.Content{old, large} {
		if err := f.Put(t.Context(), store.BlobKey(c.Digest), c); err != nil {
			t.Fatal(err)
		}
	}
	b := open()
	if _, err := store.NewBlobs(b).Put(t.Context(), written); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what string
		c    store.Content
		gets int64
	}{{"what was written here", written, 0}, {"what was written elsewhere", old, 1}, {"what is large", large, 3}} {
		f.gets.Store(0)
		for range 3 {
			if _, err := read(t, b, tt.c); err != nil {
				t.Errorf("%s: %v", tt.what, err)
			}
			b = open() // another process
		}
		if n := f.gets.Load(); n != tt.gets {
			t.Errorf("%s was fetched %d times, want %d", tt.what, n, tt.gets)
		}
	}

	// A copy that was damaged is fetched anew.
	f.gets.Store(0)
	if err := copies.Put(t.Context(), store.BlobKey(written.Digest), store.Bytes([]byte("wRitten here"))); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, open(), written); err != nil || !bytes.Equal(got, []byte("written here")) || f.gets.Load() != 1 {
		t.Errorf("of a damaged copy: %q, %v, fetched %d times", got, err, f.gets.Load())
	}

	// What the server has is for the server to say, and so is what is wrong with it.
	if err := f.Delete(t.Context(), store.BlobKey(written.Digest)); err != nil {
		t.Fatal(err)
	}
	if have, err := store.NewBlobs(b).Has(t.Context(), written.Blob()); have || err != nil {
		t.Errorf("Has of what only a copy is there of = %v, %v", have, err)
	}
	if wrote, err := store.NewBlobs(b.Bucket).Repair(t.Context(), written); !wrote || err != nil {
		t.Errorf("Repair of what only a copy is there of = %v, %v", wrote, err)
	}
	if err := f.Bucket.Put(t.Context(), store.BlobKey(written.Digest), store.Bytes([]byte("wRitten here"))); err != nil {
		t.Fatal(err)
	}
	if wrote, err := store.NewBlobs(b.Bucket).Repair(t.Context(), written); !wrote || err != nil {
		t.Errorf("Repair of what is damaged and has a copy = %v, %v", wrote, err)
	}
	gone := store.Bytes([]byte("gone"))
	if _, err := read(t, b, gone); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of what is nowhere: %v", err)
	}
	if err := f.Put(t.Context(), store.BlobKey(gone.Digest), store.Bytes([]byte("gOne"))); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, b, gone); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("of what is damaged far away: %v", err)
	}
}

func TestTrim(t *testing.T) {
	f, copies := mem.New(), mem.New()
	b := near.Reader{Bucket: near.New(f, copies, 1000)}
	for n := range byte(10) {
		if _, err := store.NewBlobs(b).Put(t.Context(), store.Bytes(bytes.Repeat([]byte{n}, 200))); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	var size int64
	for info, err := range copies.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size
	}
	if size != 1000 {
		t.Errorf("%d bytes of copies are left, want 1000", size)
	}
	for n := range byte(10) { // whatever went comes back
		if _, err := read(t, b, store.Bytes(bytes.Repeat([]byte{n}, 200))); err != nil {
			t.Error(err)
		}
	}
}
