package gc_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/env"
	"piimg/store/gc"
	"piimg/store/open"
	"piimg/store/s3/s3test"
)

const (
	childEnv    = "PIIMG_TEST_GC_CHILD" // the point at which the child kills itself
	locationEnv = "PIIMG_TEST_GC_STORE"
)

// points are where a collection, or a publication, is killed: right after so many
// operations of a kind on keys of a kind.
var points = map[string]struct {
	op, prefix string
	nth        int64
}{
	"gc.condemned": {"put", "gc/runs/", 1},
	"gc.sweeping":  {"create", "gc/state.json", 1},
	"gc.delete.1":  {"delete", "images/", 1},
	"gc.delete.2":  {"delete", "blobs/", 1},
	"gc.delete.4":  {"delete", "blobs/", 3},
	"gc.idle":      {"delete", "gc/state.json", 1},
	"gc.purge":     {"delete", "quarantine/", 1},
	"lease.put":    {"put", "leases/", 1},
}

// deadly kills the process at a point.
type deadly struct {
	store.Bucket
	point string
	seen  atomic.Int64
}

func (b *deadly) did(op, key string, err error) error {
	p := points[b.point]
	if err == nil && op == p.op && strings.HasPrefix(key, p.prefix) && b.seen.Add(1) == p.nth {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
	return err
}

func (b *deadly) Put(ctx context.Context, key string, c store.Content) error {
	return b.did("put", key, b.Bucket.Put(ctx, key, c))
}

func (b *deadly) Create(ctx context.Context, key string, doc []byte) error {
	return b.did("create", key, b.Bucket.Create(ctx, key, doc))
}

func (b *deadly) Delete(ctx context.Context, key string) error {
	return b.did("delete", key, b.Bucket.Delete(ctx, key))
}

// deadlyShelf is one that moves.
type deadlyShelf struct{ *deadly }

func (b deadlyShelf) Move(ctx context.Context, from, to string) error {
	return b.did("delete", from, b.Bucket.(store.Mover).Move(ctx, from, to))
}

// atOnce collects without any patience.
func atOnce() gc.Options {
	return gc.Options{Delete: true, Owner: "alice@test", Grace: -1, Published: -1, History: -1}
}

// TestFaultRow20Killed kills a process that collects, or publishes, with SIGKILL, on a
// folder and on a real server, and looks at what it left.
func TestFaultRow20Killed(t *testing.T) {
	if point := os.Getenv(childEnv); point != "" {
		collectUntilKilled(t, point)
		return
	}
	for place, location := range places(t) {
		for point := range points {
			t.Run(place+"/"+point, func(t *testing.T) { killed(t, location(t), point) })
		}
	}
}

// places make locations of empty buckets, in folders and on a real server.
func places(t *testing.T) map[string]func(t *testing.T) string {
	server := s3test.Start(t)
	t.Setenv("AWS_ACCESS_KEY_ID", server.Access)
	t.Setenv("AWS_SECRET_ACCESS_KEY", server.Secret)
	return map[string]func(t *testing.T) string{
		"disk": func(t *testing.T) string { return t.TempDir() },
		"s3":   func(t *testing.T) string { return server.Location(server.NewBucket(t), "store", server.Endpoint) },
	}
}

// collectUntilKilled is the child.
func collectUntilKilled(t *testing.T, point string) {
	b, err := open.Bucket(t.Context(), os.Getenv(locationEnv))
	if err != nil {
		t.Fatal(err)
	}
	d := &deadly{Bucket: b, point: point}
	var top store.Bucket = d
	if _, ok := b.(store.Mover); ok {
		top = deadlyShelf{d}
	}
	s, err := store.Open(t.Context(), top)
	if err != nil {
		t.Fatal(err)
	}
	if point == "lease.put" {
		publishIn(t, s, "b")
		return
	}
	if _, err := gc.Run(t.Context(), s.In(weeks{top}), atOnce()); err != nil {
		t.Fatal(err)
	}
}

// publishIn publishes an image with a kernel of its own.
func publishIn(t *testing.T, s *store.Store, kernel string) store.Digest {
	t.Helper()
	put := func(text string) store.Blob {
		c := store.Bytes([]byte(text))
		if _, err := s.Blobs().Put(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return c.Blob()
	}
	d, err := s.PutImage(t.Context(), store.Image{
		Name: "test", Config: put("config of " + kernel), Files: []store.File{store.NewFile("kernel8.img", 0o644, put("kernel "+kernel))},
	}, store.Record{Name: "test", Actor: "ci"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func killed(t *testing.T, location, point string) {
	b, err := open.Bucket(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Init(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	kept, gone := publishIn(t, s, "a"), publishIn(t, s, "b")
	unknown := setTwoAside(t, b, kept)
	if _, err := env.Promote(t.Context(), s, env.PromoteOptions{Env: "dev", Image: kept, Actor: "ci"}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFaultRow20Killed$")
	cmd.Env = append(os.Environ(), childEnv+"="+point, locationEnv+"="+location)
	out, err := cmd.CombinedOutput()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("child ended with %v; want it killed\n%s", err, out)
	}
	whole(t, s)
	sweeping := strings.HasPrefix(point, "gc.delete") || point == "gc.sweeping"
	if _, err := gc.Run(t.Context(), s, atOnce()); errors.Is(err, store.ErrConflict) != sweeping {
		t.Errorf("the next collection = %v; it was killed while it deleted: %v", err, sweeping)
	}
	if sweeping {
		afterDeath(t, b, gone)
	}
	if point == "lease.put" {
		if err := complete(t.Context(), s, gone); err != nil {
			t.Errorf("what a lease holds: %v", err)
		}
		return
	}
	if got := keys(t, b, store.AsidePrefix(store.BlobKey(kept))); (len(got) == 1) != (point == "gc.purge") {
		t.Errorf("in quarantine: %q", got)
	}
	if _, err := gc.Run(t.Context(), s.In(weeks{b}), atOnce()); err != nil {
		t.Errorf("a collection after all = %v", err)
	}
	if got := slices.DeleteFunc(keys(t, b, "quarantine/"), func(key string) bool { return strings.HasSuffix(key, ".gc") }); len(got) != 1 || got[0] != unknown {
		t.Errorf("left in quarantine: %q", got)
	}
	whole(t, s)
	if err := complete(t.Context(), s, kept); err != nil {
		t.Error(err)
	}
	if err := complete(t.Context(), s, gone); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what nothing keeps: %v; want it gone", err)
	}
}

// aged is a bucket in which a sweep has given its last sign of life ten minutes ago.
type aged struct {
	store.Bucket
	run string
}

func (b aged) Stat(ctx context.Context, key string) (store.Info, error) {
	info, err := b.Bucket.Stat(ctx, key)
	if key == "gc/state.json" || strings.Contains(key, b.run) {
		info.Time = info.Time.Add(-10 * time.Minute)
	}
	return info, err
}

// afterDeath has a publisher go on ten minutes after the sweep has died, and breaks the sign.
func afterDeath(t *testing.T, b store.Bucket, gone store.Digest) {
	t.Helper()
	s, err := store.Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	dead, err := s.Sweeping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s, err = store.Open(t.Context(), aged{b, dead.Run}); err != nil {
		t.Fatal(err)
	}
	waited := 0
	l := s.NewLease(store.LeaseOptions{Holder: "ci", Sleep: func(context.Context, time.Duration) error {
		if waited++; waited > 3 {
			return fmt.Errorf("it waits for a sweep that is dead")
		}
		return nil
	}})
	if err := l.HoldImage(t.Context(), gone); err != nil || waited == 0 {
		t.Errorf("HoldImage = %v after %d waits; want one at least", err, waited)
	}
	l.Release(t.Context())
	if w, err := gc.Break(t.Context(), s, atOnce()); err != nil || w.Owner != "alice@test" {
		t.Errorf("Break = %+v, %v", w, err)
	}
}

// weeks is a bucket in which what is in quarantine was put there eight days ago.
type weeks struct{ store.Bucket }

func (b weeks) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for info, err := range b.Bucket.List(ctx, prefix, after) {
			if !yield(b.old(info), err) {
				return
			}
		}
	}
}

func (b weeks) Stat(ctx context.Context, key string) (store.Info, error) {
	info, err := b.Bucket.Stat(ctx, key)
	return b.old(info), err
}

func (weeks) old(info store.Info) store.Info {
	if strings.HasPrefix(info.Key, "quarantine/") {
		info.Time = info.Time.Add(-8 * day)
	}
	return info
}

// Move moves if the bucket below does.
func (b weeks) Move(ctx context.Context, from, to string) error {
	if m, ok := b.Bucket.(store.Mover); ok {
		return m.Move(ctx, from, to)
	}
	return fmt.Errorf("move %s: %w", from, errors.ErrUnsupported)
}

// setTwoAside puts damaged bytes out of the way, and something that nobody knows beside them.
func setTwoAside(t *testing.T, b store.Bucket, of store.Digest) (unknown string) {
	t.Helper()
	unknown = "quarantine/blobs/notes"
	for _, key := range []string{
		store.DamagedKey(store.BlobKey(of), store.Sum([]byte("one"))), store.DamagedKey(store.BlobKey(of), store.Sum([]byte("two"))), unknown,
	} {
		if err := b.Put(t.Context(), key, store.Bytes([]byte(key))); err != nil {
			t.Fatal(err)
		}
	}
	return unknown
}
