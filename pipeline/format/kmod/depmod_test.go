package kmod

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/fdt/gomodtest"
)

const release = "6.12.47-v8"

func realTree(t testing.TB) *Tree {
	t.Helper()
	return open(t, os.DirFS(filepath.Join(gomodtest.Dir(t, gomodtest.Kernel), "lib/modules", release)))
}

func open(t testing.TB, fsys fs.FS) *Tree {
	t.Helper()
	tree, err := Open(fsys, func(r io.Reader) (io.ReadCloser, error) {
		t.Fatal("nothing here is compressed")
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func sel(t testing.TB, tree *Tree, patterns ...string) *Set {
	t.Helper()
	set, err := tree.Select(patterns)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// install writes the set and its files to lib/modules/<release> of a new folder.
func install(t testing.TB, set *Set) (root string, files []File) {
	t.Helper()
	root = t.TempDir()
	write := func(name string, data []byte) {
		file := filepath.Join(root, "lib/modules", release, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range set.Modules {
		r, err := set.tree.OpenModule(m.Path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		write(m.Plain(), data)
	}
	files, err := set.Files((*Module).Plain)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		write(f.Name, f.Data)
	}
	return root, files
}

// sameAsDepmod lets depmod write its files over those of the set, and compares.
func sameAsDepmod(t *testing.T, set *Set) {
	t.Helper()
	root, files := install(t, set)
	if out, err := exec.Command("depmod", "-b", root, release).CombinedOutput(); err != nil {
		t.Fatalf("depmod (of the Debian package kmod): %v\n%s", err, out)
	}
	for _, f := range files {
		want, err := os.ReadFile(filepath.Join(root, "lib/modules", release, f.Name))
		if err != nil {
			t.Fatal(err)
		}
		got := f.Data
		if f.Name == "modules.symbols" { // depmod's order is that of a hash table
			got, want = sortLines(got), sortLines(want)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, depmod wrote %d (-depmod +ours):\n%s", f.Name, len(got), len(want), cmp.Diff(lines(want), lines(got)))
		}
	}
}

func sortLines(b []byte) []byte {
	l := lines(b)
	slices.Sort(l)
	return []byte(strings.Join(l, "\n"))
}

func lines(b []byte) []string { return strings.Split(string(b), "\n") }

func TestDepmodWritesTheSame(t *testing.T) {
	tree := realTree(t)
	for _, patterns := range [][]string{
		{"*"}, {"hci-uart", "uvcvideo"}, {"kernel/drivers/media/usb"}, {"brcm*", "btbcm"}, {"cmac"}, {"loop"},
	} {
		t.Run(strings.Join(patterns, ","), func(t *testing.T) { sameAsDepmod(t, sel(t, tree, patterns...)) })
	}
}

// kmod's modprobe reads the binary indexes alone, and lists what it would load.
func TestModprobeFindsTheModules(t *testing.T) {
	root, _ := install(t, sel(t, realTree(t), "uvcvideo", "hci_uart"))
	for _, tt := range []struct{ name, want string }{
		{"btbcm", "kernel/crypto/ecc.ko kernel/crypto/ecdh_generic.ko kernel/net/bluetooth/bluetooth.ko kernel/drivers/bluetooth/btbcm.ko"},
		{"tty-ldisc-15", "kernel/crypto/ecc.ko kernel/crypto/ecdh_generic.ko kernel/net/bluetooth/bluetooth.ko kernel/drivers/bluetooth/btbcm.ko kernel/drivers/bluetooth/hci_uart.ko"},
		{"symbol:btbcm_patchram", "kernel/crypto/ecc.ko kernel/crypto/ecdh_generic.ko kernel/net/bluetooth/bluetooth.ko kernel/drivers/bluetooth/btbcm.ko"},
		{"loop", "builtin loop"},
		{"devname:fuse", "builtin fuse"},
	} {
		out, err := exec.Command("modprobe", "-C", t.TempDir(), "-d", root, "-S", release, "--show-depends", tt.name).CombinedOutput()
		if err != nil {
			t.Errorf("modprobe %s: %v\n%s", tt.name, err, out)
			continue
		}
		got := strings.NewReplacer("insmod "+root+"/lib/modules/"+release+"/", "", "\n", "").Replace(string(out))
		if got = strings.TrimSpace(got); got != tt.want {
			t.Errorf("modprobe %s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
