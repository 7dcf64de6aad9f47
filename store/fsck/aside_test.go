package fsck_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"piimg/store"
	"piimg/store/disk"
	"piimg/store/fsck"
	"piimg/store/mem"
)

// collected moves an object to where a collection moves what nothing keeps.
func (w *world) collected(key string) {
	w.t.Helper()
	w.put(store.CollectedKey(key), w.get(key))
	w.remove(key)
}

// What is needed and was collected all the same comes back, with all that a manifest tells of.
func TestRepairTakesCollectedContentBack(t *testing.T) {
	onDiskAndS3(t, func(t *testing.T, w *world) {
		before := w.objects()
		for _, key := range []string{w.key("kernel8.img", "v1"), w.key("overlay", "v2"), store.BlobKey(w.images[1])} {
			w.collected(key)
		}
		w.remove(store.RecordKey(w.images[1]))
		r := w.repair(fsck.RepairOptions{})
		if left := r.Damaged(); len(left) > 0 || len(r.Findings) != 4 {
			t.Errorf("of %d findings these are left: %+v", len(r.Findings), left)
		}
		for _, f := range r.Findings {
			if f.Repair != "brought back from quarantine" && f.Key != store.RecordKey(w.images[1]) {
				t.Errorf("%s: %s", f.Key, f.Repair)
			}
		}
		after := w.objects()
		for key, d := range before {
			if after[key] != d && key != store.RecordKey(w.images[1]) {
				t.Errorf("%s is not what it was", key)
			}
		}
		w.wantQuarantined(3)
		if r := w.check(); len(r.Findings) > 0 {
			t.Errorf("after the repair: %q", told(r))
		}
	})
}

// Bytes that were read wrongly when they were set aside, and are right, are taken back; those that
// are wrong are not, whatever their key says.
func TestRepairTakesOnlyRightBytesBack(t *testing.T) {
	w := newWorld(t, mem.New())
	kernel := w.key("kernel8.img", "v2")
	right, wrong := w.get(kernel), store.Sum([]byte("as it was read"))
	w.remove(kernel)
	w.put(store.CollectedKey(kernel), []byte("other bytes"))
	w.put(store.DamagedKey(kernel, store.Sum(right)), []byte("others again"))
	if r := w.repair(fsck.RepairOptions{}); len(r.Damaged()) != 1 || r.Findings[0].Repair != "no source has it" {
		t.Errorf("%+v", r.Findings)
	}
	w.put(store.DamagedKey(kernel, wrong), right)
	r := w.repair(fsck.RepairOptions{Sources: []fsck.Source{from("mirror", w.mirror())}})
	if len(r.Damaged()) != 0 || r.Findings[0].Repair != "brought back from quarantine" || string(w.get(kernel)) != string(right) {
		t.Errorf("%+v", r.Findings)
	}
	w.wantQuarantined(3)
}

// What cannot be read in quarantine is no reason to stop: a source may have it.
func TestRepairPastAQuarantineThatCannotBeRead(t *testing.T) {
	b := mem.New()
	w := newWorld(t, odd{Bucket: b, get: func(key string) error {
		if strings.HasPrefix(key, "quarantine/") {
			return &fs.PathError{Op: "read", Path: key, Err: syscall.EIO}
		}
		return nil
	}})
	good, kernel := w.mirror(), w.key("kernel8.img", "v2")
	w.collected(kernel)
	r := w.repair(fsck.RepairOptions{Sources: []fsck.Source{from("mirror", good)}})
	if f := r.Findings[0]; !f.Repaired || !strings.HasPrefix(f.Repair, "quarantine: read quarantine/") || !strings.HasSuffix(f.Repair, "input/output error; brought back from mirror") {
		t.Errorf("%+v", r.Findings)
	}
}

// shaky is a folder of which the disk cannot read some files, wherever they are moved.
type shaky struct {
	*disk.Bucket
	bad map[string]bool
}

func (b shaky) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if b.bad[key] {
		return nil, &fs.PathError{Op: "read", Path: key, Err: syscall.EIO}
	}
	return b.Bucket.Get(ctx, key, off, n)
}

func (b shaky) Move(ctx context.Context, from, to string) error {
	b.bad[to] = b.bad[from]
	delete(b.bad, from)
	return b.Bucket.Move(ctx, from, to)
}

