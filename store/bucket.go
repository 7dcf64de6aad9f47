package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"iter"
	"os"
	"regexp"
	"strings"
	"time"
)

// Bucket is a flat, ordered map from keys to objects: the part of S3 that a store
// needs. It knows nothing of digests, images or environments.
//
// Keys are those that [CheckKey] accepts. A method refuses any other key, and an
// absent key is io/fs.ErrNotExist. An object becomes visible as a whole or not at
// all, and once Put or Create has returned nil, its object survives a crash of the
// process and of the machine. Every method may be called concurrently, from several
// processes on the same bucket too, and ends soon after ctx does, as the readers and
// sequences that it returned do.
//
// No key may be the folder of another ("a" beside "a/b"): a file system cannot hold both.
type Bucket interface {
	// Put stores c under key and replaces what was there. Bytes that do not have
	// c's size or digest are not stored, and the error wraps ErrCorrupt.
	Put(ctx context.Context, key string, c Content) error

	// Create stores b under key if no object is there. If one is, the answer is nil
	// where its bytes are b, so that a repeated call after a lost answer succeeds,
	// and else an error that wraps ErrConflict. Of several racing calls with
	// different bytes exactly one succeeds.
	Create(ctx context.Context, key string, b []byte) error

	// Get reads n bytes from off on, and to the end where n < 0. A range that ends
	// beyond the object is cut off at its end; one that starts beyond it is an error,
	// and one that starts at its end is empty. [Info.Range] is this rule.
	Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)

	// Stat describes one object.
	Stat(ctx context.Context, key string) (Info, error)

	// List yields the objects whose keys start with prefix and sort after the key
	// after, in ascending byte order of their keys. Both are printable ASCII, and
	// neither has to be a key. It stops at the first error, which it yields. Objects
	// created or deleted meanwhile may or may not appear.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]

	// Delete removes one object. An absent key is no error.
	Delete(ctx context.Context, key string) error
}

// Mover is a bucket that can give an object another key at once, whatever its size. What
// was at that key is replaced, and the object's time is that of the move. A power cut may
// undo it. The error wraps errors.ErrUnsupported where a bucket that is made of others finds
// that it cannot.
type Mover interface {
	Move(ctx context.Context, from, to string) error
}

// Aborter is a bucket that keeps what is left of writes that never ended. Abort removes
// those that began before a time, and says how many.
type Aborter interface {
	Abort(ctx context.Context, before time.Time) (int, error)
}

// Distant is a bucket that may be far away. Where it is, listing parts at the same time is
// worth the requests; where it is not, each list reads the same folder again.
type Distant interface{ Distant() bool }

// Info describes an object. Size is in bytes; Time is when it was last written, by the
// clock of whoever keeps it.
type Info struct {
	Key  string
	Size int64
	Time time.Time
}

// Range is how many bytes a Get of n bytes from off on gives.
func (i Info) Range(off, n int64) (int64, error) {
	if off < 0 || off > i.Size {
		return 0, fmt.Errorf("read %s: it has %d bytes, none at %d", i.Key, i.Size, off)
	}
	if n < 0 {
		return i.Size - off, nil
	}
	return min(n, i.Size-off), nil
}

// Content is what a Put stores: Size bytes whose SHA-256 is Digest. Open may be called
// again, and then starts over, so that a bucket can retry.
type Content struct {
	Digest Digest
	Size   int64
	Open   func() (io.ReadCloser, error)
}

// Blob is the name and the size in bytes of stored content.
type Blob struct {
	Digest Digest `json:"digest"`
	Size   int64  `json:"size"`
}

// Blob is the name that c is stored under.
func (c Content) Blob() Blob { return Blob{c.Digest, c.Size} }

// CopyTo writes c to w and ends early with ctx. It returns nil only where size and
// digest were right; else the error wraps ErrCorrupt, and w has taken bytes that must
// not be kept.
func (c Content) CopyTo(ctx context.Context, w io.Writer) error {
	r, err := c.Open()
	if err != nil {
		return fmt.Errorf("open content of %s: %w", c.Digest.Short(), err)
	}
	defer r.Close()
	h := sha256.New()
	// One byte more than promised shows content that is too long, however long it is.
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(NewReader(ctx, r), c.Size+1))
	switch {
	case err != nil:
		return fmt.Errorf("copy content of %s: %w", c.Digest.Short(), err)
	case n > c.Size:
		return fmt.Errorf("content of %s has more than its %d bytes: %w", c.Digest.Short(), c.Size, ErrCorrupt)
	case n < c.Size:
		return fmt.Errorf("content of %s has %d bytes, not %d: %w", c.Digest.Short(), n, c.Size, ErrCorrupt)
	}
	if got := Digest(h.Sum(nil)); got != c.Digest {
		return fmt.Errorf("content of %s hashes to %s: %w", c.Digest.Short(), got.Short(), ErrCorrupt)
	}
	return nil
}

// NewReader is r until ctx ends, and then answers ctx's error.
func NewReader(ctx context.Context, r io.Reader) io.Reader { return &ctxReader{ctx, r} }

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// Bytes is the Content b.
func Bytes(b []byte) Content {
	return Content{Sum(b), int64(len(b)), func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b)), nil
	}}
}

// FileContent is the Content of the file at path, which it reads once to hash it.
func FileContent(path string) (Content, error) {
	f, err := os.Open(path)
	if err != nil {
		return Content{}, err
	}
	defer f.Close()
	d, n, err := SumReader(f)
	if err != nil {
		return Content{}, fmt.Errorf("hash %s: %w", path, err)
	}
	return Content{d, n, func() (io.ReadCloser, error) { return os.Open(path) }}, nil
}

// keySegment is one part of a key: no empty part, no dot file, nothing that a file
// system or a URL would read as something else.
var keySegment = regexp.MustCompile(`^[a-z0-9_][a-z0-9._-]{0,127}$`)

// maxKeyLen is below S3's limit of 1024 bytes, which leaves room for an operator's prefix.
const maxKeyLen = 512

// CheckKey says what is wrong with key: keys are slash-separated parts of lower-case
// letters, digits, dots, dashes and underscores, none of which starts with a dot or a
// dash. The first part "tmp" is not for objects: a bucket may keep unfinished ones there.
func CheckKey(key string) error {
	if len(key) > maxKeyLen {
		return fmt.Errorf("key of %d bytes is longer than %d", len(key), maxKeyLen)
	}
	if key == "tmp" || strings.HasPrefix(key, "tmp/") {
		return fmt.Errorf("key %q: tmp is kept for unfinished objects", key)
	}
	for part := range strings.SplitSeq(key, "/") {
		if !keySegment.MatchString(part) {
			return fmt.Errorf("key %q: part %q is not allowed", key, part)
		}
	}
	return nil
}
