package gc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/disk"
	"piimg/store/env"
	"piimg/store/gc"
	"piimg/store/s3/s3test"
	"piimg/store/serve/servetest"
)

// What the soak keeps, and for how long: little, so that much goes. Ages are judged by the
// clock of a server, which may tell whole seconds only.
const (
	soakGrace     = time.Second
	soakPublished = 2 * time.Second
	soakHistory   = 5 * time.Second
	soakImages    = 3
	soakVariants  = 60 // of kernels, so that what has gone is built again
	soakShared    = 8  // overlays that many images have
)

var soakEnvs = []string{"dev", "staging", "prod"}

// TestSoak has builders, promoters, readers and collectors at work on one store, and
// checks what they were told. PIIMG_SOAK says for how long (make soak).
func TestSoak(t *testing.T) {
	length := 6 * time.Second
	if text := os.Getenv("PIIMG_SOAK"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		length = d
	}
	t.Run("disk", func(t *testing.T) {
		dir := t.TempDir()
		b, err := disk.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		soakOn(t, b, length)
		if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) != 0 {
			t.Errorf("I7: %d temporaries left, %v", len(left), err)
		}
	})
	t.Run("s3", func(t *testing.T) { soakOn(t, s3test.Start(t).Open(t), length) })
}

// soak is one soak under way.
type soak struct {
	t     *testing.T
	store *store.Store
	end   time.Time
	lost  atomic.Int64

	mu        sync.Mutex
	counts    map[string]int
	published []store.Digest
	steps     map[string]map[int64]store.Digest // reported successes, by environment
	pins      map[string]store.Digest
	peak      int // goroutines
}

func soakOn(t *testing.T, b store.Bucket, length time.Duration) {
	s, err := store.Init(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	k := &soak{t: t, store: s, end: time.Now().Add(length), counts: map[string]int{}, steps: map[string]map[int64]store.Digest{}, pins: map[string]store.Digest{}}
	for _, name := range soakEnvs {
		k.steps[name] = map[int64]store.Digest{}
		k.publish(t.Context(), rand.New(rand.NewPCG(0, 0)))
		k.promote(t.Context(), rand.New(rand.NewPCG(0, 0)))
	}
	var all sync.WaitGroup
	for seed, do := range []func(context.Context, *rand.Rand){
		k.publish, k.publish, k.publish, k.promote, k.promote, k.rollback, k.pin, k.read, k.read, k.look, k.collect, k.collect,
	} {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(seed), uint64(k.end.UnixNano())))
			for k.goesOn() {
				do(t.Context(), r)
				k.watch()
			}
		})
	}
	all.Wait()
	k.settle(t)
	t.Logf("%v of %s: %v, at most %d goroutines, lost blobs: %d", length, t.Name(), k.counts, k.peak, k.lost.Load())
	if http, ok := b.(interface{ CloseIdleConnections() }); ok {
		http.CloseIdleConnections()
	}
	servetest.Await(t, fmt.Sprintf("an end (I7) of all but %d goroutines and %d open files", goroutines, files), func() bool {
		return runtime.NumGoroutine() <= goroutines+10 && openFiles(t) <= files+10 // idle connections keep two each
	})
}

// goesOn says whether the soak is not over: that takes at least one collection which had
// something to remove, for which a busy machine may need longer.
func (k *soak) goesOn() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	return !k.t.Failed() && (now.Before(k.end) || k.counts["blobs removed"] == 0 && now.Before(k.end.Add(2*time.Minute)))
}

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func (k *soak) count(what string, n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.counts[what] += n
}

func (k *soak) watch() {
	n := runtime.NumGoroutine()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.peak = max(k.peak, n)
}

// loss is something that somebody was told is there and is not.
func (k *soak) loss(format string, args ...any) {
	k.lost.Add(1)
	k.t.Errorf(format, args...)
}

// lease does not wait for long: sweeps are short here.
func (k *soak) lease(who string) *store.Lease {
	return k.store.NewLease(store.LeaseOptions{Holder: who, Sleep: func(ctx context.Context, _ time.Duration) error {
		k.count("waits for a sweep", 1)
		time.Sleep(20 * time.Millisecond)
		return ctx.Err()
	}})
}

