// Package mirror copies images from one store to another: what the other lacks, and no
// more. A copy that was interrupted is finished by the next one.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"piimg/store"
)

// jobs is how many blobs are copied at once. Each may hold a part of an upload to a server
// in memory, so it is what bounds the memory of a copy.
const jobs = 4

// Options say who copies, and who is told of it. The zero value tells nobody.
type Options struct {
	Actor string             // of the record of an image that has none; required then
	Now   func() time.Time   // nil for the clock
	Lease store.LeaseOptions // on what is copied, in the store that gets it

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

// Image copies the image named d with its record and its referrers, from one store to
// another. Content is verified while it is read and while it is written, and is in place
// before the manifest is, as with [store.Store.PutImage]. What is there in its full size is
// not copied. The error wraps io/fs.ErrNotExist or store.ErrCorrupt where from lacks a blob or
// has other bytes.
func Image(ctx context.Context, from, to *store.Store, d store.Digest, o Options) (Result, error) {
	c := copier{from: from, to: to, options: o}
	err := c.load(ctx, d)
	if err == nil {
		err = c.copy(ctx)
	}
	if err != nil {
		return c.result, fmt.Errorf("copy image %s: %w", d.Short(), err)
	}
	return c.result, nil
}

// copier is one copy under way.
type copier struct {
	from, to *store.Store
	options  Options

	image     *store.Image
	record    store.Record
	referrers []store.Referrer
	documents map[store.Digest]bool // manifests, each written after what it names
	blobs     []store.Blob          // all, each once
	lease     *store.Lease          // on them, in to
	result    Result
}

// load reads what there is to copy.
func (c *copier) load(ctx context.Context, d store.Digest) (err error) {
	if c.image, err = c.from.Image(ctx, d); err != nil {
		return fmt.Errorf("read it: %w", err)
	}
	if c.record, err = c.options.recordOf(ctx, c.from, c.image); err != nil {
		return err
	}
	manifest, err := c.from.Blobs().Find(ctx, d)
	if err != nil {
		return err
	}
	c.documents = map[store.Digest]bool{d: true}
	c.blobs = append(c.image.Blobs(), manifest)
	for r, err := range c.from.Referrers(ctx, d) {
		if err != nil {
			return err
		}
		c.referrers = append(c.referrers, r)
		c.documents[r.Digest] = true
		for _, b := range r.Blobs() {
			if !slices.Contains(c.blobs, b) {
				c.blobs = append(c.blobs, b)
			}
		}
	}
	return nil
}

// copy copies what is missing.
func (c *copier) copy(ctx context.Context) error {
	c.lease = c.to.NewLease(c.options.Lease)
	defer c.lease.Release(ctx)
	if err := c.lease.Hold(ctx, c.blobs...); err != nil {
		return err
	}
	missing, err := c.to.Blobs().Missing(ctx, c.blobs)
	if err != nil {
		return err
	}
	c.result = Result{Blobs: len(c.blobs), Copied: len(missing)}
	for _, b := range missing {
		c.result.Bytes += b.Size
	}
	if c.options.Planned != nil {
		c.options.Planned(c.result.Copied, c.result.Bytes)
	}
	content := slices.DeleteFunc(missing, func(b store.Blob) bool { return c.documents[b.Digest] })
	err = store.Each(ctx, jobs, content, func(ctx context.Context, b store.Blob) error {
		_, err := c.to.Blobs().Put(ctx, c.options.content(ctx, c.from, b))
		return err
	})
	if err != nil {
		return err
	}
	return c.publish(ctx)
}

// publish writes what names the content: the image, and then what refers to it.
func (c *copier) publish(ctx context.Context) error {
	got, err := c.lease.PutImage(ctx, *c.image, c.record)
	if err != nil {
		return err
	}
	if got != c.image.Digest {
		return fmt.Errorf("it became %s: %w", got.Short(), store.ErrCorrupt)
	}
	if len(c.referrers) == 0 {
		return nil
	}
	there := map[store.Digest]bool{}
	for r, err := range c.to.Referrers(ctx, got) {
		there[r.Digest] = err == nil // a broken one is written anew
	}
	for _, r := range c.referrers {
		if there[r.Digest] {
			continue
		}
		if _, err := c.to.PutReferrer(ctx, r.Doc); err != nil {
			return err
		}
	}
	return nil
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
