package untar_test

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"piimg/pipeline/format/untar"
)

func archive(t *testing.T, headers ...tar.Header) *bytes.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		body := h.Uname // stands for the content
		h.Uname, h.Size = "", int64(len(body))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(b.Bytes())
}

func regular(name, body string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Uname: body}
}

func unpack(t *testing.T, o untar.Options, r *bytes.Reader) (string, error) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	return dir, untar.Unpack(root, r, o)
}

func TestUnpack(t *testing.T) {
	dir, err := unpack(t, untar.Options{}, archive(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755},
		tar.Header{Typeflag: tar.TypeDir, Name: "./usr/", Mode: 0o700},
		regular("./usr/bin/ping", "ping", 0o4755), // its folder is not in the archive
		tar.Header{Typeflag: tar.TypeLink, Name: "usr/bin/ping6", Linkname: "./usr/bin/ping"},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "bin", Linkname: "usr/bin"},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "etc/mtab", Linkname: "/proc/mounts"},
		tar.Header{Typeflag: tar.TypeDir, Name: "bin/", Mode: 0o755}, // as before the merge of /usr
		regular("bin/sh", "sh", 0o600),
	))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"usr": fs.ModeDir | 0o755, "usr/bin/ping": 0o755, "usr/bin/ping6": 0o755, "usr/bin/sh": 0o644} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	if target, err := os.Readlink(filepath.Join(dir, "etc/mtab")); target != "/proc/mounts" {
		t.Errorf("link to %q, %v", target, err)
	}
}

func TestStrip(t *testing.T) {
	dir, err := unpack(t, untar.Options{Strip: 1}, archive(t,
		tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "x"}},
		tar.Header{Typeflag: tar.TypeDir, Name: "tree-1.0/", Mode: 0o755},
		regular("tree-1.0/Makefile", "all:", 0o644),
		tar.Header{Typeflag: tar.TypeLink, Name: "tree-1.0/again", Linkname: "tree-1.0/Makefile"},
	))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "again")); string(b) != "all:" {
		t.Errorf("%q, %v", b, err)
	}
}

// What an archive says may not reach anything outside the folder.
func TestHostile(t *testing.T) {
	outside := t.TempDir()
	for name, headers := range map[string][]tar.Header{
		"through a link":          {{Typeflag: tar.TypeSymlink, Name: "x", Linkname: outside}, regular("x/f", "f", 0o644)},
		"hard link out":           {{Typeflag: tar.TypeLink, Name: "x", Linkname: "../../etc/passwd"}},
		"hard link through links": {{Typeflag: tar.TypeSymlink, Name: "e", Linkname: "/etc"}, {Typeflag: tar.TypeLink, Name: "x", Linkname: "e/passwd"}},
		"device":                  {{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}},
		"fifo":                    {{Typeflag: tar.TypeFifo, Name: "pipe"}},
		"twice":                   {regular("f", "1", 0o644), regular("f", "2", 0o644)},
		"folder over a file":      {regular("f", "1", 0o644), {Typeflag: tar.TypeDir, Name: "f/"}},
		"file through a link":     {{Typeflag: tar.TypeSymlink, Name: "f", Linkname: "g"}, regular("f", "2", 0o644)},
	} {
		if _, err := unpack(t, untar.Options{}, archive(t, headers...)); err == nil || !strings.HasPrefix(err.Error(), "unpack ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir, err := unpack(t, untar.Options{}, archive(t, regular("../../up", "x", 0o644), regular("/abs", "x", 0o644)))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"up", "abs"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("%s is not inside: %v", name, err)
		}
	}
	if left, err := os.ReadDir(outside); len(left) > 0 || err != nil {
		t.Errorf("outside there is %v, %v", left, err)
	}
}