// publish builds one of the variants, most of whose blobs others have had before.
func (k *soak) publish(ctx context.Context, r *rand.Rand) {
	n := r.IntN(soakVariants)
	kernel := store.Bytes([]byte(strings.Repeat(fmt.Sprintf("kernel %d ", n), 200)))
	overlay := store.Bytes([]byte(strings.Repeat(fmt.Sprintf("overlay %d ", n%soakShared), 200)))
	config := store.Bytes(fmt.Appendf(nil, `{"variant":%d}`, n))
	l := k.lease("ci")
	defer l.Release(ctx)
	if err := l.Hold(ctx, kernel.Blob(), overlay.Blob(), config.Blob()); err != nil {
		k.t.Errorf("hold: %v", err)
		return
	}
	wrote := 0
	for _, c := range []store.Content{kernel, overlay, config} {
		fresh, err := k.store.Blobs().Put(ctx, c)
		if err != nil {
			k.t.Errorf("put: %v", err)
			return
		}
		if fresh {
			wrote++
		}
	}
	began := time.Now()
	d, err := l.PutImage(ctx, store.Image{
		Name: "soak", Config: config.Blob(),
		Files: []store.File{store.NewFile("kernel8.img", 0o644, kernel.Blob()), store.NewFile("overlay.cpio", 0o644, overlay.Blob())},
	}, store.Record{Name: "soak", Actor: "ci"})
	if err != nil {
		k.t.Errorf("publish: %v", err)
		return
	}
	if err := complete(ctx, k.store, d); err != nil && time.Since(began) < soakPublished/2 {
		k.loss("published %v ago: %v", time.Since(began), err)
	}
	k.count("published", 1)
	k.count("blobs written", wrote)
	k.count("blobs used again", 3-wrote)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.published = append(k.published, d)
}

func (k *soak) some(r *rand.Rand) store.Digest {
	k.mu.Lock()
	defer k.mu.Unlock()
	last := min(len(k.published), 20)
	return k.published[len(k.published)-1-r.IntN(last)]
}

// promote makes an environment run something that was published lately.
func (k *soak) promote(ctx context.Context, r *rand.Rand) {
	name := soakEnvs[r.IntN(len(soakEnvs))]
	began := time.Now()
	e, err := env.Promote(ctx, k.store, env.PromoteOptions{Env: name, Image: k.some(r), Actor: "promoter"})
	k.stepped(ctx, "promoted", began, e, err)
}

func (k *soak) rollback(ctx context.Context, r *rand.Rand) {
	time.Sleep(50 * time.Millisecond) // there is less of it
	began := time.Now()
	e, err := env.Rollback(ctx, k.store, env.RollbackOptions{Env: soakEnvs[r.IntN(len(soakEnvs))], Actor: "operator"})
	k.stepped(ctx, "rolled back", began, e, err)
}

// stepped takes note of a step that was reported, whose image has to be there.
func (k *soak) stepped(ctx context.Context, what string, began time.Time, e env.Entry, err error) {
	switch {
	case errors.Is(err, store.ErrConflict):
		k.count(what+", conflict", 1)
		return
	case errors.Is(err, fs.ErrNotExist):
		k.count(what+", refused", 1) // collected, or nothing to go back to
		return
	case err != nil:
		k.t.Errorf("%s: %v", what, err)
		return
	}
	if err := complete(ctx, k.store, e.Image); err != nil && time.Since(began) < soakHistory/2 {
		k.loss("%s to %s@%d %v ago: %v", what, e.Env, e.Seq, time.Since(began), err)
	}
	k.count(what, 1)
	k.mu.Lock()
	defer k.mu.Unlock()
	if before, ok := k.steps[e.Env][e.Seq]; ok && before != e.Image && !e.Unchanged {
		k.t.Errorf("I2: step %d of %s was reported for %s and for %s", e.Seq, e.Env, before.Short(), e.Image.Short())
	}
	k.steps[e.Env][e.Seq] = e.Image
}

// pin pins something, checks that it stays, and may unpin it.
func (k *soak) pin(ctx context.Context, r *rand.Rand) {
	name := fmt.Sprintf("pin%d", r.IntN(5))
	k.mu.Lock()
	pinned, ok := k.pins[name]
	k.mu.Unlock()
	if ok {
		if err := complete(ctx, k.store, pinned); err != nil {
			k.loss("pinned as %s: %v", name, err)
		}
		if _, err := k.store.Unpin(ctx, name); err != nil {
			k.t.Errorf("unpin: %v", err)
		}
		k.mu.Lock()
		delete(k.pins, name)
		k.mu.Unlock()
		k.count("unpinned", 1)
		return
	}
	d := k.some(r)
	err := k.store.Pin(ctx, store.Pin{Name: name, Image: d, Actor: "operator"})
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			k.t.Errorf("pin: %v", err)
		}
		return
	}
	k.mu.Lock()
	k.pins[name] = d
	k.mu.Unlock()
	k.count("pinned", 1)
	time.Sleep(100 * time.Millisecond)
}

