package repack

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/initrd"
)

// settled makes edits as the recipe and the command do: behind the base where that does it.
func settled(t *testing.T, base []byte, e Edits, rewrite bool) ([]byte, error) {
	t.Helper()
	tree := treeOf(t, base)
	s, err := e.Settle(tree)
	if err != nil {
		return nil, err
	}
	if rewrite || s.Rewrites != "" {
		got, _, err := repack(base, s.Edits, Options{Epoch: 9})
		return got, err
	}
	var out bytes.Buffer
	_, err = Append(t.Context(), bytes.NewReader(base), int64(len(base)), tree, s.Add, &out, Options{Epoch: 9})
	return out.Bytes(), err
}

// What is added below a symlink is there in the end, whatever the link leads to and
// whichever of them comes first.
func TestAddBelowSymlinks(t *testing.T) {
	base := plain(t, dir("usr"), dir("usr/bin"), sym("bin", "usr/bin"), sym("lib", "usr/lib"), sym("opt", "../../var/./opt"), sym("two", "/one"), sym("one", "lib"))
	const was = "bin 120777 0:0 time 0 -> usr/bin\nlib 120777 0:0 time 0 -> usr/lib\none 120777 0:0 time 0 -> lib\nopt 120777 0:0 time 0 -> ../../var/./opt\ntwo 120777 0:0 time 0 -> /one\nusr 40755 0:0 time 0\nusr/bin 40755 0:0 time 0\n"
	made := func(paths ...string) string {
		var s strings.Builder
		for _, p := range paths {
			s.WriteString(p + " 40755 0:0 time 9\n")
		}
		return s.String()
	}
	for name, tt := range map[string]struct {
		edits Edits
		plus  string
		err   string
	}{
		"to a folder":      {Edits{Add: []Add{add("r:1", reg("bin/x", "x"))}}, "usr/bin/x 100644 0:0 time 9 \"x\"\n", ""},
		"to nothing":       {Edits{Add: []Add{add("r:1", reg("lib/x", "x"))}}, made("usr/lib") + "usr/lib/x 100644 0:0 time 9 \"x\"\n", ""},
		"upwards":          {Edits{Add: []Add{add("r:1", reg("opt/d/x", "x"))}}, made("var", "var/opt", "var/opt/d") + "var/opt/d/x 100644 0:0 time 9 \"x\"\n", ""},
		"through links":    {Edits{Add: []Add{add("r:1", reg("two/x", "x"))}}, made("usr/lib") + "usr/lib/x 100644 0:0 time 9 \"x\"\n", ""},
		"folder with both": {Edits{Add: []Add{weak("r:1", "lib"), weak("r:1", "lib/d"), add("r:1", reg("lib/d/x", "x")), weak("r:1", "usr"), weak("r:1", "usr/lib"), weak("r:1", "usr/lib/d"), add("r:1", reg("usr/lib/d/y", "y"))}}, made("usr/lib", "usr/lib/d") + "usr/lib/d/x 100644 0:0 time 9 \"x\"\nusr/lib/d/y 100644 0:0 time 9 \"y\"\n", ""},
		"link that is new": {Edits{Add: []Add{add("r:1", sym("a", "z/q")), add("r:2", reg("a/x", "x"))}}, "a 120777 0:0 time 9 -> z/q\n" + made("z", "z/q") + "z/q/x 100644 0:0 time 9 \"x\"\n", ""},
		"mode by both":     {Edits{Add: []Add{add("r:1", reg("lib/x", "x"))}, Chmod: []Chmod{{"r:2", "lib/*", 0o600}}, Chown: []Chown{{"r:3", "usr/lib/x", 1, 2}}}, made("usr/lib") + "usr/lib/x 100600 1:2 time 9 \"x\"\n", ""},
		"the same twice":   {Edits{Add: []Add{add("r:1", reg("lib/x", "x")), add("r:2", reg("usr/lib/x", "y"))}}, "", "r:2: usr/lib/x is usr/lib/x, by way of a symlink, and r:1 adds that"},
		"in a circle":      {Edits{Add: []Add{add("r:1", sym("a", "b")), add("r:2", sym("b", "a")), add("r:3", reg("a/x", ""))}}, "", "r:3: a/x: more than 40 symlinks are above it"},
		"to the root":      {Edits{Add: []Add{add("r:1", sym("a", "..")), add("r:2", reg("a/x", "x"))}}, "a 120777 0:0 time 9 -> ..\nx 100644 0:0 time 9 \"x\"\n", ""},
		"below a file":     {Edits{Add: []Add{add("r:1", sym("a", "f")), add("r:2", reg("f", "")), add("r:3", reg("a/x", ""))}}, "", "r:3: f/x lies below f, which is no folder"},
	} {
		for _, rewrite := range []bool{false, true} {
			got, err := settled(t, base, tt.edits, rewrite)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("%s: error %v, want %q", name, err, tt.err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if d := cmp.Diff(lines(was+tt.plus), lines(show(t, got))); d != "" {
				t.Errorf("%s, rewritten: %v: tree (-want +got):\n%s", name, rewrite, d)
			}
		}
	}
}

func lines(s string) map[string]bool {
	all := map[string]bool{}
	for line := range strings.Lines(s) {
		all[line] = true
	}
	return all
}

// A link that is replaced or goes leads nowhere.
func TestAddInThePlaceOfSymlinks(t *testing.T) {
	base := plain(t, sym("lib", "usr/lib"))
	for name, e := range map[string]Edits{
		"replaced": {Add: []Add{add("r:1", dir("lib")), add("r:2", reg("lib/x", "x"))}},
		"removed":  {Remove: []Remove{{"r:1", "lib"}}, Add: []Add{add("r:2", reg("lib/x", "x"))}},
		"renamed":  {Rename: []Rename{{"r:1", "lib", "bil"}}, Add: []Add{add("r:2", reg("lib/x", "x"))}},
	} {
		got, err := settled(t, base, e, false)
		if err != nil || !strings.Contains(show(t, got), "lib/x 100644 0:0 time 9 \"x\"\n") || strings.Contains(show(t, got), "usr/lib/x") {
			t.Errorf("%s: %v, tree\n%s", name, err, show(t, got))
		}
	}
}

// GNU cpio passes over entries of another magic than the first one's.
func TestAddedEntriesHaveTheMagicOfTheArchive(t *testing.T) {
	base := everything(t, "crc")
	got, _, err := repack(base, Edits{Add: []Add{add("r:1", reg("new/file", "some content")), add("r:2", sym("new/link", "file"))}}, Options{Format: "none"})
	if err != nil {
		t.Fatal(err)
	}
	names := string(pipe(t, got, "cpio -t --quiet"))
	for _, want := range []string{"h/dev/console\n", "new\n", "new/file\n", "new/link\n"} {
		if !strings.Contains(names, want) {
			t.Errorf("GNU cpio does not list %q", want)
		}
	}
	if tree := treeOf(t, got); len(tree.Problems) > 0 {
		t.Error(tree.Problems)
	}
}

func TestAppendNothing(t *testing.T) {
	base := pipe(t, plain(t, small...), "gzip -9c")
	got, s := appended(t, base)
	if !bytes.Equal(got, append(bytes.Clone(base), make([]byte, initrd.Padding(int64(len(base))))...)) || s.Archives != 1 {
		t.Errorf("%d bytes in %d archives out of %d", len(got), s.Archives, len(base))
	}
}
