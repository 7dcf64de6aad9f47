package serve_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"piimg/store"
	"piimg/store/serve"
)

// TestSharedFiles opens one file many times: it costs the descriptors of its parts once.
func TestSharedFiles(t *testing.T) {
	w := newWorld(t)
	w.promote("dev", "v1")
	want := text("initramfs.gz", "v1") // stored in two parts
	before := openFiles(t)
	var open []*serve.File
	for range 100 {
		f, err := w.open("91cdf03d/initramfs.gz")
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, f)
		if got := string(bytes.Join(f.Memory(), nil)); got != want {
			t.Fatalf("memory is %q, want %q", got, want)
		}
	}
	if n := openFiles(t) - before; n > 2 {
		t.Errorf("%d more open files for 100 transfers of a file in two parts", n)
	}
	for _, f := range open {
		if err := errors.Join(f.Check(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if n := openFiles(t) - before; n > 0 {
		t.Errorf("%d more open files after the last transfer", n)
	}
}

// TestChangedFile changes a cached file under a transfer that has it open.
func TestChangedFile(t *testing.T) {
	w := newWorld(t)
	w.promote("dev", "v1")
	f, err := w.open("91cdf03d/vmlinuz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Check(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(w.cached(store.Sum([]byte(text("vmlinuz", "v1")))), 10); err != nil {
		t.Fatal(err)
	}
	if err := f.Check(); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("after the file was cut: %v, want that it is damaged", err)
	}
	w.want("91cdf03d/vmlinuz", "v1") // fetched anew, beside the transfer that has the old one
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
