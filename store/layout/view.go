package layout

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"

	"piimg/store"
)

// view shows a layout as a bucket that may only be read, with the keys of a store.
type view map[string]file

var _ store.Bucket = view{}

func (v view) text(key string, doc []byte) {
	v[key] = file{int64(len(doc)), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(doc)), nil }}
}

var errReadOnly = fmt.Errorf("a layout is not written to: %w", fs.ErrPermission)

// Put refuses, as Create and Delete do.
func (v view) Put(context.Context, string, store.Content) error { return errReadOnly }
func (v view) Create(context.Context, string, []byte) error     { return errReadOnly }
func (v view) Delete(context.Context, string) error             { return errReadOnly }

// Stat describes one object.
func (v view) Stat(ctx context.Context, key string) (store.Info, error) {
	f, ok := v[key]
	if !ok {
		return store.Info{}, fmt.Errorf("it has no %s: %w", key, fs.ErrNotExist)
	}
	return store.Info{Key: key, Size: f.size}, ctx.Err()
}

// Get reads a range.
func (v view) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	info, err := v.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	if n, err = info.Range(off, n); err != nil {
		return nil, err
	}
	r, err := v[key].open()
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, r, off); err != nil {
		r.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(store.NewReader(ctx, r), n), r}, nil
}

// List yields the objects in order.
func (v view) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if !strings.HasPrefix(key, prefix) || key <= after {
				continue
			}
			if !yield(store.Info{Key: key, Size: v[key].size}, ctx.Err()) || ctx.Err() != nil {
				return
			}
		}
	}
}
