// Package s3 keeps a bucket in an S3-compatible server, by minio-go.
//
// What it relies on of the server: a PUT is seen as a whole or not at all, what was written
// is read and listed at once, and PUT with If-None-Match: * succeeds for exactly one of
// several racing writers. Servers that promise that and do not keep it exist; package
// probe tells. What it does not rely on: ETags, conditional multipart uploads
// (not conditional on any server tried), and trailing checksums (versitygw refuses them).
package s3

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"

	"piimg/store"
)

// Bucket is a prefix of a bucket on a server. It is safe for concurrent use. Requests that
// fail for reasons that may pass are repeated, with pauses; bodies that stand still for
// longer than [Config].Idle are given up.
type Bucket struct {
	core    minio.Core
	patient minio.Core // for requests over which a server may brood in silence
	bucket  string
	prefix  string // "" or with a slash at its end
	policy  retry
	part    int64 // bytes of a part of a multipart upload
}

var (
	_ store.Bucket  = (*Bucket)(nil)
	_ store.Aborter = (*Bucket)(nil)
	_ store.Distant = (*Bucket)(nil)
)

// patience is how much longer than others a request may stand still that has a server put
// gigabytes together.
const patience = 20

// Open returns the bucket of c. It does not talk to the server.
func Open(c Config) (*Bucket, error) {
	core, err := c.client(c.idle())
	if err != nil {
		return nil, err
	}
	patient, err := c.client(patience * c.idle())
	if err != nil {
		return nil, err
	}
	b := &Bucket{core: *core, patient: *patient, bucket: c.Bucket, part: partSize, policy: c.Retry.orDefault()}
	if c.Prefix != "" {
		b.prefix = c.Prefix + "/"
	}
	return b, nil
}

// client is a client whose connections may stand still for as long as idle.
func (c Config) client(idle time.Duration) (*minio.Core, error) {
	creds, err := c.credentials()
	if err != nil {
		return nil, err
	}
	transport, err := c.transport(idle)
	if err != nil {
		return nil, err
	}
	core, err := minio.NewCore(c.Endpoint.Host, &minio.Options{
		Creds: creds, Secure: c.Endpoint.Scheme == "https", Region: c.Region, Transport: transport,
		BucketLookup: c.lookup(),
		MaxRetries:   1, // this package knows better what may be repeated, and how
	})
	if err != nil {
		return nil, err
	}
	core.SetAppInfo("piimg", "1")
	return core, nil
}

// Distant is what a server is taken for.
func (b *Bucket) Distant() bool { return true }

func (b *Bucket) name(key string) string { return b.prefix + key }

// Put stores small content in one request, and large content in parts.
func (b *Bucket) Put(ctx context.Context, key string, c store.Content) error {
	if err := store.CheckKey(key); err != nil {
		return err
	}
	if c.Size < 0 {
		return fmt.Errorf("put %s: a size of %d bytes: %w", key, c.Size, store.ErrCorrupt)
	}
	put := b.putWhole
	if c.Size > b.part {
		put = b.putParts
	}
	if err := put(ctx, key, c); err != nil {
		return fmt.Errorf("put %s: %w", key, because(ctx, err))
	}
	return nil
}

// putWhole sends c in one request, whose signature covers c's digest: a server that is
// given other bytes refuses them.
func (b *Bucket) putWhole(ctx context.Context, key string, c store.Content) error {
	return b.policy.do(ctx, func() error {
		r, err := c.Open()
		if err != nil {
			return permanent{fmt.Errorf("open content: %w", err)}
		}
		defer r.Close()
		body := newVerified(ctx, r, c)
		if c.Size == 0 { // nothing is read of an empty body
			if _, err := body.Read(make([]byte, 1)); err != io.EOF {
				return permanent{err}
			}
		}
		_, err = b.core.PutObject(ctx, b.bucket, b.name(key), body, c.Size, "", c.Digest.Hex(), b.options(c.Digest))
		if wrong := body.failed(); wrong != nil {
			return permanent{wrong}
		}
		return err
	})
}

// options are those of a single PUT. The checksum is stored with the object.
func (b *Bucket) options(d store.Digest) minio.PutObjectOptions {
	return minio.PutObjectOptions{
		DisableMultipart:     true,
		DisableContentSha256: true, // no signature of each chunk: that of all of it is there
		UserMetadata:         map[string]string{"X-Amz-Checksum-Sha256": base64.StdEncoding.EncodeToString(d[:])},
	}
}

// Create stores doc where nothing is. Whatever the answer to the request, what is there
// afterwards decides: an answer may be lost and the request succeed, and a client or a
// proxy may repeat a request that has succeeded.
func (b *Bucket) Create(ctx context.Context, key string, doc []byte) error {
	if err := store.CheckKey(key); err != nil {
		return err
	}
	err := b.policy.do(ctx, func() error {
		created := b.create(ctx, key, doc)
		if created == nil {
			return nil
		}
		if err := conditional(created); err != nil {
			return err
		}
		r, err := b.Get(ctx, key, 0, -1)
		if err != nil {
			if isAbsent(err) {
				return created // to be repeated
			}
			return err
		}
		defer r.Close()
		return same(r, doc, created)
	})
	if err != nil {
		return fmt.Errorf("create %s: %w", key, because(ctx, err))
	}
	return nil
}

func (b *Bucket) create(ctx context.Context, key string, doc []byte) error {
	c := store.Bytes(doc)
	r, err := c.Open()
	if err != nil {
		return err
	}
	o := b.options(c.Digest)
	o.SetMatchETagExcept("*")
	_, err = b.core.PutObject(ctx, b.bucket, b.name(key), r, c.Size, "", c.Digest.Hex(), o)
	return err
}

// same compares what is there with doc.
func same(r io.Reader, doc []byte, created error) error {
	have, err := io.ReadAll(io.LimitReader(r, int64(len(doc))+1))
	if err != nil {
		return err
	}
	if string(have) == string(doc) {
		return nil
	}
	return permanent{fmt.Errorf("%w (%w)", store.ErrConflict, created)}
}

// conditional says what is wrong with a server that knows no conditional PUT, or refuses
// the writer.
func conditional(err error) error {
	e := response(err)
	switch {
	case e.StatusCode == http.StatusPreconditionFailed || e.StatusCode == http.StatusConflict || passes(err):
		return nil
	case e.StatusCode == http.StatusNotImplemented:
		return permanent{fmt.Errorf("the server has no conditional PUT, on which logs rest: %w", err)}
	}
	return permanent{err}
}

// Stat describes one object.
func (b *Bucket) Stat(ctx context.Context, key string) (store.Info, error) {
	if err := store.CheckKey(key); err != nil {
		return store.Info{}, err
	}
	var i minio.ObjectInfo
	err := b.policy.do(ctx, func() (err error) {
		i, err = b.core.StatObject(ctx, b.bucket, b.name(key), minio.StatObjectOptions{})
		return err
	})
	if err != nil {
		return store.Info{}, fmt.Errorf("stat %s: %w", key, because(ctx, err))
	}
	return store.Info{Key: key, Size: i.Size, Time: i.LastModified}, nil
}

// Delete removes one object.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	if err := store.CheckKey(key); err != nil {
		return err
	}
	err := b.policy.do(ctx, func() error {
		return b.core.RemoveObject(ctx, b.bucket, b.name(key), minio.RemoveObjectOptions{})
	})
	if err != nil && !isAbsent(because(ctx, err)) {
		return fmt.Errorf("delete %s: %w", key, because(ctx, err))
	}
	return nil
}
