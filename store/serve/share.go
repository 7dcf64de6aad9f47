package serve

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"

	"piimg/store"
)

// Blob opens the content named d, which is fetched and verified first where it is not here.
// The error wraps io/fs.ErrNotExist where the store has none. The caller tells File.Done how
// the transfer went, and closes the file.
func (f *Front) Blob(ctx context.Context, r Request, d store.Digest) (*File, error) {
	b, err := f.cache.find(ctx, d)
	if err != nil {
		return nil, err
	}
	body, err := f.cache.openAny(ctx, b)
	if err != nil {
		return nil, trouble{err}
	}
	entry := store.NewFile(d.String(), 0o644, b)
	file := newFile(f, r, nil, entry, body)
	file.Immutable = true
	return file, nil
}

// Manifest is the manifest of the image named d, as it is stored. All of the image is here
// then. The error wraps io/fs.ErrNotExist where there is no such image.
func (f *Front) Manifest(ctx context.Context, d store.Digest) ([]byte, error) {
	if _, err := f.cache.Ensure(ctx, d); err != nil {
		return nil, err
	}
	return f.cache.manifest(ctx, d)
}

// find is the size of the content named d, here or in the store.
func (c *cache) find(ctx context.Context, d store.Digest) (store.Blob, error) {
	c.mu.Lock()
	seen, ok := c.verified[d]
	c.mu.Unlock()
	if b := (store.Blob{Digest: d, Size: seen.size}); ok && c.intact(b) {
		return b, nil
	}
	return c.source.Find(ctx, d)
}

// openAny opens b, which need not belong to an image.
func (c *cache) openAny(ctx context.Context, b store.Blob) (*content, error) {
	c.pin([]store.Blob{b})
	defer c.unpin([]store.Blob{b})
	if err := c.room(ctx, b); err != nil {
		return nil, err
	}
	return c.open(ctx, store.NewFile(b.Digest.String(), 0o644, b))
}

// Objects is the part of a store.Bucket that reads.
type Objects interface {
	Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
	Stat(ctx context.Context, key string) (store.Info, error)
	List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error]
}

// Share is b for other front ends: its content comes from the cache, verified, and the
// rest from b itself.
func (f *Front) Share(b Objects) Objects { return shared{b, f} }

type shared struct {
	Objects
	front *Front
}

const blobFolder = "blobs/sha256/"

// blob is the content that key names, and false where it names something else.
func (s shared) blob(key string) (store.Digest, bool) {
	hex, ok := strings.CutPrefix(key, blobFolder)
	if !ok {
		return store.Digest{}, false
	}
	d, err := store.ParseHex(hex)
	return d, err == nil
}

// Get reads content from the cache, which is filled where it has to be.
func (s shared) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	d, ok := s.blob(key)
	if !ok {
		return s.Objects.Get(ctx, key, off, n)
	}
	b, err := s.front.cache.find(ctx, d)
	if err != nil {
		return nil, err
	}
	n, err = store.Info{Key: key, Size: b.Size}.Range(off, n)
	if err != nil {
		return nil, err
	}
	body, err := s.front.cache.openAny(ctx, b)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	return &section{io.NewSectionReader(body, off, n), body}, nil
}

// section is a part of a file that is closed with it.
type section struct {
	*io.SectionReader
	io.Closer
}
