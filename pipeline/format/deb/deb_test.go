package deb_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"piimg/pipeline/format/deb"
)

// build makes a package with dpkg-deb, which has to be there: it comes with Debian.
func build(t *testing.T, compression string) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"DEBIAN/control": "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: x\n",
		"usr/bin/x":      "#!/bin/sh\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), "x.deb")
	if said, err := exec.Command("dpkg-deb", "-Z"+compression, "--root-owner-group", "-b", dir, out).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, said)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func names(t *testing.T, pkg []byte) []string {
	t.Helper()
	data, err := deb.Data(bytes.NewReader(pkg))
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	var all []string
	for r := tar.NewReader(data); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, h.Name)
	}
}

func TestPackagesOfDpkgDeb(t *testing.T) {
	for _, compression := range []string{"xz", "zstd", "gzip", "none"} {
		got := names(t, build(t, compression))
		if len(got) != 4 || got[3] != "./usr/bin/x" {
			t.Errorf("%s: entries %q", compression, got)
		}
	}
}

func TestRefused(t *testing.T) {
	good := build(t, "gzip")
	at := bytes.Index(good, []byte("data.tar.gz"))
	swap := func(old, new string) []byte { return bytes.Replace(good, []byte(old), []byte(new), 1) }
	for name, tt := range map[string]struct {
		pkg  []byte
		want string
	}{
		"no ar":            {[]byte("PK\x03\x04 and so on"), "not a Debian package"},
		"empty":            {nil, "not a Debian package"},
		"another archive":  {swap("debian-binary", "some-other   "), `first member is "some-other"`},
		"another format":   {swap("2.0\n", "3.0\n"), `format "3.0"`},
		"no data":          {good[:at], "no data archive"},
		"cut in a header":  {good[:at+20], "unexpected EOF"},
		"no header":        {swap("data.tar.gz     0", "data.tar.gz/    0")[:at+58], "unexpected EOF"},
		"unknown":          {swap("data.tar.gz", "data.tar.br"), "cannot be read"},
		"another compress": {swap("data.tar.gz", "data.tar.xz"), "what is inside is gzip"},
	} {
		_, err := deb.Data(bytes.NewReader(tt.pkg))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestDamageIsFound(t *testing.T) {
	pkg := build(t, "gzip")
	pkg[len(pkg)-8] ^= 1 // in the checksum or the last of the data
	data, err := deb.Data(bytes.NewReader(pkg))
	if err == nil {
		_, err = io.Copy(io.Discard, data)
	}
	if err == nil {
		t.Error("a damaged package was read")
	}
}

func FuzzData(f *testing.F) {
	f.Add([]byte("!<arch>\ndebian-binary   0           0     0     100644  4         `\n2.0\n" +
		"data.tar        0           0     0     100644  4         `\nabcd"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := deb.Data(bytes.NewReader(b))
		if err != nil {
			if errors.Is(err, io.EOF) {
				t.Error("an end that came too early looks like a good one")
			}
			return
		}
		defer r.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(r, 1<<20))
	})
}
