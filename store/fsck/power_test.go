package fsck_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"piimg/store"
	"piimg/store/disk"
	"piimg/store/env"
	"piimg/store/fsck"
	"piimg/store/mem"
)

// forgetful is a file system that loses at a power cut what was not synced: the bytes of
// files and the names in folders. It watches a real folder through the hooks of the bucket,
// and makes up what could be there after the power is back. What Pebble's
// vfs.NewCrashableMem does by standing in for the file system, it does by looking on.
type forgetful struct {
	root  string
	names map[string]map[string]uint64 // of a folder, when it was last synced
	bytes map[uint64][]byte            // of an inode, when it was last synced
	held  []*os.File                   // so that no inode is used again
}

// newForgetful begins with everything below root synced.
func newForgetful(t *testing.T, root string) *forgetful {
	t.Helper()
	m := &forgetful{root: root, names: map[string]map[string]uint64{}, bytes: map[uint64][]byte{}}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return m.sync(f)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, f := range m.held {
			f.Close()
		}
	})
	return m
}

func inode(path string) (uint64, error) {
	var stat syscall.Stat_t
	err := syscall.Lstat(path, &stat)
	return stat.Ino, err
}

// sync makes the bytes of a file, or the names in a folder, last.
func (m *forgetful) sync(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		m.names[f.Name()], err = namesOf(f.Name())
		return err
	}
	doc, err := os.ReadFile(f.Name())
	if err != nil {
		return err
	}
	hold, err := os.Open(f.Name())
	if err != nil {
		return err
	}
	m.held = append(m.held, hold)
	ino, err := inode(f.Name())
	m.bytes[ino] = doc
	return err
}