// read reads what an environment runs, to the last byte.
func (k *soak) read(ctx context.Context, r *rand.Rand) {
	began := time.Now()
	e, err := env.Head(ctx, k.store, soakEnvs[r.IntN(len(soakEnvs))])
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		k.t.Errorf("head: %v", err)
		return
	}
	n, err := readImage(ctx, k.store, e.Image)
	if err != nil && time.Since(began) < soakHistory/2 {
		k.loss("read %s@%d: %v", e.Env, e.Seq, err)
	}
	k.count("images read", 1)
	k.count("bytes read", int(n))
}

func readImage(ctx context.Context, s *store.Store, d store.Digest) (total int64, err error) {
	i, err := s.Image(ctx, d)
	if err != nil {
		return 0, err
	}
	for _, f := range i.Files {
		r, err := s.OpenFile(ctx, f)
		if err != nil {
			return total, err
		}
		n, err := io.Copy(io.Discard, r)
		r.Close()
		if total += n; err != nil {
			return total, err
		}
	}
	return total, nil
}

func (k *soak) options() gc.Options {
	return gc.Options{Delete: true, Owner: "soak", Grace: soakGrace, Published: soakPublished, History: soakHistory, Images: soakImages}
}

// collect collects; of two who delete at the same time one is refused.
func (k *soak) collect(ctx context.Context, r *rand.Rand) {
	report, err := gc.Run(ctx, k.store, k.options())
	switch {
	case errors.Is(err, store.ErrConflict):
		k.count("collections refused", 1)
	case err != nil:
		k.t.Errorf("collect: %v", err)
		return
	default:
		k.count("collections", 1)
	}
	k.count("blobs removed", report.Removed.Blobs)
	time.Sleep(time.Duration(r.IntN(int(300 * time.Millisecond))))
}

// look makes a dry run, which must not write (I8).
func (k *soak) look(ctx context.Context, _ *rand.Rand) {
	quiet := &writes{Bucket: k.store.Bucket()}
	s, err := store.Open(ctx, quiet)
	if err == nil {
		o := k.options()
		o.Delete = false
		_, err = gc.Run(ctx, s, o)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // somebody deletes just now
		k.t.Errorf("dry run: %v", err)
	}
	if n := quiet.n.Load(); n != 0 {
		k.t.Errorf("I8: a dry run wrote %d times", n)
	}
	k.count("dry runs", 1)
	time.Sleep(200 * time.Millisecond)
}

// writes counts what is written.
type writes struct {
	store.Bucket
	n atomic.Int64
}

func (b *writes) Put(ctx context.Context, key string, c store.Content) error {
	b.n.Add(1)
	return b.Bucket.Put(ctx, key, c)
}

func (b *writes) Create(ctx context.Context, key string, doc []byte) error {
	b.n.Add(1)
	return b.Bucket.Create(ctx, key, doc)
}

func (b *writes) Delete(ctx context.Context, key string) error {
	b.n.Add(1)
	return b.Bucket.Delete(ctx, key)
}

// settle checks what has to hold when all is quiet, before and after a last collection.
func (k *soak) settle(t *testing.T) {
	t.Helper()
	for range 2 {
		whole(t, k.store)
		k.reported(t)
		for name, d := range k.pins {
			if err := complete(t.Context(), k.store, d); err != nil {
				k.loss("I3: pin %s: %v", name, err)
			}
		}
		for _, prefix := range []string{"leases/", "gc/state", "gc/beats/"} {
			if left := keys(t, k.store.Bucket(), prefix); len(left) != 0 {
				t.Errorf("I7: left: %q", left)
			}
		}
		if k.counts["blobs removed"] == 0 {
			t.Error("nothing was ever removed")
		}
		last := k.options()
		last.Grace = -1
		if _, err := gc.Run(t.Context(), k.store, last); err != nil {
			t.Errorf("the last collection: %v", err)
		}
	}
}

// reported checks that each reported step is in its log (I2), and that each image that is
// retained is complete (I3).
func (k *soak) reported(t *testing.T) {
	t.Helper()
	for name, steps := range k.steps {
		history, err := env.History(t.Context(), k.store, name)
		if errors.Is(err, fs.ErrNotExist) && len(steps) == 0 {
			continue
		}
		if err != nil {
			t.Errorf("I2: %v", err)
			continue
		}
		for seq, d := range steps {
			if int(seq) > len(history) || history[seq-1].Image != d {
				t.Errorf("I2: step %d of %s was reported for %s and is not in the log", seq, name, d.Short())
			}
		}
		different := map[store.Digest]bool{}
		for n := len(history) - 1; n >= 0 && len(different) < soakImages; n-- {
			if d := history[n].Image; !different[d] {
				different[d] = true
				if err := complete(t.Context(), k.store, d); err != nil {
					k.loss("I3: %s@%d: %v", name, n+1, err)
				}
			}
		}
	}
}
