package fsck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"piimg/store"
)

// aside is the quarantine of a store as a source: what a collection has moved there is whole,
// and damaged bytes may be so after all, where the machine that read them is what was damaged.
// It is not safe for concurrent use.
type aside struct {
	bucket store.Bucket
	keys   map[store.Digest]string // of what Find has found
}

func asideOf(s *store.Store) Source {
	return Source{Name: "quarantine", Blobs: aside{s.Bucket(), map[store.Digest]string{}}}
}

// Find reads all that was once in the place of d, until something is what d names. What cannot be
// read may be it, so that the error is then that of reading it.
func (a aside) Find(ctx context.Context, d store.Digest) (store.Blob, error) {
	none := fmt.Errorf("%s in quarantine: %w", d.Short(), fs.ErrNotExist)
	for info, err := range a.bucket.List(ctx, store.AsidePrefix(store.BlobKey(d)), "") {
		if err != nil {
			return store.Blob{}, err
		}
		got, size, err := a.sum(ctx, info.Key)
		if ctx.Err() != nil {
			return store.Blob{}, ctx.Err()
		}
		if err == nil && got == d {
			a.keys[d] = info.Key
			return store.Blob{Digest: d, Size: size}, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			none = fmt.Errorf("read %s: %w", info.Key, err)
		}
	}
	return store.Blob{}, none
}

func (a aside) sum(ctx context.Context, key string) (store.Digest, int64, error) {
	r, err := a.bucket.Get(ctx, key, 0, -1)
	if err != nil {
		return store.Digest{}, 0, err
	}
	defer r.Close()
	return store.SumReader(r)
}

// Open opens what Find has found.
func (a aside) Open(ctx context.Context, b store.Blob) (io.ReadCloser, error) {
	return a.bucket.Get(ctx, a.keys[b.Digest], 0, -1)
}
