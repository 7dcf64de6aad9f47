package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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
	missing, err := l.missing(ctx, i.Blobs())
	if err != nil {
		return Digest{}, err
	}
	if len(missing) > 0 {
		return Digest{}, l.store.lacks(ctx, &i, missing[0])
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
	rec, err := r.encode()
	return c, rec, err
}

func (r Record) encode() ([]byte, error) {
	doc, err := json.Marshal(r)
	if err == nil && len(doc) > maxRecordLen {
		err = fmt.Errorf("record image %s: %d bytes are more than %d", r.Image.Short(), len(doc), maxRecordLen)
	}
	return doc, err
}

// PutRecord keeps a record of an image whose manifest is stored, unless it has one, where
// the one that it had is lost. Publishing an image does this by itself.
func (s *Store) PutRecord(ctx context.Context, r Record) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("record of %s: %w", r.Image.Short(), err)
	}
	rec, err := r.encode()
	if err != nil {
		return err
	}
	l := s.NewLease(LeaseOptions{Holder: r.Actor + ", record of " + r.Image.Short()})
	defer l.Release(ctx)
	if err := l.HoldImage(ctx, r.Image); err != nil {
		return err
	}
	return l.record(ctx, r.Image, rec)
}

// record makes the image named d a published one.
func (l *Lease) record(ctx context.Context, d Digest, rec []byte) error {
	if err := l.Confirm(ctx); err != nil {
		return err
	}
	_, err := l.store.bucket.Stat(ctx, RecordKey(d))
	if err == nil {
		return l.publishedBefore(ctx, d)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = l.store.bucket.Create(ctx, RecordKey(d), rec)
	}
	if errors.Is(err, ErrConflict) {
		return l.publishedBefore(ctx, d)
	}
	if err != nil {
		return fmt.Errorf("record image %s: %w", d.Short(), err)
	}
	if err := l.Confirm(ctx); err != nil {
		// It was suspended for hours in that moment. What is not there is not published.
		_ = l.store.bucket.Delete(context.WithoutCancel(ctx), RecordKey(d))
		return err
	}
	return nil
}

// publishedBefore keeps an image that was published long ago, and now again, for as long
// as if its record were new. The record stays as it is. The note is no lease: it is a root,
// and roots are read after leases.
func (l *Lease) publishedBefore(ctx context.Context, d Digest) error {
	info, err := l.store.bucket.Stat(ctx, RecordKey(d))
	if err != nil {
		return fmt.Errorf("record image %s: %w", d.Short(), err)
	}
	if l.o.Now().Sub(info.Time) >= publishedAgain {
		if err := l.store.bucket.Put(ctx, PublishedKey(d), Bytes([]byte("{}"))); err != nil {
			return fmt.Errorf("keep image %s: %w", d.Short(), err)
		}
	}
	return l.Confirm(ctx)
}

// PublishedKey is the key of the note, whose time is when the image was last published
// that was published before.
func PublishedKey(d Digest) string { return "published/" + d.Hex() + ".json" }
