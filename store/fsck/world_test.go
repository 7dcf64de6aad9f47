package fsck_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/board"
	"piimg/store/env"
	"piimg/store/fsck"
	"piimg/store/mem"
)

// world is a store with two images in use and whatever a test does to it.
type world struct {
	t      *testing.T
	store  *store.Store
	images []store.Digest // v1 and v2
}

const serial = board.ID("91cdf03d")

// newWorld is a store where prod runs v2 after v1, dev runs v1, and a board is set to prod.
func newWorld(t *testing.T, b store.Bucket) *world {
	t.Helper()
	s, err := store.Init(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: s}
	for _, version := range []string{"v1", "v2"} {
		d, err := publish(t.Context(), s, version)
		if err != nil {
			t.Fatal(err)
		}
		w.images = append(w.images, d)
	}
	for _, step := range []struct {
		env   string
		image int
	}{{"dev", 0}, {"prod", 0}, {"prod", 1}} {
		if _, err := promote(t.Context(), s, step.env, w.images[step.image]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := board.Set(t.Context(), s, serial, board.Options{Env: "prod", Actor: "alice"}); err != nil {
		t.Fatal(err)
	}
	return w
}

// body is the content of a file of a version; the firmware is the same in all.
func body(name, version string) []byte {
	if strings.HasPrefix(name, "start4") {
		version = "all"
	}
	return bytes.Repeat([]byte(version+" "+name+"\n"), 2000)
}

// publish does what a build does: blobs, a finished step, the manifest and the record.
func publish(ctx context.Context, s *store.Store, version string) (store.Digest, error) {
	put := func(b []byte) (store.Blob, error) {
		c := store.Bytes(b)
		_, err := s.Blobs().Put(ctx, c)
		return c.Blob(), err
	}
	config, err := put([]byte(`{"version":"` + version + `"}`))
	if err != nil {
		return store.Digest{}, err
	}
	i := store.Image{Name: "test", Config: config}
	parts := [][]byte{body("base", "all"), body("overlay", version)}
	initramfs := store.File{Path: "initramfs.gz", Mode: 0o644}
	for _, p := range parts {
		b, err := put(p)
		if err != nil {
			return store.Digest{}, err
		}
		initramfs.Parts = append(initramfs.Parts, b)
		initramfs.Size += b.Size
	}
	initramfs.Digest = store.Sum(bytes.Join(parts, nil))
	i.Files = append(i.Files, initramfs)
	for _, name := range []string{"kernel8.img", "start4.elf"} {
		b, err := put(body(name, version))
		if err != nil {
			return store.Digest{}, err
		}
		i.Files = append(i.Files, store.NewFile(name, 0o644, b))
	}
	step := store.Step{Key: store.Sum([]byte("step " + version)), Outputs: i.Files}
	if err := s.Steps().Put(ctx, "test", "bootfs", step); err != nil {
		return store.Digest{}, err
	}
	return s.PutImage(ctx, i, store.Record{Name: "test", Actor: "alice", Recipe: "test.toml", Time: at})
}

var at = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// promote is a promotion that is the same each time it is tried.
func promote(ctx context.Context, s *store.Store, name string, d store.Digest) (env.Entry, error) {
	return env.Promote(ctx, s, env.PromoteOptions{
		Env: name, Image: d, Actor: "alice", Now: func() time.Time { return at }, Nonce: d.Hex,
	})
}

func (w *world) key(name, version string) string {
	return store.BlobKey(store.Sum(body(name, version)))
}

func (w *world) get(key string) []byte {
	w.t.Helper()
	r, err := w.store.Bucket().Get(w.t.Context(), key, 0, -1)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	doc, err := io.ReadAll(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return doc
}

// put writes an object as bit rot would.
func (w *world) put(key string, doc []byte) {
	w.t.Helper()
	if err := w.store.Bucket().Put(w.t.Context(), key, store.Bytes(doc)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) remove(key string) {
	w.t.Helper()
	if err := w.store.Bucket().Delete(w.t.Context(), key); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) flip(key string) {
	w.t.Helper()
	doc := w.get(key)
	doc[len(doc)/2] ^= 4
	w.put(key, doc)
}

func (w *world) cut(key string, to int) {
	w.t.Helper()
	w.put(key, w.get(key)[:to])
}

// check reads everything.
func (w *world) check(o ...fsck.Options) *fsck.Report {
	w.t.Helper()
	look := fsck.Options{Read: fsck.All()}
	if len(o) > 0 {
		look = o[0]
	}
	r, err := fsck.Check(w.t.Context(), w.store, look)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// told is a report in short: a line of kind, key and whom it hits for each finding.
func told(r *fsck.Report) []string {
	lines := []string{}
	for _, f := range r.Findings {
		line := fmt.Sprintf("%s %s", f.Kind, f.Key)
		for _, u := range f.Files {
			line += " " + u.Path
		}
		for _, e := range f.Envs {
			line += fmt.Sprintf(" %s%v", e.Env, e.Steps)
			if e.Head {
				line += "!"
			}
		}
		if len(f.Boards) > 0 {
			line += " " + strings.Join(f.Boards, " ")
		}
		if f.Repaired {
			line += " repaired"
		}
		lines = append(lines, line)
	}
	return lines
}

// mirror is another store with the same images, and with the same logs where it was made as
// one.
func (w *world) mirror() *store.Store {
	w.t.Helper()
	b := mem.New()
	for info, err := range w.store.Bucket().List(w.t.Context(), "", "") {
		if err != nil {
			w.t.Fatal(err)
		}
		if err := b.Put(w.t.Context(), info.Key, store.Bytes(w.get(info.Key))); err != nil {
			w.t.Fatal(err)
		}
	}
	s, err := store.Open(w.t.Context(), b)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// objects is every object of a store with its digest.
func (w *world) objects() map[string]store.Digest {
	w.t.Helper()
	all := map[string]store.Digest{}
	for info, err := range w.store.Bucket().List(w.t.Context(), "", "") {
		if err != nil {
			w.t.Fatal(err)
		}
		all[info.Key] = store.Sum(w.get(info.Key))
	}
	return all
}

// odd is a bucket that fails, or hides what it has, as the network and the clock do.
type odd struct {
	store.Bucket
	get  func(key string) error
	list func(info store.Info) bool // what the listing has; nil: all
}

func (b odd) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if b.get != nil {
		if err := b.get(key); err != nil {
			return nil, err
		}
	}
	return b.Bucket.Get(ctx, key, off, n)
}

func (b odd) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for info, err := range b.Bucket.List(ctx, prefix, after) {
			if err == nil && b.list != nil && !b.list(info) {
				continue
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

var errAbsent = fmt.Errorf("gone: %w", fs.ErrNotExist)

var errNet = errors.New("connection refused")
