package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"path"
	"slices"
	"strings"
	"time"
)

// File is one boot file of an image. Its bytes are those of its parts in order, so
// that a new build of a large file may share all but its last part with the old one.
type File struct {
	Path   string `json:"path"` // slash-separated, relative, clean
	Mode   uint32 `json:"mode"` // 0644 or 0755
	Digest Digest `json:"digest"`
	Size   int64  `json:"size"`
	Parts  []Blob `json:"parts"` // one at least
}

// NewFile is a file of a single part.
func NewFile(name string, mode uint32, b Blob) File {
	return File{Path: name, Mode: mode, Digest: b.Digest, Size: b.Size, Parts: []Blob{b}}
}

func (f File) check() error {
	if err := CheckPath(f.Path); err != nil {
		return fmt.Errorf("%w: %w", err, ErrCorrupt)
	}
	if f.Mode != 0o644 && f.Mode != 0o755 {
		return fmt.Errorf("file %s has mode %04o, neither 0644 nor 0755: %w", f.Path, f.Mode, ErrCorrupt)
	}
	if len(f.Parts) == 0 || f.Digest.IsZero() {
		return fmt.Errorf("file %s has no parts or no digest: %w", f.Path, ErrCorrupt)
	}
	var size int64
	for _, p := range f.Parts {
		if p.Size < 0 || p.Size > math.MaxInt64-size || p.Digest.IsZero() {
			return fmt.Errorf("file %s: a part has no digest or size: %w", f.Path, ErrCorrupt)
		}
		size += p.Size
	}
	if size != f.Size {
		return fmt.Errorf("file %s: its parts have %d bytes, not %d: %w", f.Path, size, f.Size, ErrCorrupt)
	}
	if len(f.Parts) == 1 && f.Parts[0].Digest != f.Digest {
		return fmt.Errorf("file %s: its only part has another digest: %w", f.Path, ErrCorrupt)
	}
	return nil
}

