package fsck

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"piimg/store"
)

// records reads the records of published images.
func (c *checker) records(ctx context.Context) error {
	keys := c.byKind["images"]
	for _, key := range keys {
		if d, ok := store.ImageOf(key); ok {
			c.name(d).kept = true
		}
	}
	done := c.count("records", len(keys))
	return store.Each(ctx, atATime, keys, func(ctx context.Context, key string) error {
		defer done()
		d, ok := store.ImageOf(key)
		if !ok {
			return nil // it is unknown already
		}
		_, err := c.store.Record(ctx, d)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // deleted meanwhile
		}
		return c.found(ctx, key, err)
	})
}

// manifests reads the manifests of all images that something names.
func (c *checker) manifests(ctx context.Context) error {
	all := c.sortedImages()
	done := c.count("manifests", len(all))
	return store.Each(ctx, atATime, all, func(ctx context.Context, i *image) error {
		defer done()
		return c.manifest(ctx, i)
	})
}

func (c *checker) manifest(ctx context.Context, i *image) error {
	key, lost := store.BlobKey(i.digest), store.Blob{Digest: i.digest, Size: -1}
	doc, err := c.store.Image(ctx, i.digest)
	switch {
	case err == nil:
		i.doc = doc
		if _, ok := c.objects[store.RecordKey(i.digest)]; !ok && i.kept {
			err = c.noRecord(ctx, i.digest)
		}
		if err == nil && i.kept && c.o.Signatures != nil {
			return c.foundIn(ctx, Finding{Key: key, Kind: Unsigned}, c.o.Signatures.Image(ctx, i.digest))
		}
		return err
	case errors.Is(err, fs.ErrNotExist):
		if kept, err := c.stillKept(ctx, i); err != nil || !kept {
			return err
		}
		return c.foundIn(ctx, Finding{Key: key, Kind: Missing, blob: lost}, errors.New("the manifest of an image is not there"))
	}
	f := Finding{Key: key, blob: lost}
	if kindOf(err) == Malformed {
		f.Kind = WrongBytes
	}
	return c.foundIn(ctx, f, err)
}

// stillKept says whether an image should be there of which something is gone. A step of
// long ago may name one that was collected since, and so may the listing by now.
func (c *checker) stillKept(ctx context.Context, i *image) (bool, error) {
	_, recorded := c.objects[store.RecordKey(i.digest)]
	if recorded && !c.needed(i.digest) {
		_, err := c.store.Bucket().Stat(ctx, store.RecordKey(i.digest))
		if errors.Is(err, fs.ErrNotExist) {
			i.kept = false
		} else if err != nil {
			return false, c.found(ctx, store.RecordKey(i.digest), err)
		}
	}
	if !i.kept {
		c.mu.Lock()
		c.report.Gone++
		c.mu.Unlock()
	}
	return i.kept, nil
}

// needed says whether an environment or a board runs the image now.
func (c *checker) needed(d store.Digest) bool {
	for _, logs := range []map[string]*history{c.envs, c.boards} {
		for _, h := range logs {
			if h.head.seq > 0 && h.head.image == d {
				return true
			}
		}
	}
	return false
}

// noRecord takes note of an image in use that no list of images shows. One that has just
// been published has its record by now.
func (c *checker) noRecord(ctx context.Context, d store.Digest) error {
	key := store.RecordKey(d)
	_, err := c.store.Bucket().Stat(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		c.add(Finding{Key: key, Kind: Missing, Text: "the image is in use, and in no list"})
		return nil
	}
	return c.found(ctx, key, err)
}

// referrers reads the documents beside images, such as signatures.
func (c *checker) referrers(ctx context.Context) error {
	subjects := map[store.Digest]bool{}
	for _, key := range c.byKind["referrers"] {
		subject, _, _ := strings.Cut(strings.TrimPrefix(key, "referrers/"), "/")
		d, err := store.ParseHex(subject)
		if err != nil {
			c.add(Finding{Key: key, Kind: Unknown, Text: "it is beside no image"})
			continue
		}
		if i := c.images[d]; i != nil && i.kept {
			subjects[d] = true // others were collected, and these go too
		}
	}
	return store.Each(ctx, atATime, slices.Collect(maps.Keys(subjects)), func(ctx context.Context, d store.Digest) error {
		for r, err := range c.store.Referrers(ctx, d) {
			if err == nil {
				c.images[d].about = append(c.images[d].about, r.Blobs()...)
				continue
			}
			f := Finding{Key: "referrers/" + d.Hex()}
			if !r.Digest.IsZero() {
				f.Key, f.blob = store.BlobKey(r.Digest), store.Blob{Digest: r.Digest, Size: -1}
				c.images[d].about = append(c.images[d].about, f.blob)
			}
			if err := c.foundIn(ctx, f, err); err != nil {
				return err
			}
		}
		return nil
	})
}

// needs are the blobs that have to be there for an image that is kept.
func (i *image) needs() []store.Blob {
	if i.doc == nil || !i.kept {
		return nil
	}
	all := i.doc.Blobs()
	for _, b := range i.about {
		if b.Size >= 0 {
			all = append(all, b)
		}
	}
	return all
}

// closures compares what the manifests promise with what is there.
func (c *checker) closures(ctx context.Context) error {
	wanted := map[store.Blob]bool{}
	var all []store.Blob
	for _, i := range c.sortedImages() {
		for _, b := range i.needs() {
			if !wanted[b] {
				wanted[b] = true
				all = append(all, b)
			}
		}
	}
	for _, b := range all {
		info, ok := c.objects[store.BlobKey(b.Digest)]
		if ok && info.Size == b.Size {
			continue
		}
		if err := c.closure(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// wanted says whether an image that needs b is still kept.
func (c *checker) wanted(ctx context.Context, b store.Blob) (bool, error) {
	for _, i := range c.sortedImages() {
		if !slices.Contains(i.needs(), b) {
			continue
		}
		if kept, err := c.stillKept(ctx, i); err != nil || kept {
			return kept, err
		}
	}
	return false, nil
}

// closure asks for a blob that the listing did not have, or not in its size: an image may
// have been published since.
func (c *checker) closure(ctx context.Context, b store.Blob) error {
	key := store.BlobKey(b.Digest)
	f := Finding{Key: key, blob: b}
	info, err := c.store.Bucket().Stat(ctx, key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if wanted, err := c.wanted(ctx, b); err != nil || !wanted {
			return err
		}
		f.Kind = Missing
		err = fmt.Errorf("%d bytes are not there", b.Size)
	case err == nil && info.Size != b.Size:
		f.Kind = WrongSize
		err = fmt.Errorf("%d bytes instead of %d", info.Size, b.Size)
	case err == nil:
		c.objects[key] = info
	}
	return c.foundIn(ctx, f, err)
}
