package fsck

import (
	"context"
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

// Find reads all that was once in the place of d, until something is what d names.
func (a aside) Find(ctx context.Context, d store.Digest) (store.Blob, error) {
	for info, err := range a.bucket.List(ctx, store.AsidePrefix(store.BlobKey(d)), "") {
		if err != nil {
			return store.Blob{}, err
		}
		got, size, err := a.sum(ctx, info.Key)
		if ctx.Err() != nil {
			return store.Blob{}, ctx.Err()
		}
		if err == nil && got == d { // what cannot be read now is not what is looked for
			a.keys[d] = info.Key
			return store.Blob{Digest: d, Size: size}, nil
		}
	}
	return store.Blob{}, fmt.Errorf("%s in quarantine: %w", d.Short(), fs.ErrNotExist)
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
