// Package mem is a bucket in memory, for tests. It keeps every promise of a bucket but
// the one that objects survive a crash, so no location names one.
package mem

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"piimg/store"
)

// Bucket keeps objects in memory. It is safe for concurrent use.
type Bucket struct {
	mu      sync.RWMutex
	objects map[string]object
	now     func() time.Time
}

var _ store.Bucket = (*Bucket)(nil)

// object is never changed, only replaced, so that readers need no lock.
type object struct {
	data []byte
	time time.Time
}

// New returns an empty bucket.
func New() *Bucket { return &Bucket{objects: map[string]object{}, now: time.Now} }

// Put stores c under key.
func (b *Bucket) Put(ctx context.Context, key string, c store.Content) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	var buf bytes.Buffer
	if err := c.CopyTo(ctx, &buf); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objects[key] = object{buf.Bytes(), b.now()}
	return nil
}

// Create stores doc under key if no object is there.
func (b *Bucket) Create(ctx context.Context, key string, doc []byte) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if o, ok := b.objects[key]; !ok {
		b.objects[key] = object{bytes.Clone(doc), b.now()}
	} else if !bytes.Equal(o.data, doc) {
		return fmt.Errorf("create %s: another object is there: %w", key, store.ErrConflict)
	}
	return nil
}

// Get reads n bytes of an object from off on.
func (b *Bucket) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	o, err := b.find(ctx, "get", key)
	if err != nil {
		return nil, err
	}
	n, err = info(key, o).Range(off, n)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(store.NewReader(ctx, bytes.NewReader(o.data[off:off+n]))), nil
}

// Stat describes an object.
func (b *Bucket) Stat(ctx context.Context, key string) (store.Info, error) {
	o, err := b.find(ctx, "stat", key)
	if err != nil {
		return store.Info{}, err
	}
	return info(key, o), nil
}

// List yields what was there when it started.
func (b *Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for _, i := range b.snapshot(prefix, after) {
			if err := ctx.Err(); err != nil {
				yield(store.Info{}, err)
				return
			}
			if !yield(i, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(store.Info{}, err)
		}
	}
}

func (b *Bucket) snapshot(prefix, after string) []store.Info {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var all []store.Info
	for key, o := range b.objects {
		if strings.HasPrefix(key, prefix) && key > after {
			all = append(all, info(key, o))
		}
	}
	slices.SortFunc(all, func(a, b store.Info) int { return cmp.Compare(a.Key, b.Key) })
	return all
}

// Delete removes an object.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.objects, key)
	return nil
}

// SetTime makes the object at key one that was written at t, for tests of what comes of age.
func (b *Bucket) SetTime(key string, t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o, ok := b.objects[key]; ok {
		b.objects[key] = object{o.data, t}
	}
}

func (b *Bucket) find(ctx context.Context, op, key string) (object, error) {
	if err := check(ctx, key); err != nil {
		return object{}, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	o, ok := b.objects[key]
	if !ok {
		return object{}, &fs.PathError{Op: op, Path: key, Err: fs.ErrNotExist}
	}
	return o, nil
}

func info(key string, o object) store.Info {
	return store.Info{Key: key, Size: int64(len(o.data)), Time: o.time}
}

func check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return store.CheckKey(key)
}
