package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"piimg/store"
)

func TestMove(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	for _, key := range []string{"blobs/a", "quarantine/blobs/a.gc"} {
		if err := b.Put(t.Context(), key, store.Bytes([]byte(key))); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "blobs", "a"), long, long); err != nil {
		t.Fatal(err)
	}
	if err := b.Move(t.Context(), "blobs/a", "quarantine/blobs/a.gc"); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(keys(t, b), " "); got != "quarantine/blobs/a.gc" {
		t.Errorf("there is %s; want what was moved, alone", got)
	}
	info, err := b.Stat(t.Context(), "quarantine/blobs/a.gc")
	if err != nil || time.Since(info.Time) > time.Minute || string(read(t, b, info.Key)) != "blobs/a" {
		t.Errorf("it is %+v, %v; want the bytes of blobs/a, moved just now", info, err)
	}
	if err := b.Move(t.Context(), "blobs/a", "blobs/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there = %v; want fs.ErrNotExist", err)
	}
	for _, pair := range [][2]string{{"../a", "b"}, {"quarantine/blobs/a.gc", "tmp/b"}} {
		if err := b.Move(t.Context(), pair[0], pair[1]); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Move(%s, %s) = %v; want the key refused", pair[0], pair[1], err)
		}
	}
}

func TestAbort(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	if err := b.Put(t.Context(), "a", store.Bytes(nil)); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{"blob-old": 4 * time.Hour, "blob-new": time.Hour} {
		file, when := filepath.Join(dir, tmpName, name), time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chtimes(file, when, when)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := b.Abort(t.Context(), time.Now().Add(-2*time.Hour)); n != 1 || err != nil {
		t.Errorf("Abort = %d, %v; want 1", n, err)
	}
	if got := strings.Join(temps(t, dir), " "); got != "blob-new" {
		t.Errorf("left: %s", got)
	}
}