// CheckPath says what is wrong with the path of a boot file: it has to be relative,
// clean, slash-separated and printable ASCII without blanks, and not longer than the
// 255 bytes that the firmware takes.
func CheckPath(p string) error {
	if !fs.ValidPath(p) || p == "." || len(p) > 255 || path.Clean(p) != p || strings.Contains(p, `\`) {
		return fmt.Errorf("%q is no path for a boot file", p)
	}
	for _, c := range []byte(p) {
		if c <= ' ' || c > '~' {
			return fmt.Errorf("%q is no path for a boot file: byte %#02x", p, c)
		}
	}
	return nil
}

// Image is a set of boot files that belong together. Its name is the digest of its
// manifest, which holds nothing but what an Image holds.
type Image struct {
	Digest Digest // of the manifest; set by the store
	Name   string // of the recipe
	Boards []string
	Config Blob   // JSON: the resolved recipe and the digests of its inputs
	Files  []File // sorted by path
}

// File is the file at path.
func (i *Image) File(name string) (File, bool) {
	n, ok := slices.BinarySearchFunc(i.Files, name, func(f File, name string) int { return cmp.Compare(f.Path, name) })
	if !ok {
		return File{}, false
	}
	return i.Files[n], true
}

// Blobs are the config and the parts of all files, each once, in the manifest's order.
func (i *Image) Blobs() []Blob {
	seen := map[Digest]bool{}
	var all []Blob
	add := func(b Blob) {
		if !seen[b.Digest] {
			seen[b.Digest] = true
			all = append(all, b)
		}
	}
	add(i.Config)
	for _, f := range i.Files {
		for _, b := range f.Parts {
			add(b)
		}
	}
	return all
}

// Record says how an image came to be published: what a person wants to know and what
// must not be part of its digest.
type Record struct {
	Image  Digest    `json:"image"`
	Name   string    `json:"name"`
	Actor  string    `json:"actor"`
	Recipe string    `json:"recipe"` // the recipe file as it was given
	Time   time.Time `json:"time"`
}

// check refuses what could garble a terminal.
func (r Record) check() error {
	return cmp.Or(CheckLine("name", r.Name), CheckLine("actor", r.Actor), CheckLine("recipe", r.Recipe))
}

// RecordKey is the key of the record of the image named d.
func RecordKey(d Digest) string { return "images/" + d.Hex() + ".json" }

const maxRecordLen = 64 << 10

// PutImage is [Lease.PutImage] under a lease of its own. Whoever has put or found the
// blobs under a lease publishes under that one.
func (s *Store) PutImage(ctx context.Context, i Image, r Record) (Digest, error) {
	l := s.NewLease(LeaseOptions{Holder: r.Actor + ", publish " + i.Name})
	defer l.Release(ctx)
	return l.PutImage(ctx, i, r)
}

// Complete says which blob of i the store lacks: the error wraps io/fs.ErrNotExist for
// one that is missing and ErrCorrupt for one of another size.
func (s *Store) Complete(ctx context.Context, i *Image) error {
	missing, err := s.Blobs().Missing(ctx, i.Blobs())
	if err != nil {
		return err
	}
	for _, b := range missing {
		if err := s.lacks(ctx, i, b); err != nil {
			return err
		}
	}
	return nil
}

// lacks is the error for a blob of i that is not stored as it has to be.
func (s *Store) lacks(ctx context.Context, i *Image, b Blob) error {
	have, err := s.bucket.Stat(ctx, BlobKey(b.Digest))
	if err != nil {
		return fmt.Errorf("blob %s of %d bytes (%s): %w", b.Digest.Short(), b.Size, i.using(b), err)
	}
	if have.Size == b.Size {
		return nil // somebody has just written it
	}
	return fmt.Errorf("blob %s (%s) has %d bytes, not %d: %w", b.Digest.Short(), i.using(b), have.Size, b.Size, ErrCorrupt)
}

// using names what b is for.
func (i *Image) using(b Blob) string {
	for _, f := range i.Files {
		if slices.Contains(f.Parts, b) {
			return f.Path
		}
	}
	return "config"
}

// Image reads the image named d. The error wraps io/fs.ErrNotExist where the store has
// no such blob, and ErrCorrupt where it is no image.
func (s *Store) Image(ctx context.Context, d Digest) (*Image, error) {
	b, err := s.Blobs().Find(ctx, d)
	if err != nil {
		return nil, err
	}
	doc, err := s.Blobs().Read(ctx, b, MaxManifestLen)
	if err != nil {
		return nil, err
	}
	i, err := DecodeManifest(doc)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", d.Short(), err)
	}
	return i, nil
}

// Images yields the records of all published images, ordered by digest. An error is that
// of one record, and the next one follows: where the Record's Image is set, the error is
// of that image. It wraps ErrCorrupt where the record is damaged. Only where the records
// cannot be listed at all, or ctx has ended, is the error the last that comes.
func (s *Store) Images(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for info, err := range s.bucket.List(ctx, "images/", "") {
			if err != nil {
				yield(Record{}, fmt.Errorf("list images: %w", err))
				return
			}
			r, err := s.record(ctx, info.Key)
			if errors.Is(err, fs.ErrNotExist) {
				continue // deleted meanwhile
			}
			if err != nil {
				r.Image, _ = ImageOf(info.Key)
			}
			if !yield(r, err) || (err != nil && ctx.Err() != nil) {
				return
			}
		}
	}
}

// ImageOf is the image whose record is at key, and false where key is of no image.
func ImageOf(key string) (Digest, bool) {
	d, err := ParseHex(strings.TrimSuffix(path.Base(key), ".json"))
	if err != nil || RecordKey(d) != key {
		return Digest{}, false
	}
	return d, true
}

// Record is the record of the image named d, and io/fs.ErrNotExist where there is none.
func (s *Store) Record(ctx context.Context, d Digest) (Record, error) {
	return s.record(ctx, RecordKey(d))
}

func (s *Store) record(ctx context.Context, key string) (Record, error) {
	doc, err := readObject(ctx, s.bucket, key, maxRecordLen)
	if err != nil {
		return Record{}, err
	}
	var r Record
	if err := json.Unmarshal(doc, &r); err != nil || RecordKey(r.Image) != key {
		return Record{}, fmt.Errorf("read %s: no record of that image: %w", key, ErrCorrupt)
	}
	if err := r.check(); err != nil {
		return Record{}, fmt.Errorf("read %s: %w: %w", key, ErrCorrupt, err)
	}
	return r, nil
}

// FindImages are the digests of the published images whose hexadecimal form starts
// with prefix, in order. It reads no record, so damage to one hides no image.
func (s *Store) FindImages(ctx context.Context, prefix string) ([]Digest, error) {
	var found []Digest
	for info, err := range s.bucket.List(ctx, "images/"+prefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list images: %w", err)
		}
		if d, ok := ImageOf(info.Key); ok {
			found = append(found, d)
		}
	}
	return found, nil
}

// OpenFile reads f from its start, part after part. Like Blobs.Open it answers io.EOF
// only after every part matched.
func (s *Store) OpenFile(ctx context.Context, f File) (io.ReadCloser, error) {
	if len(f.Parts) == 1 {
		return s.Blobs().Open(ctx, f.Parts[0])
	}
	return &partReader{ctx: ctx, blobs: s.Blobs(), parts: f.Parts}, nil
}

// partReader reads blobs one after the other, with one open at a time.
type partReader struct {
	ctx   context.Context
	blobs Blobs
	parts []Blob
	open  io.ReadCloser
}

func (r *partReader) Read(p []byte) (int, error) {
	for {
		if r.open == nil {
			if len(r.parts) == 0 {
				return 0, io.EOF
			}
			part, err := r.blobs.Open(r.ctx, r.parts[0])
			if err != nil {
				return 0, err
			}
			r.open, r.parts = part, r.parts[1:]
		}
		n, err := r.open.Read(p)
		if err == io.EOF {
			err = r.Close()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (r *partReader) Close() error {
	if r.open == nil {
		return nil
	}
	err := r.open.Close()
	r.open = nil
	return err
}
