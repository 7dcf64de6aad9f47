package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
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

// Manifest is the manifest named d, as it is stored: of an image, all of which is here then,
// or of a document about one. The error wraps io/fs.ErrNotExist where there is none.
func (f *Front) Manifest(ctx context.Context, d store.Digest) ([]byte, error) {
	_, err := f.cache.Ensure(ctx, d)
	if err != nil && !errors.Is(err, errNoImage) {
		return nil, err
	}
	doc, e := f.cache.manifest(ctx, d)
	if err == nil || e != nil {
		return doc, e
	}
	if _, e := store.DecodeReferrer(doc); e != nil {
		return nil, err
	}
	return doc, nil
}

// Library is a Fleet that knows the documents about images, such as signatures. With it the
// front end lists them.
type Library interface {
	// Referrers is as that of a store.Store.
	Referrers(ctx context.Context, image store.Digest) iter.Seq2[store.Referrer, error]
}

// Referrers are the documents about the image named d, ordered by digest. Those that are
// damaged are left out, and the log says so.
func (f *Front) Referrers(ctx context.Context, d store.Digest) ([]store.Referrer, error) {
	from, ok := f.cfg.Fleet.(Library)
	if !ok {
		return nil, nil
	}
	var all []store.Referrer
	for r, err := range from.Referrers(ctx, d) {
		switch {
		case err != nil && (r.Digest.IsZero() || ctx.Err() != nil):
			return nil, trouble{err}
		case err != nil:
			f.nothing.Log(ctx, slog.LevelWarn, "document about an image cannot be read", "image", d, "document", r.Digest, "err", err)
		default:
			all = append(all, r)
		}
	}
	return all, nil
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
