package s3

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/minio/minio-go/v7"

	"piimg/store"
)

// Get reads a range. A body that breaks off is asked for again from there on, of the same
// version of the object.
func (b *Bucket) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := store.CheckKey(key); err != nil {
		return nil, err
	}
	g := &getter{bucket: b, ctx: ctx, key: key, off: off, left: n}
	var err error
	if off != 0 || n >= 0 {
		var i store.Info // what a server answers to a range without bytes differs
		if i, err = b.Stat(ctx, key); err != nil {
			return nil, err
		}
		if g.left, err = i.Range(off, n); err != nil {
			return nil, err
		}
		if g.left == 0 {
			return http.NoBody, nil
		}
	}
	if err := b.policy.do(ctx, g.open); err != nil {
		return nil, fmt.Errorf("get %s: %w", key, because(ctx, err))
	}
	return g, nil
}

// getter reads what is left of an object.
type getter struct {
	bucket *Bucket
	ctx    context.Context
	key    string
	off    int64
	left   int64  // -1 for all, until the first answer
	etag   string // of the first answer
	body   io.ReadCloser
}

// open asks for what is left.
func (g *getter) open() error {
	o := minio.GetObjectOptions{}
	if g.off > 0 || g.left >= 0 {
		o.Set("Range", fmt.Sprintf("bytes=%d-%d", g.off, g.off+g.left-1))
	}
	if g.etag != "" {
		if err := o.SetMatchETag(g.etag); err != nil {
			return err
		}
	}
	body, info, _, err := g.bucket.core.GetObject(g.ctx, g.bucket.bucket, g.bucket.name(g.key), o)
	if err != nil {
		return err
	}
	if g.left < 0 {
		g.left = info.Size
	}
	g.etag, g.body = info.ETag, body
	return nil
}

func (g *getter) Read(p []byte) (int, error) {
	if g.left == 0 {
		return 0, io.EOF
	}
	var n int
	err := g.bucket.policy.do(g.ctx, func() error {
		if g.body == nil {
			if err := g.open(); err != nil {
				return err
			}
		}
		var err error
		n, err = g.body.Read(p[:min(int64(len(p)), g.left)])
		if n > 0 || err == nil {
			return nil
		}
		_ = g.body.Close()
		if g.body = nil; err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	})
	g.off += int64(n)
	g.left -= int64(n)
	if err != nil {
		return n, fmt.Errorf("get %s, byte %d: %w", g.key, g.off, because(g.ctx, err))
	}
	return n, nil
}

func (g *getter) Close() error {
	if g.body == nil {
		return nil
	}
	return g.body.Close()
}
