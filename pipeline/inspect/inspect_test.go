package inspect_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"piimg/pipeline/inspect"
	"piimg/store"
)

// side is an image of these files; a file of two parts has them separated by "|".
func side(name string, files map[string]string) inspect.Side {
	s := inspect.Side{Name: name, Kernel: "6.12", Files: fstest.MapFS{}}
	for path, text := range files {
		var f store.File
		f.Path, f.Mode = path, 0o644
		for part := range bytes.SplitSeq([]byte(text), []byte("|")) {
			f.Parts = append(f.Parts, store.Bytes(part).Blob())
		}
		whole := store.Bytes(bytes.ReplaceAll([]byte(text), []byte("|"), nil))
		f.Digest, f.Size = whole.Digest, whole.Size
		s.List = append(s.List, f)
		s.Files.(fstest.MapFS)[path] = &fstest.MapFile{Data: []byte(text)}
	}
	return s
}

func TestFilesAndBytes(t *testing.T) {
	old := side("a", map[string]string{"same": "1", "gone": "2", "grown": "base|old", "mode": "m"})
	new := side("b", map[string]string{"same": "1", "grown": "base|newer", "fresh": "333", "mode": "m"})
	for n := range new.List {
		if new.List[n].Path == "mode" {
			new.List[n].Mode = 0o755
		}
	}
	new.Kernel = "6.13"
	d, err := inspect.Compare(old, new)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range d.Files {
		got = append(got, string(f.Kind)+" "+f.Path)
	}
	if diff := cmp.Diff([]string{"added fresh", "removed gone", "changed grown", "mode mode"}, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if d.Fetch != 3+5 || d.Boot != 3+9 {
		t.Errorf("%d bytes for a front end, %d for a board, want 8 and 12", d.Fetch, d.Boot)
	}
	if d.Kernel == nil || *d.Kernel != (inspect.Change{Old: "6.12", New: "6.13"}) {
		t.Errorf("kernel %v", d.Kernel)
	}
}

func TestSameImagesDoNotDiffer(t *testing.T) {
	a := side("a", map[string]string{"config.txt": "x"})
	d, err := inspect.Compare(a, a)
	if err != nil || len(d.Files)+len(d.Texts)+len(d.Trees) != 0 || d.Kernel != nil || d.Fetch != 0 {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestTextIsShownAsText(t *testing.T) {
	d, err := inspect.Compare(side("a", map[string]string{"config.txt": "one\ntwo\n"}), side("b", map[string]string{"config.txt": "one\n2\n"}))
	want := []inspect.TextChange{{Path: "config.txt", Diff: "--- a\n+++ b\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"}}
	if diff := cmp.Diff(want, d.Texts); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// compile makes a device tree with dtc.
func compile(t *testing.T, source string) string {
	t.Helper()
	cmd := exec.Command("dtc", "-q", "-I", "dts", "-O", "dtb")
	cmd.Stdin = bytes.NewReader([]byte("/dts-v1/; / {" + source + "};"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("dtc: %v", err)
	}
	return string(out)
}

func TestTreesAreShownByNode(t *testing.T) {
	old := compile(t, `model = "Pi"; soc { uart { status = "okay"; reg = <1 2>; off; }; gone {}; };`)
	new := compile(t, `model = "Pi"; soc { uart { status = "disabled"; reg = <1 0x20>; raw = [01 02 03]; }; fresh { x = "a", "b"; }; };`)
	d, err := inspect.Compare(side("a", map[string]string{"x.dtb": old}), side("b", map[string]string{"x.dtb": new}))
	if err != nil || len(d.Trees) != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	want := []inspect.NodeChange{
		{Node: "/soc/fresh", Kind: inspect.Added},
		{Node: "/soc/gone", Kind: inspect.Removed},
		{Node: "/soc/uart", Property: "off", Kind: inspect.Removed},
		{Node: "/soc/uart", Property: "raw", Kind: inspect.Added, New: "[01 02 03]"},
		{Node: "/soc/uart", Property: "reg", Kind: inspect.Changed, Old: "<0x1 0x2>", New: "<0x1 0x20>"},
		{Node: "/soc/uart", Property: "status", Kind: inspect.Changed, Old: `"okay"`, New: `"disabled"`},
	}
	if diff := cmp.Diff(want, d.Trees[0].Nodes, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
}

// archive is a cpio archive made by GNU cpio of a folder that the script fills.
func archive(t *testing.T, script string) []byte {
	t.Helper()
	cmd := exec.Command("sh", "-c", "umask 022; cd \"$1\" && "+script+" && find . -mindepth 1 | sort | cpio -o -H newc --quiet --owner 0:0", "sh", t.TempDir())
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cpio: %v", err)
	}
	return out
}

func source(b []byte) inspect.Source {
	return inspect.Source{Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
}

func TestEntriesAreWhatTheKernelHas(t *testing.T) {
	b := slices.Concat(
		archive(t, "mkdir etc && echo base > etc/motd && ln etc/motd etc/hard && ln -s motd etc/link && mknod console c 5 1"),
		archive(t, "mkdir etc && echo over > etc/motd && chmod 600 etc/motd"))
	entries, problems, err := inspect.Entries(source(b), true)
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Line())
	}
	want := []string{
		"c0644     0:0           5,1 1 console",
		"d0755     0:0             0 2 etc",
		"-0600     0:0             5 1 etc/hard", // the kernel writes into the file that both names are of
		"l0777     0:0             4 1 etc/link -> motd",
		"-0600     0:0             5 2 etc/motd",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("entries (-want +got):\n%s", d)
	}
	for path, text := range map[string]string{"etc/motd": "over\n", "etc/hard": "over\n"} {
		var out bytes.Buffer
		if _, err := inspect.Cat(source(b), path, &out); err != nil || out.String() != text {
			t.Errorf("cat %s: %q, %v", path, out.String(), err)
		}
	}
	for _, path := range []string{"etc/link", "etc", "none"} {
		if _, err := inspect.Cat(source(b), path, io.Discard); err == nil {
			t.Errorf("cat %s gave something", path)
		}
	}
}

func TestEntriesThatDiffer(t *testing.T) {
	list := func(script string) []inspect.Entry {
		e, _, err := inspect.Entries(source(archive(t, script)), true)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	old := list("echo 1 > same; echo 1 > text; echo 1 > mode; echo 1 > gone; ln -s a link; echo 1 > kind")
	new := list("echo 1 > same; echo 22 > text; echo 1 > mode; chmod 755 mode; ln -s b link; mkdir kind; echo 1 > fresh")
	var got []string
	for _, c := range inspect.CompareEntries(old, new) {
		got = append(got, strings.TrimSpace(string(c.Kind)+" "+c.Path+" "+c.What))
	}
	want := []string{
		"added fresh", "removed gone", "changed kind type - → d, mode 0644 → 0755, content (2 → 0 bytes)",
		"changed link target a → b", "changed mode mode 0644 → 0755", "changed text content (2 → 3 bytes)",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("changes (-want +got):\n%s", d)
	}
}

// A truncated archive lists what a kernel would have of it, and says so.
func TestDamageIsAProblemAndNoError(t *testing.T) {
	b := archive(t, "echo 1 > a; head -c 10000 /dev/zero > b")
	entries, problems, err := inspect.Entries(source(b[:2000]), true)
	if err != nil || len(problems) == 0 || len(entries) == 0 || entries[0].Path != "a" {
		t.Errorf("%+v, %v, %v", entries, problems, err)
	}
}

// Of a damaged initramfs what stands before the damage is compared, and it is said.
func TestDamageIsSaidOfADifference(t *testing.T) {
	whole := archive(t, "echo 1 > a; head -c 10000 /dev/zero > b; echo 1 > c")
	old, new := side("old", map[string]string{"i": string(whole)}), side("new", map[string]string{"i": string(whole[:2000])})
	old.Initramfs, new.Initramfs = "i", "i"
	d, err := inspect.Compare(old, new)
	if err != nil || len(d.Damage) != 1 || !strings.HasPrefix(d.Damage[0], "new: archive 1: ") || len(d.Entries) == 0 {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err = inspect.Compare(old, old); err != nil || d.Damage != nil {
		t.Errorf("%+v, %v", d, err)
	}
}

// What follows an archive without a trailer is there, as it is for a kernel.
func TestContentBehindAnArchiveWithoutTrailer(t *testing.T) {
	first := archive(t, "echo 1 > a")
	at := bytes.Index(first, []byte("070701"+strings.Repeat("0", 32)+"00000001")) // the header of the trailer
	b := append(first[:at:at], archive(t, "echo two > b")...)
	entries, problems, err := inspect.Entries(source(b), true)
	if err != nil || len(problems) != 0 || len(entries) != 2 {
		t.Errorf("plain, one runs into the other: %+v, %v, %v", entries, problems, err)
	}
	var packed bytes.Buffer
	for _, part := range [][]byte{first[:at], archive(t, "echo two > b")} {
		z := gzip.NewWriter(&packed)
		_, _ = z.Write(part)
		_ = z.Close()
	}
	var out bytes.Buffer
	problems, err = inspect.Cat(source(packed.Bytes()), "b", &out)
	if err != nil || out.String() != "two\n" || len(problems) != 1 || !problems[0].Cut {
		t.Errorf("%q, %v, %v", out.String(), problems, err)
	}
}
