package gc_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/disk"
	"piimg/store/env"
	"piimg/store/gc"
	"piimg/store/mem"
)

const day = 24 * time.Hour

// clock is the time of the world and of its store.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

// timed is a bucket whose objects were written by the clock of the test.
type timed struct {
	store.Bucket
	clock *clock
	stamp func(key string, t time.Time) error

	mu     sync.Mutex
	writes []string
	before func(op, key string) error // called before each operation; may be nil
	hidden string                     // a key that lists do not show
}

func (b *timed) wrote(op, key string, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writes = append(b.writes, op+" "+key)
	if err == nil {
		err = b.stamp(key, b.clock.now())
	}
	return err
}

func (b *timed) ask(op, key string) error {
	b.mu.Lock()
	before := b.before
	b.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(op, key)
}

// intercept has f called before each operation from now on.
func (b *timed) intercept(f func(op, key string) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.before = f
}

func (b *timed) Put(ctx context.Context, key string, c store.Content) error {
	if err := b.ask("put", key); err != nil {
		return err
	}
	return b.wrote("put", key, b.Bucket.Put(ctx, key, c))
}

func (b *timed) Create(ctx context.Context, key string, doc []byte) error {
	if err := b.ask("create", key); err != nil {
		return err
	}
	return b.wrote("create", key, b.Bucket.Create(ctx, key, doc))
}

func (b *timed) Delete(ctx context.Context, key string) error {
	if err := b.ask("delete", key); err != nil {
		return err
	}
	b.mu.Lock()
	b.writes = append(b.writes, "delete "+key)
	b.mu.Unlock()
	return b.Bucket.Delete(ctx, key)
}

func (b *timed) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := b.ask("get", key); err != nil {
		return nil, err
	}
	return b.Bucket.Get(ctx, key, off, n)
}

func (b *timed) Stat(ctx context.Context, key string) (store.Info, error) {
	if err := b.ask("stat", key); err != nil {
		return store.Info{}, err
	}
	return b.Bucket.Stat(ctx, key)
}

func (b *timed) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		if err := b.ask("list", prefix); err != nil {
			yield(store.Info{}, err)
			return
		}
		for info, err := range b.Bucket.List(ctx, prefix, after) {
			if (err != nil || info.Key != b.hidden) && !yield(info, err) {
				return
			}
		}
	}
}

// shelf is a timed bucket that can move.
type shelf struct{ *timed }

func (b shelf) Move(ctx context.Context, from, to string) error {
	if err := b.ask("move", from); err != nil {
		return err
	}
	return b.wrote("move", to, b.Bucket.(store.Mover).Move(ctx, from, to))
}

// world is a store with a clock.
type world struct {
	t      *testing.T
	store  *store.Store
	bucket *timed
	clock  *clock
}

// kinds are the buckets that a world may have.
var kinds = []string{"mem", "disk", "distant"}

// far is a timed bucket that says that it is far away.
type far struct{ *timed }

func (far) Distant() bool { return true }

func newWorld(t *testing.T, kind string) *world {
	t.Helper()
	c := &clock{t: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	b := &timed{clock: c}
	var top store.Bucket = b
	if kind == "disk" {
		dir := t.TempDir()
		d, err := disk.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		b.Bucket, top = d, shelf{b}
		b.stamp = func(key string, at time.Time) error { return os.Chtimes(filepath.Join(dir, key), at, at) }
	} else {
		m := mem.New()
		b.Bucket = m
		b.stamp = func(key string, at time.Time) error { m.SetTime(key, at); return nil }
		if kind == "distant" {
			top = far{b}
		}
	}
	s, err := store.Init(t.Context(), top)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t, s, b, c}
}

func (w *world) pass(d time.Duration) {
	w.clock.mu.Lock()
	defer w.clock.mu.Unlock()
	w.clock.t = w.clock.t.Add(d)
}

func (w *world) put(text string) store.Blob {
	w.t.Helper()
	c := store.Bytes([]byte(text))
	if _, err := w.store.Blobs().Put(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
	return c.Blob()
}

// image is an image with a kernel of its own and a config that all share.
func (w *world) image(kernel string) store.Image {
	return store.Image{
		Name: "test", Config: w.put("{}"),
		Files: []store.File{store.NewFile("kernel8.img", 0o644, w.put("kernel "+kernel))},
	}
}

func (w *world) publish(kernel string) store.Digest {
	w.t.Helper()
	l := w.store.NewLease(store.LeaseOptions{Holder: "ci", Now: w.clock.now})
	defer l.Release(w.t.Context())
	d, err := l.PutImage(w.t.Context(), w.image(kernel), store.Record{Name: "test", Actor: "ci"})
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) promote(name string, d store.Digest) {
	w.t.Helper()
	if _, err := env.Promote(w.t.Context(), w.store, env.PromoteOptions{Env: name, Image: d, Actor: "ci", Now: w.clock.now}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) options() gc.Options {
	return gc.Options{Delete: true, Owner: "alice@test", Now: w.clock.now}
}

func (w *world) collect(o gc.Options) gc.Report {
	w.t.Helper()
	r, err := gc.Run(w.t.Context(), w.store, o)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// twice collects, and again when what the first run condemned is due.
func (w *world) twice(o gc.Options) gc.Report {
	w.t.Helper()
	w.collect(o)
	w.pass(25 * time.Hour)
	return w.collect(o)
}

// has says whether a blob of the text is there.
func (w *world) has(text string) bool {
	w.t.Helper()
	have, err := w.store.Blobs().Has(w.t.Context(), store.Bytes([]byte(text)).Blob())
	if err != nil {
		w.t.Fatal(err)
	}
	return have
}

// kernels are the letters whose kernels are there.
func (w *world) kernels(letters string) string {
	w.t.Helper()
	var have []string
	for _, l := range letters {
		if w.has("kernel " + string(l)) {
			have = append(have, string(l))
		}
	}
	return strings.Join(have, "")
}

func (w *world) keys(prefix string) []string {
	w.t.Helper()
	return keys(w.t, w.store.Bucket(), prefix)
}

func keys(t *testing.T, b store.Bucket, prefix string) []string {
	t.Helper()
	var all []string
	for info, err := range b.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info.Key)
	}
	return all
}

// whole checks that every environment's head, and its history so far back, is complete (I3),
// that each blob is what its name says (I1), and that each log is a chain (I2).
func whole(t *testing.T, s *store.Store) {
	t.Helper()
	for _, key := range keys(t, s.Bucket(), "blobs/") {
		d, err := store.ParseHex(key[len(key)-64:])
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Blobs().Find(t.Context(), d)
		if err == nil {
			err = s.Blobs().Verify(t.Context(), b)
		}
		if err != nil {
			t.Errorf("I1: %v", err)
		}
	}
	names, err := env.List(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		history, err := env.History(t.Context(), s, name)
		if err != nil {
			t.Errorf("I2: %v", err)
			continue
		}
		slices.Reverse(history)
		checked := map[store.Digest]bool{}
		for _, e := range history {
			if checked[e.Image] || len(checked) >= 3 {
				continue
			}
			checked[e.Image] = true
			i, err := s.Image(t.Context(), e.Image)
			if err == nil {
				err = s.Complete(t.Context(), i)
			}
			if err != nil {
				t.Errorf("I3: step %d of %s: %v", e.Seq, name, err)
			}
		}
	}
}

func each(t *testing.T, run func(t *testing.T, w *world)) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) { run(t, newWorld(t, kind)) })
	}
}

func text(v any) string { return fmt.Sprintf("%v", v) }
