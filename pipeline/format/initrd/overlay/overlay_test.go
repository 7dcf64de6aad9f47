package overlay_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/initrd/overlay"
)

// folder makes files; "a -> b" is a symlink, a name with a slash at its end a folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		link, target, isLink := strings.Cut(name, " -> ")
		at := filepath.Join(dir, link)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case isLink:
			err = os.Symlink(target, at)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(at, 0o755)
		default:
			err = os.WriteFile(at, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func read(t *testing.T, dir string, declared func(string) bool) (string, error) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	adds, err := overlay.Read(root.FS(), overlay.Declared{Placed: declared})
	var s strings.Builder
	for _, a := range adds {
		fmt.Fprintf(&s, "%s %o %d:%d", a.Entry.Name, a.Entry.Mode, a.Entry.UID, a.Entry.GID)
		if a.Entry.RDev.Major > 0 {
			fmt.Fprintf(&s, " %d,%d", a.Entry.RDev.Major, a.Entry.RDev.Minor)
		}
		if a.Open != nil {
			r, err := a.Open()
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(r)
			if err != nil || int64(len(body)) != a.Entry.Size {
				t.Errorf("%s: %d bytes, %v", a.Entry.Name, len(body), err)
			}
			fmt.Fprintf(&s, " %q", body)
		}
		if a.Weak {
			s.WriteString(" weak")
		}
		s.WriteByte('\n')
	}
	return s.String(), err
}

func TestRead(t *testing.T) {
	dir := folder(t, map[string]string{
		"etc/shadow": "x", "usr/bin/ping": "#!", "usr/bin/l -> ../../../etc/passwd": "", "home/pi/a b": "1", "home/pi/*": "2", "home/pi/c": "3", "var/tmp/": "",
		overlay.MetaFile: `
# what a checkout cannot hold
etc/shadow    0600  0:42
usr/bin/*     4755  -
home/**       -     1000:1000
home/pi/a\040b  0640  -
home/pi/\052  0400  -
var/tmp       1777  -
dev/console   0600  0:0  char 5 1
dev/sda       0660  0:6  block 8 0
run/initctl   0600  -    fifo
`})
	if err := os.Chmod(filepath.Join(dir, "usr/bin/ping"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	const want = `dev/console 20600 0:0 5,1
dev/sda 60660 0:6 8,0
etc 40755 0:0 weak
etc/shadow 100600 0:42 "x"
home 40755 0:0 weak
home/pi 40755 1000:1000
home/pi/* 100400 1000:1000 "2"
home/pi/a b 100640 1000:1000 "1"
home/pi/c 100644 1000:1000 "3"
run/initctl 10600 0:0
usr 40755 0:0 weak
usr/bin 40755 0:0 weak
usr/bin/l 120777 0:0 "../../../etc/passwd"
usr/bin/ping 104755 0:0 "#!"
var 40755 0:0 weak
var/tmp 41777 0:0
`
	got, err := read(t, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("overlay (-want +got):\n%s", d)
	}
}

// Row 31 of the fault table: what a checkout should not hold goes nowhere unasked.
func TestFaultRow31(t *testing.T) {
	dir := folder(t, map[string]string{"bin/su": "", "bin/ok": ""})
	if err := os.Chmod(filepath.Join(dir, "bin/su"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	for name, kind := range map[string]uint32{"pipe": syscall.S_IFIFO, "sock": syscall.S_IFSOCK} {
		if err := syscall.Mknod(filepath.Join(dir, name), kind|0o644, 0); err != nil {
			t.Fatal(err)
		}
	}
	_, err := read(t, dir, nil)
	for _, want := range []string{"bin/su has mode urwxr-xr-x", "pipe is no file, folder or link", "sock is no file, folder or link"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	var one *overlay.Error
	if !errors.As(err, &one) || one.Hint() == "" {
		t.Errorf("error %v has no hint", err)
	}
	got, err := read(t, dir, func(name string) bool { return name != "bin" && name != "bin/ok" })
	if err != nil || got != "bin 40755 0:0 weak\nbin/ok 100644 0:0 \"\"\n" {
		t.Errorf("with all declared: %q, %v", got, err)
	}
}

// What is declared outside may be as it is on disk, and a line says what a node is.
func TestFaultRow31Declared(t *testing.T) {
	dir := folder(t, map[string]string{"su": "", "dev/x": "", overlay.MetaFile: "dev/null 0666 0:0 char 1 3\n"})
	if err := os.Chmod(filepath.Join(dir, "su"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mknod(filepath.Join(dir, "dev/null"), syscall.S_IFIFO|0o644, 0); err != nil {
		t.Fatal(err)
	}
	adds, err := overlay.Read(os.DirFS(dir), overlay.Declared{Mode: func(name string) bool { return name == "su" }})
	var got []string
	for _, a := range adds {
		got = append(got, fmt.Sprintf("%s %o %d:%d", a.Entry.Name, a.Entry.Mode, a.Entry.RDev.Major, a.Entry.RDev.Minor))
	}
	want := []string{"dev 40755 0:0", "dev/null 20666 1:3", "dev/x 100644 0:0", "su 100755 0:0"}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v, overlay (-want +got):\n%s", err, d)
	}
}

func TestMetaRefused(t *testing.T) {
	for line, want := range map[string]string{
		"f 0644":                     "line 1: a line has a path, a mode and an owner",
		"f 0888 -":                   `line 1: "0888" is not a mode`,
		"f 10644 -":                  `line 1: "10644" is not a mode`,
		"\n\nf - root":               `line 3: "root" is not an owner`,
		"f - 1:x":                    `line 1: "1:x" is not an owner`,
		"../f - 0:0":                 `line 1: glob "../f" has to be relative and clean`,
		"/f - 0:0":                   `line 1: glob "/f" has to be relative`,
		"f[ - 0:0":                   `line 1: glob "f[": close every [`,
		`f\4 - 0:0`:                  "line 1: f\\4: three octal digits",
		`f\000 - 0:0`:                "three octal digits",
		"g 0644 -":                   "line 1: g matches nothing in the overlay",
		"dev/x 0600 - char 5":        "line 1: char takes 2 numbers",
		"dev/x 0600 - tape 5 1":      `line 1: "tape" is none of char, block and fifo`,
		"dev/* 0600 - char 5 1":      "line 1: the path of a node is no glob",
		"dev/x - - char 5 1":         "line 1: a node has to have a mode",
		"dev/x 0600 - char 5000 1":   `line 1: "5000" is not a major number`,
		"dev/x 0600 - block 8 -1":    `line 1: "-1" is not a minor number`,
		"f 0600 - fifo":              "line 1: f is in the overlay already",
		strings.Repeat("x", 70<<10):  "token too long",
		strings.Repeat("#\n", 3<<20): "is larger than 4 MiB",
	} {
		_, err := read(t, folder(t, map[string]string{"f": "", overlay.MetaFile: line}), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: error %v, want %q", line, err, want)
		}
	}
}

func FuzzParseMeta(f *testing.F) {
	f.Add("etc/shadow 0600 0:42\ndev/x 0600 - char 5 1")
	f.Add("a\\052b - 0:0\n# c")
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := overlay.ParseMeta(strings.NewReader(text))
		if err == nil && len(rules) > strings.Count(text, "\n")+1 {
			t.Errorf("%d rules of %q", len(rules), text)
		}
	})
}
