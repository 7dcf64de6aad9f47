// Package split puts the logs of a store and what coordinates its users, which need a bucket
// that lets one writer win, into another bucket than the content, which does not.
package split

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"piimg/store"
)

// Bucket is two buckets that look like one. It is as safe for concurrent use as they are.
type Bucket struct{ content, logs store.Bucket }

var (
	_ store.Bucket  = Bucket{}
	_ store.Mover   = Bucket{}
	_ store.Aborter = Bucket{}
	_ store.Distant = Bucket{}
)

// New returns content with the environments and boards of logs.
func New(content, logs store.Bucket) Bucket { return Bucket{content, logs} }

// Logs is where the logs are.
func (b Bucket) Logs() store.Bucket { return b.logs }

// prefixes are of the keys in the bucket for logs.
var prefixes = []string{"boards/", "envs/", "gc/", "inuse/", "leases/", "pins/", "proposals/", "yanked/"}

func (b Bucket) of(key string) store.Bucket {
	for _, p := range prefixes {
		if strings.HasPrefix(key, p) {
			return b.logs
		}
	}
	return b.content
}

// Put is that of the bucket that key belongs to, as are all methods but List.
func (b Bucket) Put(ctx context.Context, key string, c store.Content) error {
	return b.of(key).Put(ctx, key, c)
}

// Create is the conditional one.
func (b Bucket) Create(ctx context.Context, key string, doc []byte) error {
	return b.of(key).Create(ctx, key, doc)
}

// Get reads a range.
func (b Bucket) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	return b.of(key).Get(ctx, key, off, n)
}

// Stat describes one object.
func (b Bucket) Stat(ctx context.Context, key string) (store.Info, error) {
	return b.of(key).Stat(ctx, key)
}

// Delete removes one object.
func (b Bucket) Delete(ctx context.Context, key string) error { return b.of(key).Delete(ctx, key) }

// Move moves within one of the buckets, if that one can.
func (b Bucket) Move(ctx context.Context, from, to string) error {
	m, ok := b.of(from).(store.Mover)
	if !ok || b.of(from) != b.of(to) {
		return fmt.Errorf("move %s: %w", from, errors.ErrUnsupported)
	}
	return m.Move(ctx, from, to)
}

// Abort removes what is left of writes in both.
func (b Bucket) Abort(ctx context.Context, before time.Time) (n int, err error) {
	for _, part := range []store.Bucket{b.content, b.logs} {
		a, ok := part.(store.Aborter)
		if !ok {
			continue
		}
		done, err := a.Abort(ctx, before)
		if n += done; err != nil {
			return n, err
		}
	}
	return n, nil
}

// Distant says whether the content is far away.
func (b Bucket) Distant() bool {
	d, ok := b.content.(store.Distant)
	return ok && d.Distant()
}

// List merges the two in the order of their keys. Keys that belong to the other bucket are
// left out.
func (b Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	if owner := b.of(prefix); strings.Contains(prefix, "/") {
		return owner.List(ctx, prefix, after)
	}
	return func(yield func(store.Info, error) bool) {
		next, stop := iter.Pull2(b.logs.List(ctx, prefix, after))
		defer stop()
		log, err, more := b.pull(next, b.logs)
		for info, cerr := range b.content.List(ctx, prefix, after) {
			for cerr == nil && more && err == nil && log.Key < info.Key {
				if !yield(log, nil) {
					return
				}
				log, err, more = b.pull(next, b.logs)
			}
			if cerr != nil || more && err != nil {
				yield(store.Info{}, firstOf(cerr, err))
				return
			}
			if b.of(info.Key) == b.content && !yield(info, nil) {
				return
			}
		}
		for ; more; log, err, more = b.pull(next, b.logs) {
			if !yield(log, err) || err != nil {
				return
			}
		}
	}
}

// pull is the next object that belongs to owner.
func (b Bucket) pull(next func() (store.Info, error, bool), owner store.Bucket) (store.Info, error, bool) {
	for {
		info, err, more := next()
		if !more || err != nil || b.of(info.Key) == owner {
			return info, err, more
		}
	}
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
