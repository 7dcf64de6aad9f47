package recipes

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
)

func labLock() *Lock {
	firmware, err := store.ParseHex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	if err != nil {
		panic(err)
	}
	return &Lock{map[string]Pin{
		"kernel": {
			Kind: "module", From: "github.com/gokrazy/kernel.rpi@v0.0.0-20251127164438-9778ec0261de",
			Version: "v0.0.0-20251127164438-9778ec0261de", Sum: "h1:abc=", Digest: store.Sum([]byte("kernel")), Size: 46051840,
		},
		"uroot": {
			Kind: "module", From: "github.com/u-root/u-root@v0.16.0", Version: "v0.16.0", Sum: "h1:def=", Digest: store.Sum([]byte("uroot")), Size: 1,
		},
		"firmware": {Kind: "url", From: "https://example.org/firmware.tar.gz", Digest: firmware},
		"tree":     {Kind: "dir", From: "tree", Digest: store.Sum([]byte("tree")), Size: 4},
		"archive":  {Kind: "file", From: "rootfs.cpio.gz", Digest: store.Sum(nil)},
	}}
}

func TestLockRoundTrip(t *testing.T) {
	t.Chdir(t.TempDir())
	want := labLock()
	for range 2 { // the second time over the first
		if err := want.Write("pi4.lock"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := LoadLock("pi4.lock")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("LoadLock (-want +got):\n%s", diff)
	}
	if entries, _ := os.ReadDir("."); len(entries) != 1 {
		t.Errorf("Write left %v behind", entries)
	}
	if info, _ := os.Stat("pi4.lock"); info.Mode().Perm() != 0o644 {
		t.Errorf("mode %o; want 644", info.Mode().Perm())
	}
}

func TestLockText(t *testing.T) {
	l := &Lock{map[string]Pin{"b": {Kind: "dir", From: "b", Digest: store.Sum(nil)}, "a": {Kind: "module", From: "x.org/a@v1.0.0", Version: "v1.0.0", Sum: "h1:a=", Digest: store.Sum(nil), Size: 3}}}
	want := `# What the recipe of this name is built from, written by "piimg lock". Commit it and do not edit it.

version = 1

[sources.a]
kind    = "module"
from    = "x.org/a@v1.0.0"
version = "v1.0.0"
sum     = "h1:a="
digest  = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
size    = 3

[sources.b]
kind    = "dir"
from    = "b"
digest  = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
size    = 0
`
	if diff := cmp.Diff(want, string(l.text())); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

func TestLockFile(t *testing.T) {
	for in, want := range map[string]string{"recipes/x.toml": "recipes/x.lock", "x": "x.lock"} {
		if got := LockFile(in); got != want {
			t.Errorf("LockFile(%s) = %s; want %s", in, got, want)
		}
	}
}

func TestLockMistakes(t *testing.T) {
	t.Chdir(t.TempDir())
	const again = "\n  hint: make the file anew with \"piimg lock\"\n"
	good := string(labLock().text())
	for _, c := range []struct{ name, old, new, want string }{
		{"version", "version = 1\n", "version = 2\n", "x.lock:3: version: this piimg reads version 1 only\n  hint: use the piimg that wrote it, or a newer one\n"},
		{"no version", "version = 1\n", "\n", "x.lock:1: version: is missing" + again},
		{"unknown key", "size    = 46051840", "size    = 46051840\nmode = 1", "x.lock:24: sources.kernel.mode: unknown key\n  hint: known keys here: digest, from, kind, size, sum, version\n"},
		{"kind", `"dir"`, `"folder"`, "x.lock:26: sources.tree.kind: unknown value \"folder\"\n  hint: known values: deb, dir, file, git, image, module, url\n"},
		{"sum", `"h1:abc="`, `"abc"`, "x.lock:21: sources.kernel.sum: \"abc\" does not start with h1:\n"},
		{"module without sum", "sum     = \"h1:abc=\"\n", "\n", "x.lock:17: sources.kernel.sum: is missing" + again},
		{"digest", store.Sum([]byte("tree")).String(), "sha256:12", "x.lock:28: sources.tree.digest: digest \"12\" is not 64 lower-case hexadecimal digits\n"},
		{"size", "size    = 4\n", "size    = -4\n", "x.lock:29: sources.tree.size: -4 is not between 0 and 4611686018427387904\n"},
		{"no size", "size    = 4\n", "\n", "x.lock:25: sources.tree.size: is missing" + again},
	} {
		if strings.Count(good, c.old) != 1 {
			t.Fatalf("%s: the lock has %q not once", c.name, c.old)
		}
		write(t, "x.lock", strings.Replace(good, c.old, c.new, 1))
		_, err := LoadLock("x.lock")
		if diff := cmp.Diff(c.want, said(err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	if _, err := LoadLock("none.lock"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("LoadLock of no file = %v; want fs.ErrNotExist", err)
	}
}

func TestStale(t *testing.T) {
	lab(t)
	r := mustLoad(t, "pi4.toml")
	if got := labLock().Stale(r); got != nil {
		t.Errorf("Stale = %v; want none", got)
	}
	l := labLock()
	delete(l.Sources, "tree")
	l.Sources["old"] = Pin{}
	change(l, "kernel", func(p *Pin) { p.From = "github.com/gokrazy/kernel.rpi@v1.0.0" })
	change(l, "archive", func(p *Pin) { p.Kind = "url" })
	change(l, "firmware", func(p *Pin) { p.Digest = store.Sum([]byte("other")) })
	want := []Stale{
		{"archive", Changed, "was pinned as the url rootfs.cpio.gz, and the recipe says the path rootfs.cpio.gz"},
		{"firmware", Changed, "was pinned with another sha256 than the recipe says"},
		{"kernel", Changed, "was pinned as the module github.com/gokrazy/kernel.rpi@v1.0.0, and the recipe says the module github.com/gokrazy/kernel.rpi@v0.0.0-20251127164438-9778ec0261de"},
		{"old", Superfluous, "is pinned, and the recipe does not declare it"},
		{"tree", Missing, "is not pinned"},
	}
	if diff := cmp.Diff(want, l.Stale(r)); diff != "" {
		t.Errorf("Stale (-want +got):\n%s", diff)
	}
	var none *Lock
	if got := len(none.Stale(r)); got != len(r.Sources) {
		t.Errorf("no lock: %d stale; want %d", got, len(r.Sources))
	}
}

func change(l *Lock, name string, f func(*Pin)) {
	p := l.Sources[name]
	f(&p)
	l.Sources[name] = p
}

func TestDigest(t *testing.T) {
	lab(t)
	r, l := mustLoad(t, "pi4.toml"), labLock()
	d := r.Digest(l)
	if again := mustLoad(t, "./pi4.toml").Digest(labLock()); again != d {
		t.Errorf("Digest = %s and then %s", d, again)
	}
	if r.Digest(nil) == d {
		t.Error("the pins are not part of the digest")
	}
	l.Sources["other"] = Pin{Kind: "dir"}
	if r.Digest(l) != d {
		t.Error("pins of other recipes are part of the digest")
	}
	change(l, "tree", func(p *Pin) { p.Digest = store.Sum([]byte("edited")) })
	if r.Digest(l) == d {
		t.Error("the content of a source is no part of the digest")
	}
	r.Epoch++
	if r.Digest(labLock()) == d {
		t.Error("the epoch is no part of the digest")
	}
}
