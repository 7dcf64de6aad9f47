package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/storetest"
)

func TestBucket(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Bucket { return open(t, t.TempDir()) })
}

func open(t *testing.T, dir string) *Bucket {
	t.Helper()
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// temps are the names in the folder for unfinished objects.
func temps(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, tmpName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func keys(t *testing.T, b *Bucket) []string {
	t.Helper()
	var all []string
	for info, err := range b.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info.Key)
	}
	return all
}

func TestTheFirstWriteMakesTheFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	b := open(t, dir)
	if err := b.Put(t.Context(), "x/y", store.Bytes([]byte("z"))); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "x", "y")); err != nil || string(got) != "z" {
		t.Errorf("x/y below the folder = %q, %v; want z", got, err)
	}
}

func TestOpenRefusesAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("Open(%s) = %v; want an error that names it", dir, err)
		}
	}
}

func TestObjectsAreReadOnly(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	if err := b.Put(t.Context(), "put", store.Bytes([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), "created", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"put", "created"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != 0o444 {
			t.Errorf("mode of %s = %v, %v; want 0444", name, info.Mode(), err)
		}
	}
}

func TestListSkipsWhatIsNoObject(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	for _, name := range []string{"lost+found", "a/Folder", "a/empty", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a/x~", "a/.nfs01", "lost+found/x", "tmp/blob-1", "a/Folder/x"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "a", "link")); err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), "a/object", store.Bytes(nil)); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, b); len(got) != 1 || got[0] != "a/object" {
		t.Errorf("List = %q; want a/object alone", got)
	}
	if err := b.Delete(t.Context(), "a/empty"); err != nil {
		t.Errorf("Delete(a/empty) = %v; want nil", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a", "empty")); err != nil {
		t.Errorf("Delete of a folder's key removed the folder: %v", err)
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	tmp := filepath.Join(dir, tmpName)
	if err := os.Mkdir(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{
		"blob-fresh": 0, "blob-sleeping": abandoned - time.Hour, "blob-old": abandoned + time.Hour, "log-ahead": -time.Hour,
	} {
		file, when := filepath.Join(tmp, name), time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chtimes(file, when, when)); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, dir)
	if got := temps(t, dir); len(got) != 4 {
		t.Errorf("temporaries after Open: %q; want all, for who opens may only look", got)
	}
	if err := b.Put(t.Context(), "a", store.Bytes(nil)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(temps(t, dir), " "); got != "blob-fresh blob-sleeping log-ahead" {
		t.Errorf("temporaries after a write: %s; want all but blob-old", got)
	}
}

// TestFailedWrites fails each step of a write, as a full disk does. Nothing may be
// visible before the object has its name, nothing may be left over, and the next try
// has to succeed.
func TestFailedWrites(t *testing.T) {
	doc := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	writes := map[string]func(*Bucket) error{
		"blob": func(b *Bucket) error { return b.Put(t.Context(), "a/b", store.Bytes(doc)) },
		"log":  func(b *Bucket) error { return b.Create(t.Context(), "a/b", doc) },
	}
	for kind, write := range writes {
		for _, step := range []string{".tmp", ".half", ".fsynced", ".linked", ".dirsynced"} {
			t.Run(kind+step, func(t *testing.T) {
				dir := t.TempDir()
				b := open(t, dir)
				reached := false
				b.hooks.Point = func(point, _ string) error {
					if point != kind+step {
						return nil
					}
					reached = true
					return syscall.ENOSPC
				}
				if err := write(b); !errors.Is(err, syscall.ENOSPC) || !reached {
					t.Fatalf("write = %v, point reached: %v; want ENOSPC", err, reached)
				}
				named := step == ".linked" || step == ".dirsynced"
				if got := keys(t, b); (len(got) == 1) != named {
					t.Errorf("List = %q; named before the failure: %v", got, named)
				}
				if got := temps(t, dir); len(got) != 0 {
					t.Errorf("temporaries left: %q", got)
				}
				b.hooks.Point = nil
				if err := write(b); err != nil {
					t.Errorf("second write = %v; want nil", err)
				}
			})
		}
	}
}

// TestFileTooLarge has the kernel refuse a write in the middle of a file.
func TestFileTooLarge(t *testing.T) {
	if os.Getenv(childEnv) == "too large" {
		limitFileSize(t, 64<<10)
		b := open(t, os.Getenv(childDirEnv))
		err := b.Put(t.Context(), "a/b", store.Bytes(make([]byte, 1<<20)))
		if !errors.Is(err, syscall.EFBIG) {
			t.Errorf("Put = %v; want EFBIG", err)
		}
		return
	}
	dir := t.TempDir()
	if out, err := child(t, "too large", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if b := open(t, dir); len(keys(t, b)) != 0 || len(temps(t, dir)) != 0 {
		t.Errorf("left: %q and temporaries %q", keys(t, b), temps(t, dir))
	}
}

func TestFolderRemovedMeanwhile(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	put := func() error { return b.Put(t.Context(), "a/b/c", store.Bytes([]byte("x"))) }
	if err := put(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", tmpName} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		first, second := put(), put()
		if second != nil {
			t.Errorf("Put after %s was removed = %v, then %v; want nil the second time", name, first, second)
		}
	}
}

func TestReadOnlyFolder(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).Put(t.Context(), "a", store.Bytes([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{tmpName, "."} {
		if err := os.Chmod(filepath.Join(dir, name), 0o555); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Chmod(dir, 0o755)
	if os.Getuid() == 0 {
		// Root may write everywhere, unless this thread opens files as somebody else.
		const nobody = 65534
		if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
			t.Fatal(err)
		}
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := syscall.Setfsuid(nobody); err != nil {
			t.Fatal(err)
		}
		defer syscall.Setfsuid(0)
	}
	b := open(t, dir)
	if r, err := b.Get(t.Context(), "a", 0, -1); err != nil {
		t.Errorf("Get = %v; want nil", err)
	} else {
		r.Close()
	}
	if err := b.Put(t.Context(), "b", store.Bytes(nil)); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Put = %v; want fs.ErrPermission", err)
	}
}

// TestReaderOutlivesDelete: who has an object open reads it to its end.
func TestReaderOutlivesDelete(t *testing.T) {
	b := open(t, t.TempDir())
	want := bytes.Repeat([]byte("x"), 300_000)
	if err := b.Put(t.Context(), "a", store.Bytes(want)); err != nil {
		t.Fatal(err)
	}
	r, err := b.Get(t.Context(), "a", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := b.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v; want all %d", len(got), err, len(want))
	}
}

// TestNothingLeftAfterRaces has several buckets on one folder, as several processes do.
func TestNothingLeftAfterRaces(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for n := range 8 {
		b := open(t, dir)
		all.Go(func() {
			for round := range 20 {
				key := fmt.Sprintf("log/%d", round)
				err := b.Create(t.Context(), key, fmt.Appendf(nil, "%d", n))
				if err != nil && !errors.Is(err, store.ErrConflict) {
					t.Errorf("Create = %v", err)
				}
				if err := b.Put(t.Context(), "blobs/same", store.Bytes([]byte("same"))); err != nil {
					t.Errorf("Put = %v", err)
				}
			}
		})
	}
	all.Wait()
	if got := keys(t, open(t, dir)); len(got) != 21 {
		t.Errorf("List = %q; want 20 entries and a blob", got)
	}
	if got := temps(t, dir); len(got) != 0 {
		t.Errorf("temporaries left: %q", got)
	}
}
