package initrd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/newc"
)

type file struct {
	newc.Entry
	body string
}

func dir(name string) file     { return file{newc.Entry{Name: name, Mode: newc.Dir | 0o755}, ""} }
func reg(name, b string) file  { return file{newc.Entry{Name: name, Mode: newc.Regular | 0o644}, b} }
func sym(name, to string) file { return file{newc.Entry{Name: name, Mode: newc.Symlink | 0o777}, to} }
func char(name string, major, minor uint32) file {
	return file{newc.Entry{Name: name, Mode: newc.Char | 0o600, RDev: newc.Device{Major: major, Minor: minor}}, ""}
}

// hard is one name of inode ino.
func hard(name, b string, ino uint32) file {
	return file{newc.Entry{Name: name, Mode: newc.Regular | 0o600, Ino: ino, Links: 2}, b}
}

// pack is one member that holds files.
func pack(t testing.TB, f codec.Format, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	err := WritePart(&b, f, func(w io.Writer) error {
		cw := newc.NewWriter(w)
		for _, f := range files {
			f.Size = int64(len(f.body))
			if f.Ino == 0 {
				f.Ino = 1 << 20
			}
			if err := cw.WriteEntry(f.Entry, strings.NewReader(f.body)); err != nil {
				return err
			}
		}
		return cw.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// show is a line for each node and each problem.
func show(t testing.TB, b []byte) string {
	t.Helper()
	tree, err := ReadTree(bytes.NewReader(b), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	for n := range tree.All() {
		fmt.Fprintf(&s, "%s %o", n.Path, n.Mode)
		switch n.Type() {
		case newc.Regular:
			fmt.Fprintf(&s, " %d bytes of archive %d", n.Size, n.Data.Archive)
		case newc.Symlink:
			fmt.Fprintf(&s, " -> %s", n.Target)
		case newc.Char:
			fmt.Fprintf(&s, " %d:%d", n.RDev.Major, n.RDev.Minor)
		}
		if n.Names > 1 {
			fmt.Fprintf(&s, " %d names", n.Names)
		}
		s.WriteByte('\n')
	}
	for _, p := range tree.Problems {
		fmt.Fprintf(&s, "! %s\n", p)
	}
	return s.String()
}

// What is wanted here is what init/initramfs.c does; the cases with problems were read
// off its source.
func TestTreeIsWhatTheKernelMakes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		first  []file
		second []file
		want   string
	}{
		{"later wins", []file{reg("a", "1")}, []file{reg("a", "22")}, "a 100644 2 bytes of archive 2\n"},
		{"file over folder", []file{dir("d")}, []file{reg("d", "x")}, "d 100644 1 bytes of archive 2\n"},
		{"folder over file", []file{reg("d", "x")}, []file{dir("d"), reg("d/f", "")}, "d 40755\nd/f 100644 0 bytes of archive 2\n"},
		{"symlink over file", []file{reg("a", "x")}, []file{sym("a", "b")}, "a 120777 -> b\n"},
		{"file over symlink", []file{sym("a", "b")}, []file{reg("a", "x")}, "a 100644 1 bytes of archive 2\n"},
		{"mode of a folder", []file{dir("d"), reg("d/f", "")}, []file{{newc.Entry{Name: "d", Mode: newc.Dir | 0o700}, ""}}, "d 40700\nd/f 100644 0 bytes of archive 1\n"},
		{"through a symlink", []file{dir("usr"), dir("usr/bin"), sym("bin", "usr/bin")}, []file{reg("bin/sh", "x")},
			"bin 120777 -> usr/bin\nusr 40755\nusr/bin 40755\nusr/bin/sh 100644 1 bytes of archive 2\n"},
		{"through symlinks that lead up", []file{dir("a"), dir("b"), sym("a/l", "../../m"), sym("m", "/b")}, []file{reg("a/l/f", "x")},
			"a 40755\na/l 120777 -> ../../m\nb 40755\nb/f 100644 1 bytes of archive 2\nm 120777 -> /b\n"},
		{"dots and slashes", []file{dir("."), dir("./d"), reg("./d//f", "x")}, nil, ". 40755\nd 40755\nd/f 100644 1 bytes of archive 1\n"},
		{"built-in folders", []file{char("dev/console", 5, 1)}, nil, "dev/console 20600 5:1\n"},
		{"data with the last name", []file{hard("a", "", 7), hard("b", "data", 7)}, nil, "a 100600 4 bytes of archive 1 2 names\nb 100600 4 bytes of archive 1 2 names\n"},
		{"data with the first name", []file{hard("a", "data", 7), hard("b", "", 7)}, nil, "a 100600 4 bytes of archive 1 2 names\nb 100600 4 bytes of archive 1 2 names\n"},
		{"links end with the archive", []file{hard("a", "data", 7)}, []file{hard("b", "x", 7)}, "a 100600 4 bytes of archive 1\nb 100600 1 bytes of archive 2\n"},
		{"writing to one name writes to all", []file{hard("a", "data", 7), hard("b", "", 7)}, []file{reg("a", "xx")},
			"a 100644 2 bytes of archive 2 2 names\nb 100644 2 bytes of archive 2 2 names\n"},
		{"replacing one name leaves the other", []file{hard("a", "data", 7), hard("b", "", 7)}, []file{sym("a", "x")},
			"a 120777 -> x\nb 100600 4 bytes of archive 1\n"},

		{"FaultRow30 duplicate names", []file{reg("a", "1"), reg("a", "22"), reg("./a", "333")}, nil, "a 100644 3 bytes of archive 1\n"},
		{"missing folder", []file{reg("no/f", "x")}, nil, "! archive 1, byte 0: entry \"no/f\": its folder does not exist, so the kernel drops it\n"},
		{"folder comes late", []file{reg("d/f", "x"), dir("d")}, nil, "d 40755\n! archive 1, byte 0: entry \"d/f\": its folder does not exist, so the kernel drops it\n"},
		{"file over full folder", []file{dir("d"), reg("d/f", "")}, []file{reg("d", "x")},
			"d 40755\nd/f 100644 0 bytes of archive 1\n! archive 2, byte 0: entry \"d\": a folder with files in it cannot be replaced, so the kernel drops it\n"},
		{"below a file", []file{reg("f", ""), reg("f/g", "")}, nil, "f 100644 0 bytes of archive 1\n! archive 1, byte 112: entry \"f/g\": its folder does not exist, so the kernel drops it\n"},
		{"another number", []file{char("dev/a", 1, 1)}, []file{char("dev/a", 1, 2)},
			"dev/a 20600 1:1\n! archive 2, byte 0: entry \"dev/a\": a node of this type is there, and the kernel leaves its number as it is\n"},
		{"cyclic symlinks", []file{sym("a", "b"), sym("b", "a"), reg("a/f", "")}, nil,
			"a 120777 -> b\nb 120777 -> a\n! archive 1, byte 232: entry \"a/f\": too many symlinks above it, so the kernel drops it\n"},
		{"cyclic hard links", []file{hard("a", "x", 7), hard("a", "", 7), hard("b", "y", 7)}, nil,
			"! archive 1, byte 116: entry \"a\": a hard link to itself: the kernel deletes the file\n" +
				"! archive 1, byte 228: entry \"b\": the file that it is a hard link to is gone, so the kernel drops it\n"},
		{"unknown type", []file{{newc.Entry{Name: "a", Mode: 0o644}, ""}}, nil, "! archive 1, byte 0: entry \"a\": unknown type, so the kernel drops it\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := pack(t, codec.Gzip, tt.first...)
			if tt.second != nil {
				b = append(b, pack(t, codec.Zstd, tt.second...)...)
			}
			if d := cmp.Diff(tt.want, show(t, b)); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// raw is a plain archive of entries that the Writer refuses.
func raw(names ...string) []byte {
	var b []byte
	for _, name := range append(names, newc.Trailer) {
		b = newc.AppendHeader(b, newc.Entry{Name: name, Mode: newc.Dir | 0o755, Links: 1})
	}
	return b
}

func TestFaultRow27NamesThatLeadOutStayInside(t *testing.T) {
	got := show(t, raw("/abs", "../up", "abs/../../x"))
	want := "abs 40755\nup 40755\nx 40755\n" +
		"! archive 1, byte 0: entry \"/abs\": the name is absolute\n" +
		"! archive 1, byte 116: entry \"../up\": the name leads upwards\n" +
		"! archive 1, byte 232: entry \"abs/../../x\": the name leads upwards\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestTreeOfDamage(t *testing.T) {
	good := pack(t, codec.Gzip, reg("a", "1"))
	plain := pack(t, codec.None, reg("a", "1"), reg("b", "2"))
	for _, tt := range []struct {
		name string
		b    []byte
		want string
		stop bool
	}{
		{"junk", append(bytes.Clone(good), "junk"...), "unknown data", true},
		{"truncated gzip", good[:len(good)-9], "unexpected EOF", true},
		{"misaligned", append(append(bytes.Clone(good), 0), plain...), "multiples of 4 bytes", true},
		{"truncated body", plain[:112], "1 bytes early", true},
		{"no trailer", plain[:232], "has no trailer", false},
		{"no trailer, then more", append(bytes.Clone(plain[:0]), noTrailer(t)...), "has no trailer", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree, err := ReadTree(bytes.NewReader(tt.b), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if tree.Lookup("a") == nil {
				t.Error("what stands before the damage is lost")
			}
			if len(tree.Problems) != 1 || tree.Problems[0].Stop != tt.stop || !strings.Contains(tree.Problems[0].Text, tt.want) {
				t.Errorf("problems are %v, want %q, stop %v", tree.Problems, tt.want, tt.stop)
			}
		})
	}
}

// noTrailer is a compressed archive without a trailer and one with it.
func noTrailer(t *testing.T) []byte {
	var b bytes.Buffer
	err := WritePart(&b, codec.Zstd, func(w io.Writer) error {
		_, err := w.Write(newc.AppendHeader(nil, newc.Entry{Name: "a", Mode: newc.Dir | 0o755}))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), pack(t, codec.Gzip, reg("a/b", "x"))...)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestFaultRow29BombsStop(t *testing.T) {
	for _, f := range []codec.Format{codec.Gzip, codec.Zstd} {
		var b bytes.Buffer
		z, err := codec.NewWriterLevel(&b, f, codec.Fast)
		if err != nil {
			t.Fatal(err)
		}
		cw := newc.NewWriter(z)
		const size = 160 << 20
		if err := cw.WriteEntry(newc.Entry{Name: "bomb", Mode: newc.Regular, Size: size}, io.LimitReader(zeros{}, size)); err != nil {
			t.Fatal(err)
		}
		if err := cw.Close(); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		for name, l := range map[string]Limits{"ratio": {Ratio: 100}, "total": {Limits: newc.Limits{Size: 1 << 20}}} {
			_, err = ReadTree(bytes.NewReader(b.Bytes()), l)
			if !errors.Is(err, newc.ErrLimit) || !strings.Contains(err.Error(), "archive 1") {
				t.Errorf("%s, %s: %v", f, name, err)
			}
		}
	}
}

// many writes n empty files.
func many(w io.Writer, n int) error {
	cw := newc.NewWriter(w)
	for i := range n {
		if i%1000 == 0 {
			if err := cw.WriteEntry(newc.Entry{Name: fmt.Sprintf("d%04d", i/1000), Mode: newc.Dir | 0o755}, nil); err != nil {
				return err
			}
		}
		e := newc.Entry{Name: fmt.Sprintf("d%04d/some-file-%d", i/1000, i), Mode: newc.Regular | 0o644}
		if err := cw.WriteEntry(e, nil); err != nil {
			return err
		}
	}
	return cw.Close()
}

func TestFaultRow30TooManyEntriesAreNamed(t *testing.T) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(many(w, 2000)) }()
	_, err := ReadTree(r, Limits{Limits: newc.Limits{Entries: 1000}})
	if !errors.Is(err, newc.ErrLimit) || !strings.Contains(err.Error(), `"d0000/some-file-999"`) {
		t.Errorf("with a limit of 1000: %v", err)
	}
	_ = r.Close()
}

// GNU cpio and bsdtar unpack a tree as an ordinary user would; both agree with ours.
func TestForeignToolsAgree(t *testing.T) {
	b := pack(t, codec.None, dir("d"), hard("d/a", "", 7), hard("d/b", "data", 7), sym("l", "d/a"), reg("x", "12"))
	tree, err := ReadTree(bytes.NewReader(b), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range [][]string{{"cpio", "-idm", "--quiet"}, {"bsdtar", "-xf", "-"}} {
		cmd := exec.Command(tool[0], tool[1:]...)
		cmd.Dir, cmd.Stdin = t.TempDir(), bytes.NewReader(b)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", tool, err, out)
		}
		for n := range tree.All() {
			out, err := exec.Command("stat", "-c", "%f %s %h", cmd.Dir+"/"+n.Path).Output()
			want := fmt.Sprintf("%x %d %d\n", n.Mode, n.Size, n.Names)
			if n.Type() == newc.Dir {
				continue
			}
			if err != nil || string(out) != want {
				t.Errorf("%s: %s is %q, %v, want %q", tool[0], n.Path, out, err, want)
			}
		}
	}
}

func FuzzReadTree(f *testing.F) {
	f.Add(pack(f, codec.None, dir("d"), hard("d/a", "", 7), hard("d/b", "data", 7), sym("l", "d/a"), char("dev/a", 5, 1)))
	f.Add(raw("/abs", "../up", "a/../..", "."))
	f.Fuzz(func(t *testing.T, b []byte) {
		l := Limits{Ratio: 50}
		l.Size, l.Entries = 1<<20, 100
		tree, err := ReadTree(bytes.NewReader(b), l)
		if err != nil {
			return
		}
		names := map[*Inode]int32{}
		for n := range tree.All() {
			names[n.Inode]++
			if n.Path == "" || strings.HasPrefix(n.Path, "/") || strings.HasPrefix(n.Path, "../") {
				t.Errorf("path %q", n.Path)
			}
		}
		for i, n := range names {
			if i.Names != n {
				t.Errorf("%d names where %d are counted", n, i.Names)
			}
		}
	})
}
