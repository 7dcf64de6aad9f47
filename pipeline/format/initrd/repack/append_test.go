package repack

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
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

// Nobody else minds the trailer that an overlay is told by.
func TestOverlayIsAnArchiveToOthers(t *testing.T) {
	var b bytes.Buffer
	adds := []Add{add("r:1", reg("a", "text")), add("r:1", dir("d")), add("r:1", reg("d/f", ""))}
	if _, err := WriteOverlay(context.Background(), &b, treeOf(t, plain(t)), adds, Options{Format: codec.None}); err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{"cpio -it --quiet", "bsdtar -tf -", "busybox cpio -t"} {
		if got := strings.Fields(string(pipe(t, b.Bytes(), list))); !slices.Equal(got, []string{"a", "d", "d/f"}) {
			t.Errorf("%s: %q", list, got)
		}
	}
}

// What others have put behind a base stays as it is, too.
func TestAppendLeavesOtherArchives(t *testing.T) {
	base := append(pad(pipe(t, plain(t, small...), "gzip -9c")), pad(pipe(t, plain(t, reg("doc/z", "theirs")), "zstd -qc"))...)
	got, s := appended(t, base, add("r:1", reg("doc/x", "one")))
	if got, s = appended(t, got, add("r:1", reg("doc/w", "two"))); s.Archives != 3 || !bytes.HasPrefix(got, base) {
		t.Errorf("%d archives, or the base does not stay", s.Archives)
	}
	checkTree(t, got, "doc/x", "doc/x 100644 0:0 time 9 \"one\"\ndoc/w 100644 0:0 time 9 \"two\"\ndoc/z 100644 0:0 time 0 \"theirs\"\n")
}

// An lz4 frame has no end of its own: a kernel takes what follows for its next block.
func TestAppendBehindEveryFormat(t *testing.T) {
	for _, squeeze := range []string{"cat", "gzip -9c", "zstd -qc", "xz -c --check=crc32", "lzma -c", "bzip2 -c", "lz4 -lqc"} {
		for n := range 4 { // lengths that end everywhere
			base := pipe(t, plain(t, append(small, reg("doc/z", strings.Repeat("z", n)))...), squeeze)
			got, _ := appended(t, base, add("r:1", reg("doc/x", "one")))
			if !bytes.HasPrefix(got, base) {
				t.Errorf("%s: the base does not stay", squeeze)
			}
			checkTree(t, got, "doc/x", fmt.Sprintf("doc/x 100644 0:0 time 9 \"one\"\ndoc/z 100644 0:0 time 0 %q\n", strings.Repeat("z", n)))
		}
	}
}

// A folder that takes the place of a symlink has nothing in it that the symlink led to.
func TestAppendFolderOverSymlink(t *testing.T) {
	base := plain(t, dir("usr"), dir("usr/lib"), dir("usr/lib/x"), sym("lib", "usr/lib"))
	once, _ := appended(t, base, add("r:1", dir("lib")), weak("r:1", "lib/x"), add("r:1", reg("lib/x/f", "")))
	twice, _ := appended(t, base, add("r:1", dir("lib")))
	twice, _ = appended(t, twice, weak("r:1", "lib/x"), add("r:1", reg("lib/x/f", "")))
	for _, got := range [][]byte{once, twice} {
		if tree := treeOf(t, got); tree.Lookup("lib/x/f") == nil || len(tree.Problems) > 0 {
			t.Errorf("tree is\n%s", show(t, got))
		}
	}
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

// Ten edits one after another, at random out of what collides: the tree is the one that an
// archive for each would give, and that repacking gives, and there are two archives in the
// end.
func TestAppendInAChain(t *testing.T) {
	base := pipe(t, plain(t, small...), "gzip -9c")
	for seed := range uint64(40) {
		o := Options{Epoch: 9, Format: codec.None}
		if seed%20 == 0 {
			o.Format = codec.Gzip
		}
		rnd := rand.New(rand.NewPCG(seed, 1))
		merged, apart := base, base
		for n := range 10 {
			edits, err := Edits{Add: randomAdds(rnd, n)}.Settle(treeOf(t, apart))
			if err != nil {
				continue
			}
			at := fmt.Sprintf("seed %d, edit %d", seed, n)
			if one, all, ok := appendBothWays(t, at, merged, apart, edits.Edits, o); ok {
				merged, apart = all, append(pad(bytes.Clone(apart)), one...)
				if d := cmp.Diff(show(t, apart), show(t, merged)); d != "" {
					t.Fatalf("%s: -behind +into the overlay:\n%s", at, d)
				}
			}
		}
		if n := len(treeOf(t, merged).Members); n > 2 || !bytes.HasPrefix(merged, base) {
			t.Errorf("seed %d: %d archives, or the base does not stay", seed, n)
		}
	}
}

// appendBothWays answers an archive to put behind apart, and merged with it; ok is false
// where both are refused. Repacking apart gives the same tree, but for the times of folders.
func appendBothWays(t *testing.T, at string, merged, apart []byte, e Edits, o Options) (one, all []byte, ok bool) {
	t.Helper()
	var behind, into bytes.Buffer
	_, err := WriteOverlay(context.Background(), &behind, treeOf(t, apart), e.Add, o)
	_, intoErr := Append(context.Background(), bytes.NewReader(merged), int64(len(merged)), treeOf(t, merged), e.Add, &into, o)
	anew, _, anewErr := repack(apart, e, o)
	if (err == nil) != (intoErr == nil) || (err == nil) != (anewErr == nil) {
		t.Fatalf("%s: %v behind, %v into the overlay, %v repacked", at, err, intoErr, anewErr)
	}
	if err != nil {
		return nil, nil, false
	}
	times := regexp.MustCompile(` time \d`)
	want := times.ReplaceAllString(show(t, append(pad(bytes.Clone(apart)), behind.Bytes()...)), "")
	if d := cmp.Diff(want, times.ReplaceAllString(show(t, anew), "")); d != "" {
		t.Fatalf("%s: -behind +repacked:\n%s", at, d)
	}
	return behind.Bytes(), into.Bytes(), true
}

// randomAdds are a few files, folders, symlinks and nodes with names that small and other
// edits have, too.
func randomAdds(rnd *rand.Rand, n int) []Add {
	var adds []Add
	for i, at := range rnd.Perm(7)[:1+rnd.IntN(3)] {
		name := []string{"bin/a", "bin/b", "doc", "doc/x", "new", "new/f", "dev/console"}[at]
		label := fmt.Sprintf("r:%d.%d", n, i)
		switch rnd.IntN(5) {
		case 0:
			adds = append(adds, add(label, dir(name)))
		case 1:
			adds = append(adds, add(label, sym(name, "doc")))
		case 2:
			adds = append(adds, add(label, char(name, 5, uint32(n%2))))
		case 3:
			adds = append(adds, weak(label, name))
		default:
			adds = append(adds, add(label, reg(name, strings.Repeat(label, rnd.IntN(3)))))
		}
	}
	return adds
}
