package s3

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"sync"

	"piimg/store"
)

// held is how many bytes at the end of a body are kept back until all of it has been seen
// to be right: a body that ends early is stored by no server.
const held = 64 << 10

// verified is the body of a request: the bytes of content, or an error before its end.
type verified struct {
	mu       sync.Mutex // the transport may still read when the answer is there
	r        io.Reader
	want     store.Content
	hash     hash.Hash
	n        int64  // read
	buf      []byte // read and not given: buf[from:to]
	from, to int
	done     bool  // all was read and is right
	err      error // what is wrong with the content; of ctx too
}

func newVerified(ctx context.Context, r io.Reader, c store.Content) *verified {
	return &verified{r: store.NewReader(ctx, r), want: c, hash: sha256.New(), buf: make([]byte, 4*held)}
}

func (v *verified) Read(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for !v.done && v.err == nil && v.to-v.from <= held {
		v.more()
	}
	if v.err != nil {
		return 0, v.err
	}
	end := v.to
	if !v.done {
		end -= held
	}
	if v.from == end {
		return 0, io.EOF
	}
	n := copy(p, v.buf[v.from:end])
	v.from += n
	return n, nil
}

// failed is what is wrong with the content, as far as it was read.
func (v *verified) failed() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}

// more reads another piece, and checks all of it at the end.
func (v *verified) more() {
	if len(v.buf)-v.to < held {
		v.to = copy(v.buf, v.buf[v.from:v.to])
		v.from = 0
	}
	n, err := io.ReadFull(v.r, v.buf[v.to:v.to+held])
	v.hash.Write(v.buf[v.to : v.to+n])
	v.to += n
	v.n += int64(n)
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		v.done = true
		v.err = v.check()
	case err != nil:
		v.err = fmt.Errorf("read content: %w", err)
	case v.n > v.want.Size:
		v.err = v.check()
	}
}

func (v *verified) check() error {
	d := store.Digest(v.hash.Sum(nil))
	switch {
	case v.n > v.want.Size:
		return fmt.Errorf("content of %s has more than its %d bytes: %w", v.want.Digest.Short(), v.want.Size, store.ErrCorrupt)
	case v.n < v.want.Size:
		return fmt.Errorf("content of %s has %d bytes, not %d: %w", v.want.Digest.Short(), v.n, v.want.Size, store.ErrCorrupt)
	case d != v.want.Digest:
		return fmt.Errorf("content of %s hashes to %s: %w", v.want.Digest.Short(), d.Short(), store.ErrCorrupt)
	}
	return nil
}
