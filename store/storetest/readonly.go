package storetest

import (
	"context"
	"io"
	"iter"
	"testing"

	"piimg/store"
)

// RunReadOnly tests a bucket that only reads what somebody else writes: open returns an
// empty bucket to write to, and one that reads it. The reader keeps every promise of
// [store.Bucket] but those of writing, which it refuses without a trace.
func RunReadOnly(t *testing.T, open func(t *testing.T) (writer, reader store.Bucket)) {
	Run(t, func(t *testing.T) store.Bucket {
		writer, reader := open(t)
		return readThrough{writer, reader}
	})
	t.Run("writing is refused", func(t *testing.T) {
		writer, reader := open(t)
		put(t, writer, "a/b", []byte("old"))
		if err := reader.Put(t.Context(), "a/c", store.Bytes([]byte("new"))); err == nil {
			t.Error("Put = nil; want an error")
		}
		if err := reader.Put(t.Context(), "a/b", store.Bytes([]byte("new"))); err == nil {
			t.Error("Put of an object that is there = nil; want an error")
		}
		if err := reader.Create(t.Context(), "a/c", []byte("new")); err == nil {
			t.Error("Create = nil; want an error")
		}
		if err := reader.Delete(t.Context(), "a/b"); err == nil {
			t.Error("Delete = nil; want an error")
		}
		wantOnly(t, writer, "a/b", "old")
		wantOnly(t, reader, "a/b", "old")
	})
}

// readThrough writes to the one bucket and reads from the other.
type readThrough struct{ writer, reader store.Bucket }

func (b readThrough) Put(ctx context.Context, key string, c store.Content) error {
	return b.writer.Put(ctx, key, c)
}

func (b readThrough) Create(ctx context.Context, key string, doc []byte) error {
	return b.writer.Create(ctx, key, doc)
}

func (b readThrough) Delete(ctx context.Context, key string) error { return b.writer.Delete(ctx, key) }

func (b readThrough) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	return b.reader.Get(ctx, key, off, n)
}

func (b readThrough) Stat(ctx context.Context, key string) (store.Info, error) {
	return b.reader.Stat(ctx, key)
}

func (b readThrough) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return b.reader.List(ctx, prefix, after)
}
