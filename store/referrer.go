package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"iter"
	"path"
)

// The OCI way to say that there is no config: these two bytes.
const (
	emptyType   = "application/vnd.oci.empty.v1+json"
	emptyConfig = "{}"
)

// Referrer is a small document about an image, such as a signature: an OCI manifest with
// the image as its subject, and content of its own. The image does not know of it, so its
// digest stays what it is.
type Referrer struct {
	Digest  Digest // of Doc; set by DecodeReferrer
	Doc     []byte // the manifest; set by DecodeReferrer
	Subject Blob   // the image
	Type    string // what the document is, a media type; that of the config where it says no other
	Content []Blob // without the config
	Media   string // media type of Content
	Config  Blob   // set by DecodeReferrer
}

// Blobs are the manifest and all that it names but the image: what has to be where the
// referrer is.
func (r Referrer) Blobs() []Blob {
	return append([]Blob{Bytes(r.Doc).Blob(), r.Config}, r.Content...)
}

// referrerManifest is an OCI image manifest with a subject, its fields in the order of
// their JSON names.
type referrerManifest struct {
	ArtifactType  string       `json:"artifactType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
	MediaType     string       `json:"mediaType"`
	SchemaVersion int          `json:"schemaVersion"`
	Subject       descriptor   `json:"subject"`
}

// EncodeReferrer is the canonical manifest of r: who says the same of the same image writes
// the same bytes.
func EncodeReferrer(r Referrer) ([]byte, error) {
	m := referrerManifest{
		ArtifactType:  r.Type,
		Config:        descriptor{Digest: Sum([]byte(emptyConfig)), MediaType: emptyType, Size: int64(len(emptyConfig))},
		Layers:        []descriptor{},
		MediaType:     manifestType,
		SchemaVersion: 2,
		Subject:       descriptor{Digest: r.Subject.Digest, MediaType: manifestType, Size: r.Subject.Size},
	}
	for _, b := range r.Content {
		m.Layers = append(m.Layers, descriptor{Digest: b.Digest, MediaType: r.Media, Size: b.Size})
	}
	return canonical(m)
}

// DecodeReferrer reads a manifest that has a subject. It takes what other tools write too:
// the bytes are kept as they are, and only what is needed to copy and to keep them is read.
func DecodeReferrer(doc []byte) (Referrer, error) {
	var m referrerManifest
	if len(doc) > MaxManifestLen {
		return Referrer{}, fmt.Errorf("referrer of %d bytes is longer than %d: %w", len(doc), MaxManifestLen, ErrCorrupt)
	}
	if err := json.Unmarshal(doc, &m); err != nil {
		return Referrer{}, fmt.Errorf("referrer: %w: %w", ErrCorrupt, err)
	}
	if m.SchemaVersion != 2 || m.MediaType != manifestType || m.Subject.Digest.IsZero() || len(m.Layers) > maxLayers {
		return Referrer{}, fmt.Errorf("referrer: media type %q, schema version %d, subject %q: %w",
			m.MediaType, m.SchemaVersion, m.Subject.Digest, ErrCorrupt)
	}
	r := Referrer{
		Digest: Sum(doc), Doc: doc, Type: cmp.Or(m.ArtifactType, m.Config.MediaType),
		Subject: Blob{m.Subject.Digest, m.Subject.Size}, Config: Blob{m.Config.Digest, m.Config.Size},
	}
	for _, l := range append([]descriptor{m.Config}, m.Layers...) {
		if l.Digest.IsZero() || l.Size < 0 {
			return Referrer{}, fmt.Errorf("referrer: a descriptor has no digest or size: %w", ErrCorrupt)
		}
	}
	for _, l := range m.Layers {
		r.Content, r.Media = append(r.Content, Blob{l.Digest, l.Size}), l.MediaType
	}
	return r, nil
}

func referrerKey(subject, manifest Digest) string {
	return "referrers/" + subject.Hex() + "/" + manifest.Hex()
}

// PutReferrer stores a referrer's manifest, the bytes doc. The image and the content have
// to be there already; what is missing is named by an error that wraps io/fs.ErrNotExist.
// The marker by which it is found comes last.
func (s *Store) PutReferrer(ctx context.Context, doc []byte) (Digest, error) {
	r, err := DecodeReferrer(doc)
	if err != nil {
		return Digest{}, err
	}
	held := append([]Blob{r.Subject, r.Config}, r.Content...)
	lease := s.NewLease(LeaseOptions{Holder: "document about " + r.Subject.Digest.Short()})
	defer lease.Release(ctx)
	if err := lease.Hold(ctx, append(held, Bytes(doc).Blob())...); err != nil {
		return Digest{}, err
	}
	if r.Config.Digest == Sum([]byte(emptyConfig)) {
		if _, err := s.Blobs().Put(ctx, Bytes([]byte(emptyConfig))); err != nil {
			return Digest{}, err
		}
	}
	for _, b := range held {
		have, err := s.Blobs().Has(ctx, b)
		if err != nil {
			return Digest{}, err
		}
		if !have {
			return Digest{}, fmt.Errorf("referrer of image %s: blob %s of %d bytes: %w", r.Subject.Digest.Short(), b.Digest.Short(), b.Size, fs.ErrNotExist)
		}
	}
	if _, err := s.Blobs().Repair(ctx, Bytes(doc)); err != nil {
		return Digest{}, err
	}
	if err := lease.Confirm(ctx); err != nil {
		return Digest{}, err
	}
	if err := s.bucket.Put(ctx, referrerKey(r.Subject.Digest, r.Digest), Bytes(nil)); err != nil {
		return Digest{}, fmt.Errorf("record referrer of image %s: %w", r.Subject.Digest.Short(), err)
	}
	return r.Digest, nil
}

// Referrers yields the referrers of an image, ordered by digest. An error is that of one of
// them, whose digest it comes with, and the next one follows; only where
// they cannot be listed at all, or ctx has ended, is it the last that comes.
func (s *Store) Referrers(ctx context.Context, subject Digest) iter.Seq2[Referrer, error] {
	return func(yield func(Referrer, error) bool) {
		for info, err := range s.bucket.List(ctx, "referrers/"+subject.Hex()+"/", "") {
			if err != nil {
				yield(Referrer{}, fmt.Errorf("list referrers of image %s: %w", subject.Short(), err))
				return
			}
			r, err := s.referrer(ctx, subject, info.Key)
			if !yield(r, err) || (err != nil && ctx.Err() != nil) {
				return
			}
		}
	}
}

func (s *Store) referrer(ctx context.Context, subject Digest, key string) (Referrer, error) {
	d, err := ParseHex(path.Base(key))
	if err != nil || referrerKey(subject, d) != key {
		return Referrer{}, fmt.Errorf("list referrers of image %s: %s is no referrer: %w", subject.Short(), key, ErrCorrupt)
	}
	none := Referrer{Digest: d, Subject: Blob{Digest: subject}}
	b, err := s.Blobs().Find(ctx, d)
	if err != nil {
		return none, fmt.Errorf("referrer of image %s: %w", subject.Short(), err)
	}
	doc, err := s.Blobs().Read(ctx, b, MaxManifestLen)
	if err != nil {
		return none, fmt.Errorf("referrer of image %s: %w", subject.Short(), err)
	}
	r, err := DecodeReferrer(doc)
	if err == nil && r.Subject.Digest != subject {
		err = fmt.Errorf("it is of image %s: %w", r.Subject.Digest.Short(), ErrCorrupt)
	}
	if err != nil {
		return none, fmt.Errorf("referrer %s of image %s: %w", d.Short(), subject.Short(), err)
	}
	return r, nil
}
