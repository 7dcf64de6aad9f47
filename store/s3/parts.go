package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"piimg/store"
)

const (
	// partSize is what is held in memory of an upload, and what is sent again after a
	// failure. Content up to it goes as a whole.
	partSize = 16 << 20
	maxParts = 10_000 // of S3
)

// errUnfinished may pass.
var errUnfinished = fmt.Errorf("the server says that the upload is complete, and does not have it: %w", io.ErrUnexpectedEOF)

// putParts sends c in parts. An upload that was interrupted goes on where it was: parts
// that the server has with the right size and checksum are not sent again.
func (b *Bucket) putParts(ctx context.Context, key string, c store.Content) error {
	u, err := b.upload(ctx, key, c)
	if err != nil {
		return err
	}
	err = u.send(ctx)
	if u.corrupt {
		_ = b.abort(context.WithoutCancel(ctx), key, u.id) // it can only be completed wrongly
	}
	return err
}

// upload is a multipart upload under way.
type upload struct {
	*Bucket
	key     string
	content store.Content
	size    int64 // of a part
	id      string
	have    map[int]minio.ObjectPart // that the server has from before
	done    []minio.CompletePart
	corrupt bool // the content is not what it was said to be
}

// upload begins one, or finds the one that was begun for this key.
func (b *Bucket) upload(ctx context.Context, key string, c store.Content) (*upload, error) {
	u := &upload{Bucket: b, key: key, content: c, size: b.part, have: map[int]minio.ObjectPart{}}
	if least := (c.Size + maxParts - 1) / maxParts; u.size < least {
		u.size = (least + 1<<20 - 1) &^ (1<<20 - 1)
	}
	err := b.policy.do(ctx, func() error { return u.resume(ctx) })
	if err != nil || u.id != "" {
		return u, err
	}
	return u, b.policy.do(ctx, func() (err error) {
		u.id, err = b.core.NewMultipartUpload(ctx, b.bucket, b.name(key), minio.PutObjectOptions{})
		return err
	})
}

// resume looks for an upload of blobs, whose key says what they are. A server that cannot
// list them has none.
func (u *upload) resume(ctx context.Context) error {
	if !strings.HasPrefix(u.key, "blobs/") {
		return nil
	}
	name := u.name(u.key)
	found, err := u.core.ListMultipartUploads(ctx, u.bucket, name, "", "", "", 100)
	if err != nil {
		if passes(err) {
			return err
		}
		return nil
	}
	for _, f := range found.Uploads {
		if f.Key == name {
			u.id = f.UploadID
		}
	}
	if u.id == "" {
		return nil
	}
	return u.listParts(ctx)
}

func (u *upload) listParts(ctx context.Context) error {
	for marker := 0; ; {
		l, err := u.core.ListObjectParts(ctx, u.bucket, u.name(u.key), u.id, marker, 1000)
		if gone(err) { // somebody has completed or aborted it
			u.id = ""
			clear(u.have)
			return nil
		}
		if err != nil {
			return err
		}
		for _, p := range l.ObjectParts {
			u.have[p.PartNumber] = p
		}
		if !l.IsTruncated || l.NextPartNumberMarker <= marker {
			return nil
		}
		marker = l.NextPartNumberMarker
	}
}

func gone(err error) bool { return response(err).Code == "NoSuchUpload" }

// send sends what is missing, and completes the upload once all of it was seen to be right.
func (u *upload) send(ctx context.Context) error {
	r, err := u.content.Open()
	if err != nil {
		return fmt.Errorf("open content: %w", err)
	}
	defer r.Close()
	in, all := store.NewReader(ctx, r), sha256.New()
	buf := make([]byte, u.size)
	var read int64
	for n := 1; read < u.content.Size; n++ {
		part := buf[:min(u.size, u.content.Size-read)]
		k, err := io.ReadFull(in, part)
		read += int64(k)
		all.Write(part[:k])
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return u.wrong("has %d bytes, not %d", read, u.content.Size)
		}
		if err != nil {
			return fmt.Errorf("read content: %w", err)
		}
		if err := u.part(ctx, n, part); err != nil {
			return err
		}
	}
	if n, err := io.ReadFull(in, buf[:1]); n > 0 {
		return u.wrong("has more than its %d bytes", u.content.Size)
	} else if err != io.EOF {
		return fmt.Errorf("read content: %w", err)
	}
	return u.finish(ctx, all)
}

