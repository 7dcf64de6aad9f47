package repack

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

func appended(t *testing.T, base []byte, adds ...Add) ([]byte, Stats) {
	t.Helper()
	var out bytes.Buffer
	s, err := Append(context.Background(), bytes.NewReader(base), int64(len(base)), treeOf(t, base), adds, &out, Options{Epoch: 9})
	if err != nil {
		t.Fatal(err)
	}
	if s.Written != int64(out.Len()) || out.Len()%initrd.Align != 0 {
		t.Errorf("%d bytes, the stats say %d", out.Len(), s.Written)
	}
	return out.Bytes(), s
}

func weak(label, name string) Add {
	a := add(label, dir(name))
	a.Weak = true
	return a
}

func checkTree(t *testing.T, b []byte, minus, plus string) {
	t.Helper()
	lines := map[string]bool{}
	for line := range strings.Lines(show(t, b)) {
		lines[line] = true
	}
	if d := cmp.Diff(wanted(minus, plus), lines); d != "" {
		t.Errorf("tree (-want +got):\n%s", d)
	}
}

func TestAppend(t *testing.T) {
	base := pipe(t, plain(t, small...), "gzip -9c")
	got, s := appended(t, base, weak("r:0", "doc"), weak("r:0", "sh"), add("r:1", reg("doc/x", "new")), add("r:2", sym("usr/l", "/")))
	if !bytes.HasPrefix(got, base) || s.Archives != 2 || s.Reused != int64(len(base)) || s.Added != 3 {
		t.Errorf("the base does not stay as it is, or the stats are wrong: %+v", s)
	}
	checkTree(t, got, "doc/x", "doc/x 100644 0:0 time 9 \"new\"\nusr 40755 0:0 time 9\nusr/l 120777 0:0 time 9 -> /\n")
}

// Edits go into the overlay that is there, and leave what is before it alone.
func TestAppendToOverlay(t *testing.T) {
	early := pad(plain(t, dir("kernel"), reg("kernel/x", "ucode")))
	base := append(early, pad(pipe(t, plain(t, small...), "gzip -9c"))...)
	got, s := appended(t, base, add("r:1", reg("doc/x", "one")), add("r:1", reg("doc/z", "z")))
	if s.Archives != 3 {
		t.Fatalf("%d archives, want the early one, the base and the overlay", s.Archives)
	}
	for _, body := range []string{"two", "three", "four"} {
		if got, s = appended(t, got, weak("r:0", "doc"), add("r:1", reg("doc/x", body)), add("r:2", reg("doc/new/"+body, ""))); s.Archives != 3 {
			t.Fatalf("%d archives after %q", s.Archives, body)
		}
		if !bytes.HasPrefix(got, base) {
			t.Fatal("the base does not stay as it is")
		}
	}
	checkTree(t, got, "doc/x", `kernel 40755 0:0 time 0
kernel/x 100644 0:0 time 0 "ucode"
doc/x 100644 0:0 time 9 "four"
doc/z 100644 0:0 time 9 "z"
doc/new 40755 0:0 time 9
doc/new/two 100644 0:0 time 9 ""
doc/new/three 100644 0:0 time 9 ""
doc/new/four 100644 0:0 time 9 ""
`)
}

// A kernel writes a file into the inode that is there, all names of it, and leaves the
// number of a node as it is.
func TestAppendOverHardLink(t *testing.T) {
	base := pipe(t, plain(t, small...), "gzip -9c")
	const plus = "bin/a 100755 0:0 time 9 \"own\"\nbin/b 104755 0:0 time 0 \"data\"\ndev/console 20600 0:0 time 9 204:64\n"
	got := base
	for range 3 { // the second and third time into the overlay
		got, _ = appended(t, got, add("r:1", file{newc.Entry{Name: "bin/a", Mode: newc.Regular | 0o755}, "own"}), add("r:2", char("dev/console", 204, 64)))
		checkTree(t, got, "bin/ dev/console", plus)
	}
}

func TestAppendThroughSymlink(t *testing.T) {
	private := file{newc.Entry{Name: "usr/bin/x", Mode: newc.Dir | 0o700}, ""}
	base := plain(t, dir("usr"), dir("usr/bin"), private, sym("bin", "usr/bin"))
	got, _ := appended(t, base, weak("r:0", "bin"), weak("r:0", "bin/x"), add("r:1", reg("bin/x/f", "")))
	const want = "bin 120777 0:0 time 0 -> usr/bin\nusr 40755 0:0 time 0\nusr/bin 40755 0:0 time 0\nusr/bin/x 40700 0:0 time 0\nusr/bin/x/f 100644 0:0 time 9 \"\"\n"
	if d := cmp.Diff(want, show(t, got)); d != "" {
		t.Errorf("tree (-want +got):\n%s", d)
	}
}

func TestAppendRefused(t *testing.T) {
	base := pipe(t, plain(t, small...), "gzip -9c")
	for want, adds := range map[string][]Add{
		"r:1: takes the place of the folder doc, which has doc/sub in it": {add("r:1", reg("doc", ""))},
		"r:1: etc is a folder here and none in the base":                  {weak("r:1", "etc")},
		"r:1: etc/f lies below etc, which is no folder":                   {add("r:1", reg("etc/f", ""))},
	} {
		_, err := Append(context.Background(), bytes.NewReader(base), int64(len(base)), treeOf(t, base), adds, &bytes.Buffer{}, Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	for want, b := range map[string][]byte{
		"archive 1: ": base[:len(base)/2],
		"archive 2: ": append(pad(bytes.Clone(base)), "damage"...),
	} {
		_, err := Append(context.Background(), bytes.NewReader(b), int64(len(b)), treeOf(t, b), nil, &bytes.Buffer{}, Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestWeakFolder(t *testing.T) {
	base := plain(t, small...)
	got, _, err := repack(base, Edits{Add: []Add{weak("r:1", "doc"), weak("r:1", "sh"), weak("r:1", "new")}}, Options{Epoch: 9, Format: codec.Zstd})
	if err != nil {
		t.Fatal(err)
	}
	checkTree(t, got, "", "new 40755 0:0 time 9\n")
}

func treeOf(t *testing.T, b []byte) *initrd.Tree {
	t.Helper()
	tree, err := initrd.ReadTree(bytes.NewReader(b), initrd.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}
