package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

const (
	// PublishedTTL is how long a published image is kept that nothing else keeps.
	PublishedTTL = 14 * 24 * time.Hour
	// publishedAgain is how old a record may be for its image to be as good as new.
	publishedAgain = 24 * time.Hour
)

// PutImage writes the manifest of i and returns its digest. The blobs that it names
// have to be there already: one that is missing is named by an error that wraps
// io/fs.ErrNotExist. The small ones that make it an image are read: a damaged config is
// refused, a damaged manifest is written anew. The first Record of an image is kept,
// later ones are dropped.
func (l *Lease) PutImage(ctx context.Context, i Image, r Record) (Digest, error) {
	c, rec, err := encodeImage(i, r)
	if err != nil {
		return Digest{}, err
	}
	if err := l.hold(ctx, func() bool {
		l.images[c.Digest] = true
		for _, b := range i.Blobs() {
			l.blobs[b.Digest] = b.Size
		}
		return true
	}); err != nil {
		return Digest{}, err
	}
	if err := l.store.Complete(ctx, &i); err != nil {
		return Digest{}, err
	}
	if err := l.store.Blobs().Verify(ctx, i.Config); err != nil {
		return Digest{}, fmt.Errorf("config: %w", err)
	}
	if _, err := l.store.Blobs().Repair(ctx, c); err != nil {
		return Digest{}, err
	}
	return c.Digest, l.record(ctx, c.Digest, rec)
}

// encodeImage is the manifest of i and the record of it.
func encodeImage(i Image, r Record) (Content, []byte, error) {
	doc, err := EncodeManifest(i)
	if err != nil {
		return Content{}, nil, err
	}
	if err := r.check(); err != nil {
		return Content{}, nil, fmt.Errorf("record of %s: %w", i.Name, err)
	}
	c := Bytes(doc)
	r.Image = c.Digest
	rec, err := json.Marshal(r)
	if err != nil {
		return Content{}, nil, err
	}
	if len(rec) > maxRecordLen {
		return Content{}, nil, fmt.Errorf("record image %s: %d bytes are more than %d", c.Digest.Short(), len(rec), maxRecordLen)
	}
	return c, rec, nil
}

// record makes the image named d a published one.
func (l *Lease) record(ctx context.Context, d Digest, rec []byte) error {
	if err := l.Confirm(ctx); err != nil {
		return err
	}
	err := l.store.bucket.Create(ctx, recordKey(d), rec)
	if errors.Is(err, ErrConflict) {
		return l.publishedBefore(ctx, d)
	}
	if err != nil {
		return fmt.Errorf("record image %s: %w", d.Short(), err)
	}
	if err := l.Confirm(ctx); err != nil {
		// It was suspended for hours in that moment. What is not there is not published.
		_ = l.store.bucket.Delete(context.WithoutCancel(ctx), recordKey(d))
		return err
	}
	return nil
}

// publishedBefore keeps an image that was published long ago, and now again, for as long
// as if its record were new. The record stays as it is.
func (l *Lease) publishedBefore(ctx context.Context, d Digest) error {
	info, err := l.store.bucket.Stat(ctx, recordKey(d))
	if err != nil {
		return fmt.Errorf("record image %s: %w", d.Short(), err)
	}
	if l.o.Now().Sub(info.Time) < publishedAgain {
		return nil
	}
	doc, err := json.Marshal(leaseDoc{
		Version: leaseVersion, Holder: "published again", TTL: int64(PublishedTTL / time.Second),
		Images: []Digest{d}, Blobs: []Digest{},
	})
	if err != nil {
		return err
	}
	if err := l.store.bucket.Put(ctx, leaseFolder+"published-"+d.Hex()+".json", Bytes(doc)); err != nil {
		return fmt.Errorf("keep image %s: %w", d.Short(), err)
	}
	return l.Confirm(ctx)
}