// What the disk cannot read now, and nobody else has, is not deleted: it comes back when it can be
// read again.
func TestRepairKeepsWhatCannotBeRead(t *testing.T) {
	b := shaky{openDisk(t, t.TempDir(), disk.Hooks{Sync: noSync}), map[string]bool{}}
	w := newWorld(t, b)
	kernel, record := w.key("kernel8.img", "v2"), store.RecordKey(w.images[0])
	for _, key := range []string{kernel, record} {
		b.bad[key] = true
	}
	r := w.repair(fsck.RepairOptions{})
	if left := r.Damaged(); len(r.Findings) != 2 || len(left) != 1 || left[0].Key != kernel {
		t.Errorf("%+v", r.Findings)
	}
	if f := w.repair(fsck.RepairOptions{}).Findings[0]; f.Key != kernel || f.Repaired || !strings.HasSuffix(f.Repair, "input/output error; no source has it") {
		t.Errorf("while it cannot be read: %+v", f)
	}
	clear(b.bad)
	if r := w.repair(fsck.RepairOptions{}); len(r.Damaged()) > 0 || string(w.get(kernel)) != string(body("kernel8.img", "v2")) {
		t.Errorf("when it can be read again: %+v", r.Findings)
	}
	for _, key := range []string{kernel, record} {
		at := store.DamagedKey(key, store.Digest{})
		if a, ok := store.ParseAside(at); !ok || a.Of != key || len(w.get(at)) == 0 {
			t.Errorf("%s was not moved to %s", key, at)
		}
	}
}

// busy is a source that has nothing, and takes its time to say so.
type busy struct{ meanwhile func() }

func (b busy) Find(context.Context, store.Digest) (store.Blob, error) {
	b.meanwhile()
	return store.Blob{}, fs.ErrNotExist
}

func (busy) Open(context.Context, store.Blob) (io.ReadCloser, error) { return nil, fs.ErrNotExist }

// What somebody writes anew while sources are asked stays.
func TestRepairBesideABuild(t *testing.T) {
	w := newWorld(t, mem.New())
	kernel := w.key("kernel8.img", "v2")
	w.cut(kernel, 100)
	r := w.repair(fsck.RepairOptions{Sources: []fsck.Source{{Name: "slow", Blobs: busy{func() {
		if _, err := publish(t.Context(), w.store, "v2"); err != nil {
			t.Error(err)
		}
	}}}}})
	if len(r.Damaged()) > 0 || !strings.HasSuffix(r.Findings[0].Repair, "somebody has written it anew") {
		t.Errorf("%+v", r.Findings)
	}
	if r := w.check(); len(r.Findings) > 0 {
		t.Errorf("after the repair: %q", told(r))
	}
}

// Killed at each point at which content is taken back: what is in quarantine stays there, and what
// is in its place is right or absent.
func TestKilledWhileContentIsTakenBack(t *testing.T) {
	if n, err := strconv.Atoi(os.Getenv(killEnv)); err == nil {
		repairUntil(t, os.Getenv(dirEnv), func() error {
			if n--; n < 0 {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {} // the signal is on its way
			}
			return nil
		})
		return
	}
	dir := before(t)
	w := &world{t: t, store: must(t)(store.Open(t.Context(), openDisk(t, dir, disk.Hooks{Sync: noSync})))}
	kernel := w.key("kernel8.img", "v1")
	w.collected(kernel)
	points := 0
	repairUntil(t, copied(t, dir), func() error { points++; return nil })
	if points < 4 {
		t.Fatalf("a repair comes by %d points", points)
	}
	for n := range points {
		dir := copied(t, dir)
		killedIn(t, "TestKilledWhileContentIsTakenBack", dir, n)
		w := &world{t: t, store: must(t)(store.Open(t.Context(), openDisk(t, dir, disk.Hooks{Sync: noSync})))}
		if string(w.get(store.CollectedKey(kernel))) != string(body("kernel8.img", "v1")) {
			t.Errorf("point %d: it is gone from quarantine", n)
		}
		d, _ := store.BlobOf(kernel)
		if blob, err := w.store.Blobs().Find(t.Context(), d); err == nil {
			if err := w.store.Blobs().Verify(t.Context(), blob); err != nil {
				t.Errorf("point %d: %v", n, err)
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("point %d: %v", n, err)
		}
		if r := w.repair(fsck.RepairOptions{}); len(r.Damaged()) > 0 {
			t.Errorf("point %d, repaired again: %+v", n, r.Damaged())
		}
		wantWhole(t, dir)
	}
}

// repairUntil repairs the store in dir, and calls point at each point of its writes.
func repairUntil(t *testing.T, dir string, point func() error) {
	t.Helper()
	b := openDisk(t, dir, disk.Hooks{Sync: noSync, Point: func(string, string) error { return point() }})
	w := &world{t: t, store: must(t)(store.Open(t.Context(), b))}
	if r := w.repair(fsck.RepairOptions{}); len(r.Damaged()) > 0 {
		t.Errorf("left: %+v", r.Damaged())
	}
}

func must(t *testing.T) func(*store.Store, error) *store.Store {
	return func(s *store.Store, err error) *store.Store {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}
