// Package mirror copies images from one store to another: what the other lacks, and no
// more. A copy that was interrupted is finished by the next one.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"piimg/store"
)

// jobs is how many blobs are copied at once. Each may hold a part of an upload to a server
// in memory, so it is what bounds the memory of a copy.
const jobs = 4

// Options say who copies, and who is told of it. The zero value tells nobody.
type Options struct {
	Actor string           // of the record of an image that has none; required then
	Now   func() time.Time // nil for the clock

	// Planned is told how many blobs are missing, and how many bytes they have.
	Planned func(blobs int, bytes int64)
	// Moved is told of bytes as they are read, from several goroutines. Bytes that have to
	// be sent again are counted again.
	Moved func(bytes int64)
}

// Result is what a copy has done.
type Result struct {
	Blobs  int   // that the image has, its manifest among them
	Copied int   // of these, what was missing
	Bytes  int64 // of what was missing
}

// Image copies the image named d with its record, from one store to another. Content is
// verified while it is read and while it is written, and is in place before the manifest is,
// as with [store.Store.PutImage]. What is there in its full size is not copied. The error
// wraps io/fs.ErrNotExist or store.ErrCorrupt where from lacks a blob or has other bytes.
func Image(ctx context.Context, from, to *store.Store, d store.Digest, o Options) (Result, error) {
	r, err := copyImage(ctx, from, to, d, o)
	if err != nil {
		return r, fmt.Errorf("copy image %s: %w", d.Short(), err)
	}
	return r, nil
}

func copyImage(ctx context.Context, from, to *store.Store, d store.Digest, o Options) (Result, error) {
	i, err := from.Image(ctx, d)
	if err != nil {
		return Result{}, fmt.Errorf("read it: %w", err)
	}
	record, err := o.recordOf(ctx, from, i)
	if err != nil {
		return Result{}, err
	}
	manifest, err := from.Blobs().Find(ctx, d)
	if err != nil {
		return Result{}, err
	}
	blobs := append(i.Blobs(), manifest)
	missing, err := missingIn(ctx, to, blobs)
	r := Result{Blobs: len(blobs), Copied: len(missing)}
	for _, b := range missing {
		r.Bytes += b.Size
	}
	if err != nil {
		return r, err
	}
	if o.Planned != nil {
		o.Planned(r.Copied, r.Bytes)
	}
	err = each(ctx, missing, func(ctx context.Context, b store.Blob) error {
		if b == manifest {
			return nil // written last, by PutImage
		}
		_, err := to.Blobs().Put(ctx, o.content(ctx, from, b))
		return err
	})
	if err != nil {
		return r, err
	}
	got, err := to.PutImage(ctx, *i, record)
	if err == nil && got != d {
		err = fmt.Errorf("it became %s: %w", got.Short(), store.ErrCorrupt)
	}
	return r, err
}

// recordOf is the record of i, which need not have one: then it is one of who copies it.
func (o Options) recordOf(ctx context.Context, from *store.Store, i *store.Image) (store.Record, error) {
	r, err := from.Record(ctx, i.Digest)
	if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	now := o.Now
	if now == nil {
		now = time.Now
	}
	return store.Record{Image: i.Digest, Name: i.Name, Actor: o.Actor, Time: now().UTC().Truncate(time.Second)}, nil
}

// content is a blob of from as what to put elsewhere.
func (o Options) content(ctx context.Context, from *store.Store, b store.Blob) store.Content {
	return store.Content{Digest: b.Digest, Size: b.Size, Open: func() (io.ReadCloser, error) {
		r, err := from.Blobs().Open(ctx, b)
		if err != nil || o.Moved == nil {
			return r, err
		}
		return &counted{r, o.Moved}, nil
	}}
}

type counted struct {
	io.ReadCloser
	moved func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.moved(int64(n))
	return n, err
}

// missingIn are those of blobs that s does not have in their full size, in the same order.
func missingIn(ctx context.Context, s *store.Store, blobs []store.Blob) ([]store.Blob, error) {
	have := make([]bool, len(blobs))
	at := make([]int, len(blobs))
	for n := range at {
		at[n] = n
	}
	err := each(ctx, at, func(ctx context.Context, n int) (err error) {
		have[n], err = s.Blobs().Has(ctx, blobs[n])
		return err
	})
	var missing []store.Blob
	for n, b := range blobs {
		if !have[n] {
			missing = append(missing, b)
		}
	}
	return missing, err
}
