package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
)

// Blobs keeps content under its own digest, at the path of the OCI image layout.
type Blobs struct{ bucket Bucket }

// NewBlobs returns the blobs of b.
func NewBlobs(b Bucket) Blobs { return Blobs{b} }

// BlobKey is the key of the object that holds the content named d.
func BlobKey(d Digest) string { return "blobs/sha256/" + d.Hex() }

// Put stores c and says whether any bytes had to be written: content that is there in
// its full size is left alone. A stored object of another size is damage, and is
// written anew. Damage that keeps the size is for [Blobs.Repair].
func (s Blobs) Put(ctx context.Context, c Content) (wrote bool, err error) {
	have, err := s.Has(ctx, c.Blob())
	if err != nil || have {
		return false, err
	}
	if err := s.write(ctx, c); err != nil {
		return false, err
	}
	return true, nil
}

// Verify reads the content named b and says what is wrong with it: the error wraps
// io/fs.ErrNotExist where it is missing and ErrCorrupt where its bytes are others.
func (s Blobs) Verify(ctx context.Context, b Blob) error {
	r, err := s.Open(ctx, b)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// Repair is a Put that trusts a stored object only after reading it: one whose bytes
// are wrong is written anew, even where its size is right. One that cannot be read at
// all is left alone, and the error says why.
func (s Blobs) Repair(ctx context.Context, c Content) (wrote bool, err error) {
	err = s.Verify(ctx, c.Blob())
	if err == nil {
		return false, nil
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrCorrupt) {
		return false, err
	}
	if err := s.write(ctx, c); err != nil {
		return false, err
	}
	return true, nil
}

func (s Blobs) write(ctx context.Context, c Content) error {
	if err := s.bucket.Put(ctx, BlobKey(c.Digest), c); err != nil {
		return fmt.Errorf("store %s: %w", c.Digest.Short(), err)
	}
	return nil
}

// Has says whether an object of b's name and size is stored. It does not read it.
func (s Blobs) Has(ctx context.Context, b Blob) (bool, error) {
	info, err := s.bucket.Stat(ctx, BlobKey(b.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", b.Digest.Short(), err)
	}
	return info.Size == b.Size, nil
}

// lookups is how many objects are asked for at a time.
const lookups = 8

// Missing are those of blobs that are not stored in their full size, in the same order.
func (s Blobs) Missing(ctx context.Context, blobs []Blob) ([]Blob, error) {
	have := make([]bool, len(blobs))
	places := make([]int, len(blobs))
	for n := range places {
		places[n] = n
	}
	err := Each(ctx, lookups, places, func(ctx context.Context, n int) (err error) {
		have[n], err = s.Has(ctx, blobs[n])
		return err
	})
	if err != nil {
		return nil, err
	}
	var missing []Blob
	for n, b := range blobs {
		if !have[n] {
			missing = append(missing, b)
		}
	}
	return missing, nil
}

// Open reads the content named b from its start. The reader answers io.EOF only after
// all bytes have come and match; bytes that do not end in an error that wraps
// ErrCorrupt, so that who reads to io.EOF has read the right ones.
func (s Blobs) Open(ctx context.Context, b Blob) (io.ReadCloser, error) {
	r, err := s.bucket.Get(ctx, BlobKey(b.Digest), 0, -1)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", b.Digest.Short(), err)
	}
	return &verifier{r: r, want: b, hash: sha256.New()}, nil
}

// Read returns the whole content named b, which may have up to limit bytes.
func (s Blobs) Read(ctx context.Context, b Blob, limit int64) ([]byte, error) {
	if b.Size > limit {
		return nil, fmt.Errorf("read %s: %d bytes are more than the %d allowed here: %w", b.Digest.Short(), b.Size, limit, ErrCorrupt)
	}
	r, err := s.Open(ctx, b)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// Find is the stored size of the content named d, and io/fs.ErrNotExist where there is none.
func (s Blobs) Find(ctx context.Context, d Digest) (Blob, error) {
	info, err := s.bucket.Stat(ctx, BlobKey(d))
	if err != nil {
		return Blob{}, fmt.Errorf("look for %s: %w", d.Short(), err)
	}
	return Blob{d, info.Size}, nil
}

// verifier passes bytes through and checks size and digest before it lets io.EOF out.
type verifier struct {
	r    io.ReadCloser
	want Blob
	hash hash.Hash
	n    int64
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.n += int64(n)
	v.hash.Write(p[:n])
	if v.n > v.want.Size {
		return 0, fmt.Errorf("read %s: more than its %d bytes: %w", v.want.Digest.Short(), v.want.Size, ErrCorrupt)
	}
	if err != io.EOF {
		return n, err
	}
	if v.n != v.want.Size {
		return n, fmt.Errorf("read %s: %d of %d bytes: %w", v.want.Digest.Short(), v.n, v.want.Size, ErrCorrupt)
	}
	if got := Digest(v.hash.Sum(nil)); got != v.want.Digest {
		return n, fmt.Errorf("read %s: the bytes hash to %s: %w", v.want.Digest.Short(), got.Short(), ErrCorrupt)
	}
	return n, io.EOF
}

func (v *verifier) Close() error { return v.r.Close() }
