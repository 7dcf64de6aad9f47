package overlay_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/initrd/overlay"
	"piimg/pipeline/format/newc"
)

// body is an entry with its content.
type body struct {
	newc.Entry
	text string
}

func archive(t *testing.T, all []body) []byte {
	t.Helper()
	var b bytes.Buffer
	w := newc.NewWriter(&b)
	for _, e := range all {
		e.Size = int64(len(e.text))
		if err := w.WriteEntry(e.Entry, strings.NewReader(e.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// rootfs has everything that a checkout cannot hold, and names that a line cannot.
func rootfs(t *testing.T) []byte {
	dir := func(name string, mode uint32) body {
		return body{newc.Entry{Name: name, Mode: newc.Dir | mode}, ""}
	}
	all := []body{
		dir(".", 0o755), dir("bin", 0o755), dir("dev", 0o755), dir("etc", 0o500), dir("usr", 0o755), dir("usr/lib", 0o755), dir("tmp", 0o1777),
		{newc.Entry{Name: "lib", Mode: newc.Symlink | 0o777}, "usr/lib"},
		{newc.Entry{Name: "lib/libc.so", Mode: newc.Regular | 0o755, Time: 1234567890}, "elf"},
		{newc.Entry{Name: "etc/out", Mode: newc.Symlink | 0o777, UID: 7, GID: 8}, "../../../outside"},
		{newc.Entry{Name: "etc/shadow", Mode: newc.Regular, GID: 42}, "secret"},
		{newc.Entry{Name: "etc/out", Mode: newc.Symlink | 0o777, UID: 7, GID: 8}, "../../../outside"},
		{newc.Entry{Name: "bin/su", Mode: newc.Regular | 0o4755, Ino: 9, Links: 3}, ""},
		{newc.Entry{Name: "bin/zz", Mode: newc.Regular | 0o4755, Ino: 9, Links: 3}, ""},
		{newc.Entry{Name: "usr/su", Mode: newc.Regular | 0o4755, Ino: 9, Links: 3}, "#!su"},
		{newc.Entry{Name: "dev/console", Mode: newc.Char | 0o600, RDev: newc.Device{Major: 5, Minor: 1}}, ""},
		{newc.Entry{Name: "dev/mmcblk0", Mode: newc.Block | 0o660, GID: 6, RDev: newc.Device{Major: 179}}, ""},
		{newc.Entry{Name: "dev/initctl", Mode: newc.FIFO | 0o600}, ""},
		{newc.Entry{Name: "dev/log", Mode: newc.Socket | 0o666}, ""},
	}
	for n, name := range []string{"a b", "a\nb", "*", "[", "#c", `back\slash`, "é", "\u00a0", "-"} {
		all = append(all, body{newc.Entry{Name: "usr/" + name, Mode: newc.Regular | 0o600, UID: uint32(n)}, name})
	}
	return archive(t, all)
}

func extract(t *testing.T, image []byte, want func(string) bool) (dir string, x overlay.Extracted, err error) {
	t.Helper()
	tree, err := initrd.ReadTree(bytes.NewReader(image), initrd.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	x, err = overlay.Extract(root, tree, want, func(visit func(initrd.Place, io.Reader) error) error {
		return tree.Bodies(bytes.NewReader(image), initrd.Limits{}, visit)
	})
	return dir, x, err
}

func everything(string) bool { return true }

func TestExtractAndReadAgain(t *testing.T) {
	image := rootfs(t)
	dir, x, err := extract(t, image, everything)
	if err != nil {
		t.Fatal(err)
	}
	got, err := read(t, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(listed(t, image), got); d != "" {
		t.Errorf("extracted and read (-archive +overlay):\n%s", d)
	}
	if d := cmp.Diff([]string{"dev/log"}, x.Left); d != "" {
		t.Errorf("left out (-want +got):\n%s", d)
	}
	su, zz, usr := stat(t, dir, "bin/su"), stat(t, dir, "bin/zz"), stat(t, dir, "usr/su")
	if !os.SameFile(su, zz) || !os.SameFile(su, usr) || su.Mode() != 0o755 {
		t.Errorf("bin/su, bin/zz and usr/su are not one file with mode 0755: %v", su.Mode())
	}
	if at := stat(t, dir, "usr/lib/libc.so").ModTime().Unix(); at != 1234567890 {
		t.Errorf("usr/lib/libc.so is of %d", at)
	}
	if m := stat(t, dir, "etc").Mode().Perm(); m != 0o700 {
		t.Errorf("etc has mode %o, and its owner cannot remove what is in it", m)
	}
}

// listed is the tree of an image as function read writes an overlay down.
func listed(t *testing.T, image []byte) string {
	t.Helper()
	tree, err := initrd.ReadTree(bytes.NewReader(image), initrd.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	texts := map[initrd.Place]string{}
	err = tree.Bodies(bytes.NewReader(image), initrd.Limits{}, func(p initrd.Place, r io.Reader) error {
		b, err := io.ReadAll(r)
		texts[p] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	for n := range tree.All() {
		if n.Path == "." || n.Type() == newc.Socket {
			continue
		}
		fmt.Fprintf(&s, "%s %o %d:%d", n.Path, n.Mode, n.UID, n.GID)
		switch n.Type() {
		case newc.Regular:
			fmt.Fprintf(&s, " %q", texts[n.Data])
		case newc.Symlink:
			fmt.Fprintf(&s, " %q", n.Target)
		case newc.Char, newc.Block:
			fmt.Fprintf(&s, " %d,%d", n.RDev.Major, n.RDev.Minor)
		case newc.Dir:
			if n.Mode == newc.Dir|0o755 {
				s.WriteString(" weak")
			}
		}
		s.WriteByte('\n')
	}
	return s.String()
}

func stat(t *testing.T, dir, name string) os.FileInfo {
	t.Helper()
	info, err := os.Lstat(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// A part has the folders above it, and nothing to say of them.
func TestExtractAPart(t *testing.T) {
	dir, x, err := extract(t, rootfs(t), func(name string) bool { return name == "etc/shadow" || path.Dir(name) == "bin" })
	if err != nil {
		t.Fatal(err)
	}
	got, err := read(t, dir, nil)
	const want = `bin 40755 0:0 weak
bin/su 104755 0:0 "#!su"
bin/zz 104755 0:0 "#!su"
etc 40755 0:0 weak
etc/shadow 100000 0:42 "secret"
`
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v, part (-want +got):\n%s", err, d)
	}
	if x.Files != 3 || x.Bytes != 10 || x.Rules != 3 {
		t.Errorf("counted %+v", x)
	}
}

func TestExtractRefuses(t *testing.T) {
	own := archive(t, []body{{newc.Entry{Name: overlay.MetaFile, Mode: newc.Regular | 0o644}, "x"}})
	var e *overlay.Error
	if _, _, err := extract(t, own, everything); !errors.As(err, &e) || e.Hint() == "" {
		t.Errorf("a meta file of the image's own: %v", err)
	}
	image := rootfs(t)
	tree, err := initrd.ReadTree(bytes.NewReader(image), initrd.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	_, err = overlay.Extract(root, tree, everything, func(visit func(initrd.Place, io.Reader) error) error {
		return tree.Bodies(bytes.NewReader(own), initrd.Limits{}, visit)
	})
	if err == nil || !strings.Contains(err.Error(), "the file has changed meanwhile") {
		t.Errorf("another file the second time: %v", err)
	}
}