func (u *upload) wrong(format string, args ...any) error {
	u.corrupt = true
	return fmt.Errorf("content of %s %s: %w", u.content.Digest.Short(), fmt.Sprintf(format, args...), store.ErrCorrupt)
}

// part sends one part, unless the server has it.
func (u *upload) part(ctx context.Context, n int, p []byte) error {
	md5sum := md5.Sum(p) // what ETags of parts are
	if have, ok := u.have[n]; ok && have.Size == int64(len(p)) && strings.Trim(have.ETag, `"`) == hex.EncodeToString(md5sum[:]) {
		u.done = append(u.done, minio.CompletePart{PartNumber: n, ETag: have.ETag})
		return nil
	}
	sum := sha256.Sum256(p)
	o := minio.PutObjectPartOptions{Sha256Hex: hex.EncodeToString(sum[:]), DisableContentSha256: true}
	return u.policy.do(ctx, func() error {
		sent, err := u.core.PutObjectPart(ctx, u.bucket, u.name(u.key), u.id, n, bytes.NewReader(p), int64(len(p)), o)
		if err == nil {
			u.done = append(u.done, minio.CompletePart{PartNumber: n, ETag: sent.ETag})
		}
		return u.unlessThere(ctx, err)
	})
}

// finish completes the upload, over which a server may need a minute for every few gigabytes.
// An answer may be lost: then the object is there. And a server that still puts it together
// may say that all is done (versitygw 1.8): only the object shows that it is.
func (u *upload) finish(ctx context.Context, all hash.Hash) error {
	if got := store.Digest(all.Sum(nil)); got != u.content.Digest {
		return u.wrong("hashes to %s", got.Short())
	}
	return u.policy.do(ctx, func() error {
		_, err := u.patient.CompleteMultipartUpload(ctx, u.bucket, u.name(u.key), u.id, u.done, minio.PutObjectOptions{})
		if err := u.unlessThere(ctx, err); err != nil {
			return err
		}
		i, err := u.Stat(ctx, u.key)
		if isAbsent(err) || err == nil && i.Size != u.content.Size {
			return errUnfinished
		}
		return err
	})
}

// unlessThere is err, or nil where the upload is gone because it was completed, by a
// request whose answer was lost or by somebody else who uploads the same.
func (u *upload) unlessThere(ctx context.Context, err error) error {
	if !gone(err) {
		return err
	}
	if i, serr := u.Stat(ctx, u.key); serr == nil && i.Size == u.content.Size {
		return nil
	}
	return permanent{fmt.Errorf("the upload was aborted by somebody else: %w", err)}
}

func (b *Bucket) abort(ctx context.Context, key, id string) error {
	return b.core.AbortMultipartUpload(ctx, b.bucket, b.name(key), id)
}

// Abort ends uploads that began before a time and were never completed, which nobody sees
// and everybody pays for, and says how many.
func (b *Bucket) Abort(ctx context.Context, before time.Time) (int, error) {
	n, key, id := 0, "", ""
	for {
		l, err := b.core.ListMultipartUploads(ctx, b.bucket, b.prefix, key, id, "", 1000)
		if err != nil {
			return n, fmt.Errorf("list unfinished uploads: %w", because(ctx, err))
		}
		for _, u := range l.Uploads {
			if !u.Initiated.Before(before) || !strings.HasPrefix(u.Key, b.prefix) {
				continue
			}
			if err := b.core.AbortMultipartUpload(ctx, b.bucket, u.Key, u.UploadID); err != nil && !gone(err) {
				return n, fmt.Errorf("abort the upload of %s: %w", u.Key, because(ctx, err))
			}
			n++
		}
		if !l.IsTruncated || l.NextKeyMarker == key && l.NextUploadIDMarker == id {
			return n, nil
		}
		key, id = l.NextKeyMarker, l.NextUploadIDMarker
	}
}
