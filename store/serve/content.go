package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"

	"piimg/store"
)

// content is the bytes of one file: its parts, each in a file of the cache, one after
// the other. All are open from the start, so that a copy which is replaced meanwhile
// does not change what a transfer reads.
type content struct {
	cache *cache
	parts []*held
	ends  []int64 // offset at which each part ends
}

// open opens the parts of f. A part that is gone or is not as it was when it was hashed
// is fetched anew.
func (c *cache) open(ctx context.Context, f store.File) (*content, error) {
	got := &content{cache: c}
	var end int64
	for _, b := range f.Parts {
		part, err := c.openBlob(ctx, b)
		if err != nil {
			got.Close()
			return nil, err
		}
		end += b.Size
		got.parts, got.ends = append(got.parts, part), append(got.ends, end)
	}
	return got, nil
}

func (c *cache) openBlob(ctx context.Context, b store.Blob) (*held, error) {
	if part, err := c.hold(b); err == nil {
		return part, nil
	}
	if err := c.have(ctx, b); err != nil {
		return nil, err
	}
	return c.hold(b)
}

var errChanged = errors.New("the cached file has changed")

// ReadAt reads across the borders of parts.
func (c *content) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read at a negative offset")
	}
	n := 0
	at := sort.Search(len(c.ends), func(i int) bool { return off < c.ends[i] })
	for ; at < len(c.parts) && n < len(p); at++ {
		start := int64(0)
		if at > 0 {
			start = c.ends[at-1]
		}
		want := min(int64(len(p)-n), c.ends[at]-off)
		got, err := c.parts[at].file.ReadAt(p[n:n+int(want)], off-start)
		n, off = n+got, off+int64(got)
		if int64(got) < want {
			return n, shortRead(err)
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// shortRead is the error of a part that ended early: somebody has cut the cached file
// since it was opened. It is no io.EOF, which would make it the end of the file.
func shortRead(err error) error {
	if err == nil || err == io.EOF {
		return fmt.Errorf("the cached file is shorter than it was: %w", store.ErrCorrupt)
	}
	return err
}

// Close closes all parts.
func (c *content) Close() error {
	var errs []error
	for _, p := range c.parts {
		errs = append(errs, c.cache.release(p))
	}
	return errors.Join(errs...)
}

// memory is the parts as memory, and nil where one of them cannot be mapped.
func (c *content) memory() [][]byte {
	var pieces [][]byte
	for _, p := range c.parts {
		if p.blob.Size == 0 {
			continue
		}
		mem := p.memory()
		if mem == nil {
			return nil
		}
		pieces = append(pieces, mem)
	}
	return pieces
}

// check says whether all parts are still as they were when they were hashed.
func (c *content) check() error {
	for _, p := range c.parts {
		if err := p.check(); err != nil {
			return err
		}
	}
	return nil
}

// pieces is the files of all parts.
func (c *content) pieces() []Piece {
	all := make([]Piece, 0, len(c.parts))
	for _, p := range c.parts {
		all = append(all, Piece{File: p.file, Size: p.blob.Size})
	}
	return all
}
