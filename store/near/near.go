// Package near keeps copies of a server's blobs on this machine, so that what was written or
// read here is not fetched once more: whoever builds looks at the kernel of every image that
// they publish.
//
// It is for who uses content. What is there, and whether it is whole, is what the server says:
// a copy is no reason not to write a blob that the server lacks or has damaged.
package near

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"piimg/store"
)

// Bucket is a bucket far away that keeps a copy of what is put into it; all else is that of the
// bucket far away. It is safe for concurrent use, and several processes and stores may share
// the copies.
type Bucket struct {
	store.Bucket
	copies store.Bucket
	limit  int64

	mu      sync.Mutex      // one blob is fetched at a time
	checked map[string]bool // copies that were seen to be right
}

// New returns far with copies of its blobs in copies. No blob is copied that has more than a
// quarter of limit, in bytes, and [Bucket.Trim] keeps all together below it.
func New(far, copies store.Bucket, limit int64) *Bucket {
	return &Bucket{Bucket: far, copies: copies, limit: limit, checked: map[string]bool{}}
}

// blobOf is the content that key names.
func blobOf(key string) (store.Digest, bool) {
	if !strings.HasPrefix(key, "blobs/") {
		return store.Digest{}, false
	}
	d, err := store.ParseHex(path.Base(key))
	return d, err == nil && store.BlobKey(d) == key
}

// Put puts c far away, and a copy near. A copy that cannot be kept is no error.
func (b *Bucket) Put(ctx context.Context, key string, c store.Content) error {
	if err := b.Bucket.Put(ctx, key, c); err != nil {
		return err
	}
	if d, ok := blobOf(key); ok && d == c.Digest && c.Size <= b.limit/4 {
		_ = b.copies.Put(ctx, key, c)
	}
	return nil
}

// Reader is the same bucket for who wants nothing but content: it reads copies.
type Reader struct{ *Bucket }

var _ store.Bucket = Reader{}

// Get reads a copy, which it makes if need be.
func (b Reader) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if d, ok := blobOf(key); ok && b.have(ctx, key, d) {
		if r, err := b.copies.Get(ctx, key, off, n); err == nil {
			return r, nil
		}
	}
	return b.Bucket.Get(ctx, key, off, n)
}

// have says whether there is a copy, after fetching one if there was none. Whatever goes
// wrong is for the far bucket to say.
func (b *Bucket) have(ctx context.Context, key string, d store.Digest) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.checked[key] {
		return true
	}
	copies := store.NewBlobs(b.copies)
	blob, err := copies.Find(ctx, d)
	if err == nil {
		err = copies.Verify(ctx, blob)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, store.ErrCorrupt) {
		err = b.fetch(ctx, key, d)
	}
	b.checked[key] = err == nil
	return err == nil
}

// errTooLarge: a blob is not for copying.
var errTooLarge = errors.New("too large for a copy")

func (b *Bucket) fetch(ctx context.Context, key string, d store.Digest) error {
	far, err := b.Stat(ctx, key)
	if err != nil {
		return err
	}
	if far.Size > b.limit/4 {
		return errTooLarge
	}
	return b.copies.Put(ctx, key, store.Content{Digest: d, Size: far.Size, Open: func() (io.ReadCloser, error) {
		return b.Bucket.Get(ctx, key, 0, -1)
	}})
}

// Trim removes the oldest copies where all have more bytes than they may.
func (b *Bucket) Trim(ctx context.Context) error {
	var all []store.Info
	var size int64
	for info, err := range b.copies.List(ctx, "blobs/", "") {
		if err != nil {
			return fmt.Errorf("look through copies of blobs: %w", err)
		}
		all, size = append(all, info), size+info.Size
	}
	slices.SortFunc(all, func(x, y store.Info) int { return cmp.Or(x.Time.Compare(y.Time), cmp.Compare(x.Key, y.Key)) })
	for _, info := range all {
		if size <= b.limit {
			break
		}
		if err := b.copies.Delete(ctx, info.Key); err != nil {
			return fmt.Errorf("remove a copy of a blob: %w", err)
		}
		size -= info.Size
	}
	return nil
}
