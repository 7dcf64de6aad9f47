package s3

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/minio/minio-go/v7"

	"piimg/store"
)

// List yields objects in order. What others keep under the prefix, with names that are no
// keys, is left out.
func (b *Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		if !startsKeys(prefix) {
			return // and some servers refuse to be asked for it
		}
		l := &lister{bucket: b, prefix: b.prefix + prefix, after: after, yield: yield}
		if err := b.policy.do(ctx, func() error { return l.list(ctx) }); err != nil && !l.stopped {
			yield(store.Info{}, fmt.Errorf("list %q: %w", prefix, because(ctx, err)))
		}
	}
}

// startsKeys says whether there can be keys that start with prefix.
func startsKeys(prefix string) bool {
	return prefix == "" || prefix == "tmp" || store.CheckKey(strings.TrimSuffix(prefix, "/")) == nil
}

// sendable is after as far as a server takes it, which may refuse "..", as in a path. What is
// listed too many is left out afterwards.
func sendable(after string) string {
	for after != "" && store.CheckKey(strings.TrimSuffix(after, "/")) != nil {
		after = after[:strings.LastIndexByte(strings.TrimSuffix(after, "/"), '/')+1]
	}
	return after
}

// lister goes on where it was when a page of the list fails.
type lister struct {
	bucket  *Bucket
	prefix  string
	after   string // the last key
	yield   func(store.Info, error) bool
	stopped bool
}

func (l *lister) list(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx) // what has been asked for and nobody wants
	defer cancel()
	o := minio.ListObjectsOptions{Prefix: l.prefix, Recursive: true}
	if after := sendable(l.after); after != "" {
		o.StartAfter = l.bucket.prefix + after
	}
	for i := range l.bucket.core.ListObjectsIter(ctx, l.bucket.bucket, o) {
		if i.Err != nil {
			return i.Err
		}
		key, ok := strings.CutPrefix(i.Key, l.bucket.prefix)
		if !ok || key <= l.after || store.CheckKey(key) != nil {
			continue
		}
		l.after = key
		if !l.yield(store.Info{Key: key, Size: i.Size, Time: i.LastModified}, nil) {
			l.stopped = true
			return nil
		}
	}
	return ctx.Err()
}
