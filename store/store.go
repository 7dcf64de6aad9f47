// Package store keeps images of Raspberry Pi boot files, and every byte of them under
// its SHA-256, in a [Bucket]: a folder, an S3 bucket or memory. It holds the types and
// the rules; the buckets, environments and the front end are packages below.
//
// README.md describes the layout key by key.
package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

const (
	formatKey     = "piimg-store.json"
	formatVersion = 1
	maxFormatLen  = 64 << 10

	layoutKey = "oci-layout"
	ociLayout = `{"imageLayoutVersion":"1.0.0"}`
)

// format is the content of piimg-store.json.
type format struct {
	Format  int    `json:"format"`
	ID      string `json:"id"`
	Writers string `json:"writers,omitempty"` // "one" where several may not write at a time
}

const oneWriter = "one"

// Store is an opened store. It is safe for concurrent use and holds nothing that
// would have to be closed.
type Store struct {
	bucket Bucket
	format format
}

// InitOptions are what a store is made as.
type InitOptions struct {
	// SingleWriter is a store whose bucket does not let one of several racing writers win:
	// whoever uses it sees to it that there is one.
	SingleWriter bool
}

// Init is [InitWith] without options.
func Init(ctx context.Context, b Bucket) (*Store, error) { return InitWith(ctx, b, InitOptions{}) }

// InitWith makes a store of an empty bucket, or opens the one that is there.
func InitWith(ctx context.Context, b Bucket, o InitOptions) (*Store, error) {
	s, err := Open(ctx, b)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	f := format{Format: formatVersion, ID: rand.Text()}
	if o.SingleWriter {
		f.Writers = oneWriter
	}
	doc, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	// The format comes last: where it is, the store is whole. A conflict means that
	// somebody else has just made the store: open theirs.
	if err := b.Create(ctx, layoutKey, []byte(ociLayout)); err != nil && !errors.Is(err, ErrConflict) {
		return nil, fmt.Errorf("make a store: %w", err)
	}
	if err := b.Create(ctx, formatKey, doc); err != nil && !errors.Is(err, ErrConflict) {
		return nil, fmt.Errorf("make a store: %w", err)
	}
	return Open(ctx, b)
}

// Open opens the store in b. The error wraps io/fs.ErrNotExist where there is none.
func Open(ctx context.Context, b Bucket) (*Store, error) {
	doc, err := readObject(ctx, b, formatKey, maxFormatLen)
	if err != nil {
		return nil, err
	}
	var f format
	if err := json.Unmarshal(doc, &f); err != nil || f.ID == "" {
		return nil, fmt.Errorf("read %s: not a piimg store: %w", formatKey, ErrCorrupt)
	}
	if f.Format != formatVersion {
		return nil, fmt.Errorf("the store has format %d, this piimg knows format %d", f.Format, formatVersion)
	}
	if f.Writers != "" && f.Writers != oneWriter {
		return nil, fmt.Errorf("read %s: writers %q: this piimg does not know what that means", formatKey, f.Writers)
	}
	return &Store{bucket: b, format: f}, nil
}

// ID names this store among others; it never changes.
func (s *Store) ID() string { return s.format.ID }

// SingleWriter says whether the store was made for one writer at a time.
func (s *Store) SingleWriter() bool { return s.format.Writers == oneWriter }

// Bucket is where the store lives.
func (s *Store) Bucket() Bucket { return s.bucket }

// In is s by way of b, another way to the bucket that it is in.
func (s *Store) In(b Bucket) *Store { return &Store{bucket: b, format: s.format} }

// Blobs is the content of the store.
func (s *Store) Blobs() Blobs { return Blobs{s.bucket} }

// Log is the append-only log below prefix.
func (s *Store) Log(prefix string) Log { return Log{s.bucket, prefix} }

// Steps are the finished build steps that the store remembers.
func (s *Store) Steps() Steps { return Steps{bucket: s.bucket} }

// Notes are the answers of one kind, a word such as "lint", that the store remembers.
func (s *Store) Notes(kind string) Notes { return Notes{bucket: s.bucket, kind: kind} }

// Object reads a small object that is neither content nor an entry of a log, such as an
// approval. One of more than limit bytes is an error that wraps ErrCorrupt.
func (s *Store) Object(ctx context.Context, key string, limit int64) ([]byte, error) {
	return readObject(ctx, s.bucket, key, limit)
}

// CheckLayout says what is wrong with the object that tells tools of the OCI image layout
// what they look at.
func (s *Store) CheckLayout(ctx context.Context) error {
	doc, err := readObject(ctx, s.bucket, layoutKey, maxFormatLen)
	if err == nil && string(doc) != ociLayout {
		err = fmt.Errorf("read %s: %q: %w", layoutKey, doc[:min(len(doc), 80)], ErrCorrupt)
	}
	return err
}

// PutLayout writes that object anew.
func (s *Store) PutLayout(ctx context.Context) error {
	return s.bucket.Put(ctx, layoutKey, Bytes([]byte(ociLayout)))
}

// readObject returns an object of at most limit bytes.
func readObject(ctx context.Context, b Bucket, key string, limit int64) ([]byte, error) {
	r, err := b.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	defer r.Close()
	doc, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	if int64(len(doc)) > limit {
		return nil, fmt.Errorf("read %s: more than %d bytes: %w", key, limit, ErrCorrupt)
	}
	return doc, nil
}
