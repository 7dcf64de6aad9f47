package fsck

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"

	"piimg/store"
)

// content is what the progress calls the reading of blobs.
const content = "content"

// contents reads as much of the content as was asked for, used or not.
func (c *checker) contents(ctx context.Context) error {
	if c.o.Read == (Sample{}) {
		return nil
	}
	told := map[string]bool{} // of what the closures have told already
	for _, f := range c.report.Findings {
		told[f.Key] = true
	}
	var all []store.Blob
	var total int64
	for _, key := range c.byKind["blobs"] {
		if d, ok := store.BlobOf(key); ok && !told[key] {
			all = append(all, store.Blob{Digest: d, Size: c.objects[key].Size})
		}
	}
	some := c.o.Read.of(all)
	for _, b := range some {
		total += b.Size
	}
	return store.Each(ctx, atATime, some, func(ctx context.Context, b store.Blob) error {
		err := c.read(ctx, b, total)
		if errors.Is(err, fs.ErrNotExist) {
			return c.vanished(ctx, b)
		}
		f := Finding{Key: store.BlobKey(b.Digest), blob: b}
		if err != nil && kindOf(err) == Malformed {
			f.Kind = WrongBytes
		}
		return c.foundIn(ctx, f, err)
	})
}

// read reads b to its end.
func (c *checker) read(ctx context.Context, b store.Blob, total int64) error {
	r, err := c.store.Blobs().Open(ctx, b)
	if err != nil {
		return err
	}
	defer r.Close()
	// The limit is above its size, and keeps the buffer of a small blob small.
	_, err = io.Copy(counter{c, total}, io.LimitReader(r, b.Size+1))
	if err == nil {
		c.mu.Lock()
		c.report.Read++
		c.mu.Unlock()
	}
	return err
}

// vanished looks at a blob that was listed and is gone: it was collected, unless an image
// has it.
func (c *checker) vanished(ctx context.Context, b store.Blob) error {
	c.gone.Lock() // what it finds out of an image is read for the next blob
	defer c.gone.Unlock()
	for _, i := range c.sortedImages() {
		if slices.Contains(i.needs(), b) {
			return c.closure(ctx, b)
		}
	}
	return nil
}

// counter counts what is read.
type counter struct {
	c     *checker
	total int64
}

func (w counter) Write(p []byte) (int, error) {
	w.c.mu.Lock()
	w.c.report.ReadSize += int64(len(p))
	done := w.c.report.ReadSize
	w.c.mu.Unlock()
	w.c.progress(content, done, w.total)
	return len(p), nil
}
