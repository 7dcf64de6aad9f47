package storetest

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
)

// rounds is n, or fewer with -short.
func rounds(n int) int {
	if testing.Short() {
		return min(n, 5)
	}
	return n
}

// random is n bytes, the same in every run.
func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// content is doc under a digest and a size that may not be its own.
func content(d store.Digest, size int64, doc []byte) store.Content {
	return store.Content{Digest: d, Size: size, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(doc)), nil
	}}
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// callReader is empty, and calls a function when it is come to.
type callReader struct{ call func() }

func (r callReader) Read([]byte) (int, error) {
	r.call()
	return 0, io.EOF
}

func put(t *testing.T, b store.Bucket, key string, doc []byte) {
	t.Helper()
	if err := b.Put(t.Context(), key, store.Bytes(doc)); err != nil {
		t.Fatalf("Put(%s) = %v", key, err)
	}
}

// putAll puts many small objects at a time: a durable write waits more than it works.
func putAll(t *testing.T, b store.Bucket, keys []string) {
	t.Helper()
	work := make(chan string)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for key := range work {
				if err := b.Put(t.Context(), key, store.Bytes([]byte(key))); err != nil {
					t.Errorf("Put(%s) = %v", key, err)
				}
			}
		})
	}
	for _, key := range keys {
		work <- key
	}
	close(work)
	all.Wait()
}

func read(ctx context.Context, b store.Bucket, key string, off, n int64) ([]byte, error) {
	r, err := b.Get(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func get(t *testing.T, b store.Bucket, key string) []byte {
	t.Helper()
	doc, err := read(t.Context(), b, key, 0, -1)
	if err != nil {
		t.Fatalf("Get(%s) = %v", key, err)
	}
	return doc
}

func list(t *testing.T, b store.Bucket, prefix, after string) []string {
	t.Helper()
	var keys []string
	for info, err := range b.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatalf("List(%q, %q) = %v", prefix, after, err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

func wantList(t *testing.T, b store.Bucket, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, list(t, b, "", "")); diff != "" {
		t.Errorf("List, want -, got +:\n%s", diff)
	}
}

// wantOnly expects one object and no trace of others.
func wantOnly(t *testing.T, b store.Bucket, key, doc string) {
	t.Helper()
	wantList(t, b, key)
	if got := get(t, b, key); string(got) != doc {
		t.Errorf("Get(%s) = %q; want %q", key, got, doc)
	}
}