func namesOf(dir string) (map[string]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	all := map[string]uint64{}
	for _, e := range entries {
		if all[e.Name()], err = inode(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// luck says of each thing that was not synced whether it lasts all the same.
type luck func() bool

// crash is what is there after a power cut now, as a bucket.
func (m *forgetful) crash(ctx context.Context, lasts luck) (store.Bucket, error) {
	b := mem.New()
	return b, m.folder(m.root, func(path string, doc []byte) error {
		key := filepath.ToSlash(strings.TrimPrefix(path, m.root+"/"))
		if store.CheckKey(key) != nil {
			return nil // a temporary
		}
		return b.Put(ctx, key, store.Bytes(doc))
	}, lasts)
}

// folder calls put for what is left below dir.
func (m *forgetful) folder(dir string, put func(path string, doc []byte) error, lasts luck) error {
	now, err := namesOf(dir)
	if err != nil {
		return err
	}
	then := m.names[dir]
	all := map[string]bool{}
	for name := range now {
		all[name] = true
	}
	for name := range then {
		all[name] = true
	}
	for name := range all {
		ino := then[name]
		if now[name] != ino && lasts() {
			ino = now[name]
		}
		if ino == 0 {
			continue
		}
		path := filepath.Join(dir, name)
		if info, err := os.Lstat(path); err == nil && info.IsDir() {
			if err := m.folder(path, put, lasts); err != nil {
				return err
			}
			continue
		}
		doc, err := m.file(path, ino, lasts)
		if err == nil {
			err = put(path, doc)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// file is what is left of the file that was at path, with its inode.
func (m *forgetful) file(path string, ino uint64, lasts luck) ([]byte, error) {
	if doc, synced := m.bytes[ino]; synced {
		return doc, nil
	}
	doc, err := os.ReadFile(path)
	if err == nil && !lasts() { // as long as it was and empty of content, as on xfs, or half of it, or none
		doc = [][]byte{make([]byte, len(doc)), doc[:len(doc)/2], nil}[rand.IntN(3)]
	}
	return doc, err
}

// cuts ships v2 and cuts the power at every sync and every named point of every write, with
// all kinds of luck. It returns what was wrong after any of them, up to the first few.
func cuts(t *testing.T, kinds []luck, forgets func(*os.File) bool) (states int, wrong []error) {
	dir := before(t)
	m := newForgetful(t, dir)
	v1, v2 := imageOf(t, "v1"), imageOf(t, "v2")
	done := false
	cut := func(when string) {
		for _, lasts := range kinds {
			if len(wrong) >= 3 {
				return
			}
			states++
			after, err := m.crash(t.Context(), lasts)
			if err != nil {
				t.Fatal(err)
			}
			if err := whole(t, after, v1, v2, done); err != nil {
				wrong = append(wrong, fmt.Errorf("power cut at %s: %w", when, err))
			}
		}
	}
	b := openDisk(t, dir, disk.Hooks{
		Sync: func(f *os.File) error {
			if forgets(f) {
				return nil
			}
			defer cut("sync of " + strings.TrimPrefix(f.Name(), dir))
			return m.sync(f)
		},
		Point: func(name, key string) error { cut(name + " of " + key); return nil },
	})
	published, promoted := ship(t, b)
	if published != nil || promoted != nil {
		t.Fatal(published, promoted)
	}
	done = true
	cut("the end")
	return states, wrong
}

// whole says what is wrong in a store after a crash.
func whole(t *testing.T, b store.Bucket, v1, v2 store.Digest, promoted bool) error {
	s, err := store.Open(t.Context(), b)
	if err != nil {
		return err
	}
	r, err := fsck.Check(t.Context(), s, fsck.Options{Read: fsck.All()})
	if err != nil {
		return err
	}
	for _, f := range r.Findings {
		return fmt.Errorf("%s %s: %s", f.Kind, f.Key, f.Text)
	}
	head, err := env.Head(t.Context(), s, "dev")
	switch {
	case err != nil:
		return err
	case promoted && head.Image != v2:
		return errors.New("the promotion was reported, and is lost")
	case head.Image != v1 && head.Image != v2:
		return fmt.Errorf("dev runs %s", head.Image)
	}
	return nil
}

// Row 4 of the fault table: the power goes, and what was not synced is lost, or not, or in
// part. The head never names what is missing or short, and what was reported is there.
func TestFaultRow04PowerLoss(t *testing.T) {
	kinds := []luck{
		func() bool { return false },
		func() bool { return true },
		func() bool { return rand.IntN(2) == 0 },
		func() bool { return rand.IntN(4) == 0 },
	}
	states, wrong := cuts(t, kinds, func(*os.File) bool { return false })
	for _, err := range wrong {
		t.Error(err)
	}
	if states < 200 {
		t.Errorf("%d states were tried", states)
	}
}

// A bucket that forgot to sync would be found out.
func TestPowerLossShowsMissingSyncs(t *testing.T) {
	kinds := []luck{func() bool { return false }, func() bool { return rand.IntN(2) == 0 }}
	for name, forgets := range map[string]func(info fs.FileInfo) bool{
		"files":   func(i fs.FileInfo) bool { return !i.IsDir() },
		"folders": func(i fs.FileInfo) bool { return i.IsDir() },
	} {
		_, wrong := cuts(t, kinds, func(f *os.File) bool {
			info, err := f.Stat()
			return err == nil && forgets(info)
		})
		if len(wrong) == 0 {
			t.Errorf("nobody noticed that %s were not synced", name)
		}
	}
}

func noSync(*os.File) error { return nil }

// failing ships v2 while the step numbered n of some kind fails, and then once more.
func failing(t *testing.T, dir string, hooks disk.Hooks, want error) (failed bool) {
	t.Helper()
	dir = copied(t, dir)
	if hooks.Sync == nil {
		hooks.Sync = noSync // it costs time here, and changes nothing that this test could see
	}
	published, promoted := ship(t, openDisk(t, dir, hooks))
	if err := errors.Join(published, promoted); err == nil {
		return false
	} else if !errors.Is(err, want) {
		t.Errorf("it failed with %v; want %v", err, want)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("temporaries left: %v, %v", left, err)
	}
	wantWhole(t, dir)
	if published, promoted := ship(t, openDisk(t, dir, disk.Hooks{Sync: noSync})); published != nil || promoted != nil {
		t.Errorf("doing it again: %v, %v", published, promoted)
	}
	if _, head := wantWhole(t, dir); head.Seq != 2 {
		t.Errorf("dev is at step %d", head.Seq)
	}
	return true
}

// Row 5: the disk is full at any point of publishing and promoting. It fails, leaves nothing
// behind, the old head stays, and once there is room it works.
func TestFaultRow05DiskFullAtAnyPoint(t *testing.T) {
	dir := before(t)
	for n := range pointsOf(t, dir) {
		at := n
		if !failing(t, dir, disk.Hooks{Point: func(string, string) error {
			if at--; at == -1 {
				return syscall.ENOSPC
			}
			return nil
		}}, syscall.ENOSPC) {
			t.Errorf("point %d: nobody noticed", n)
		}
	}
}

// Row 6: any one fsync fails. What was to be made durable by it is given up.
func TestFaultRow06AnySyncFails(t *testing.T) {
	dir := before(t)
	n := 0
	for ; ; n++ {
		at := n
		if !failing(t, dir, disk.Hooks{Sync: func(*os.File) error {
			if at--; at == -1 {
				return syscall.EIO
			}
			return nil
		}}, syscall.EIO) {
			break
		}
	}
	if n < 16 {
		t.Errorf("%d syncs; want two for each object at least", n)
	}
}
