package modules_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/fdt/gomodtest"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/kmod"
	"piimg/pipeline/format/newc"
	"piimg/pipeline/stages/initramfs"
	"piimg/pipeline/stages/kernel"
	"piimg/pipeline/stages/modules"
	"piimg/pipeline/stages/stagetest"
)

const release = "6.12.47-v8"

// image is the least that is a kernel: the header and a banner.
func image(release string) string {
	h := make([]byte, 64)
	binary.LittleEndian.PutUint64(h[16:], 1<<20) // image_size
	binary.LittleEndian.PutUint64(h[24:], 2)     // flags: 4 KiB pages
	copy(h[56:], "ARM\x64")
	return string(h) + strings.Repeat("\x00", 5000) + "Linux version " + release + " (gcc) #1\n"
}

// bluetooth are modules of a published kernel that need one another.
var bluetooth = []string{
	"kernel/crypto/ecc.ko", "kernel/crypto/ecdh_generic.ko", "kernel/net/bluetooth/bluetooth.ko",
	"kernel/drivers/bluetooth/btbcm.ko", "kernel/drivers/bluetooth/hci_uart.ko",
}

// world has a kernel and those modules in k/lib/modules, beside an unrelated one.
func world(t *testing.T, release, table string) stagetest.World {
	t.Helper()
	w := stagetest.World{
		Recipe: `
name   = "t"
boards = ["pi5"]
[sources.k]
path = "k"
[kernel]
file    = "k:Image"
cmdline = "quiet"
[dtb]
files   = ["k:x.dtb"]
[initramfs]
base    = "base.cpio"
[initramfs.modules]
from    = "k"
` + table,
		Files: map[string]string{"k/Image": image(release), "k/x.dtb": "", "k/overlays/none": "", "base.cpio": ""},
	}
	dir := realModules(t)
	for _, name := range slices.Concat(bluetooth, []string{"kernel/crypto/cmac.ko", "modules.order", "modules.builtin"}) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		w.Files["k/lib/modules/6.12.47-v8/"+name] = string(b)
	}
	return w
}

func realModules(t *testing.T) string {
	t.Helper()
	return filepath.Join(gomodtest.Dir(t, gomodtest.Kernel), "lib/modules", release)
}

// compress replaces a module by its compressed form.
func compress(t *testing.T, w stagetest.World, name, ending string) {
	t.Helper()
	key := "k/lib/modules/6.12.47-v8/" + name
	text := w.Files[key]
	delete(w.Files, key)
	var b bytes.Buffer
	switch ending {
	case ".xz":
		xz := exec.Command("xz", "--check=crc32", "-1")
		xz.Stdin, xz.Stdout = strings.NewReader(text), &b
		if err := xz.Run(); err != nil {
			t.Fatal(err)
		}
	default:
		z, err := codec.NewWriter(&b, map[string]codec.Format{".gz": codec.Gzip, ".zst": codec.Zstd}[ending])
		if err == nil {
			_, err = z.Write([]byte(text))
		}
		if err == nil {
			err = z.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w.Files[key+ending] = b.String()
}

func TestModules(t *testing.T) {
	for name, tt := range map[string]struct {
		table string
		pack  map[string]string // module to the ending of its compressed form
		keeps bool
	}{
		"plain":      {table: `select = ["hci-uart"]`},
		"pattern":    {table: "path = \"lib/modules/6.*\"\nselect = [\"hci_*\", \"loop\"]"},
		"folder":     {table: "path = \"lib/modules/6.12.47-v8\"\nselect = [\"kernel/drivers\"]"},
		"compressed": {table: `select = ["hci_uart"]`, pack: map[string]string{bluetooth[0]: ".gz", bluetooth[1]: ".xz", bluetooth[4]: ".zst"}},
		"kept": {table: "decompress = false\nselect = [\"hci_uart\"]", keeps: true,
			pack: map[string]string{bluetooth[0]: ".xz", bluetooth[4]: ".zst"}}, // what Debian's depmod reads
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t, release, tt.table)
			var want []string
			for _, m := range bluetooth {
				if tt.pack[m] != "" {
					compress(t, w, m, tt.pack[m])
				}
				if tt.keeps {
					m += tt.pack[m]
				}
				want = append(want, m)
			}
			stagetest.Plan(t, modules.Stage{}, w)
			fsys, files := stagetest.Run(t, w, kernel.Stage{}, modules.Stage{})
			var got []string
			for _, f := range files {
				name, ok := strings.CutPrefix(f.Path, "lib/modules/"+release+"/")
				if !ok || f.Mode != 0o644 {
					t.Errorf("%s has mode %o", f.Path, f.Mode)
				}
				if strings.HasPrefix(name, "kernel/") {
					got = append(got, name)
				}
			}
			slices.Sort(want)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("modules (-want +got):\n%s", d)
			}
			agrees(t, fsys)
		})
	}
}

// agrees lets depmod index the modules again, and compares.
func agrees(t *testing.T, fsys fs.FS) {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, fsys); err != nil {
		t.Fatal(err)
	}
	dir := path.Join("lib/modules", release)
	if out, err := exec.Command("depmod", "-b", root, release).CombinedOutput(); err != nil {
		t.Fatalf("depmod: %v\n%s", err, out)
	}
	for _, name := range []string{"modules.dep", "modules.dep.bin", "modules.alias", "modules.alias.bin", "modules.builtin.bin", "modules.softdep"} {
		want, err := os.ReadFile(filepath.Join(root, dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := stagetest.Read(t, fsys, path.Join(dir, name)); got != string(want) {
			t.Errorf("%s is not what depmod writes (-depmod +got):\n%s", name, cmp.Diff(string(want), got))
		}
	}
}

func TestNoModulesNoStep(t *testing.T) {
	w := world(t, release, "select = [\"loop\"]")
	w.Recipe, _, _ = strings.Cut(w.Recipe, "[initramfs.modules]")
	if s := stagetest.Plan(t, modules.Stage{}, w); s != nil {
		t.Errorf("a recipe without modules plans %+v", s)
	}
}

// A kernel that is compressed does not say its release: then nothing is compared.
func TestKernelThatSaysNoRelease(t *testing.T) {
	w := world(t, release, `select = ["cmac"]`)
	w.Files["k/Image"] = "\x1f\x8b\x08" + strings.Repeat("\x00", 100)
	fsys, _ := stagetest.Run(t, w, kernel.Stage{}, modules.Stage{})
	if got := stagetest.Read(t, fsys, "lib/modules/6.12.47-v8/modules.dep"); got != "kernel/crypto/cmac.ko:\n" {
		t.Errorf("modules.dep is %q", got)
	}
}

// Of several releases the kernel's is taken.
func TestSeveralReleases(t *testing.T) {
	w := world(t, release, `select = ["cmac"]`)
	w.Files["k/lib/modules/6.12.47-v7/modules.order"] = ""
	w.Files["k/lib/modules/firmware/readme"] = ""
	fsys, _ := stagetest.Run(t, w, kernel.Stage{}, modules.Stage{})
	stagetest.Read(t, fsys, "lib/modules/6.12.47-v8/kernel/crypto/cmac.ko")

	w.Files["k/Image"] = "\x1f\x8b\x08" + strings.Repeat("\x00", 100)
	err := stagetest.Fails(t, w, kernel.Stage{}, modules.Stage{})
	if want := "there are modules of several releases: 6.12.47-v7, 6.12.47-v8; name one with initramfs.modules.path"; !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestRefused(t *testing.T) {
	renamed := world(t, "6.6.1", `select = ["cmac"]`)
	renamed.Files["k/lib/modules/6.6.1/kernel/cmac.ko"] = renamed.Files["k/lib/modules/6.12.47-v8/kernel/crypto/cmac.ko"]
	empty := world(t, release, "path = \"lib\"\nselect = [\"cmac\"]")
	damaged := world(t, release, `select = ["hci_uart"]`)
	damaged.Files["k/lib/modules/6.12.47-v8/"+bluetooth[0]] = "version https://git-lfs"
	for name, tt := range map[string]struct {
		world      stagetest.World
		want, hint string
	}{
		"other release":  {world(t, "6.1.0-56-arm64", `select = ["cmac"]`), "stage modules: initramfs.modules: k:lib/modules: the kernel is 6.1.0-56-arm64, and the modules are for 6.12.47-v8", "take both from one package"},
		"unknown module": {world(t, release, `select = ["cmac", "hci_uartt"]`), `initramfs.modules: k:lib/modules/6.12.47-v8: select[1]: module "hci_uartt" is none of the 6 modules, nor of the 890 that are built in`, "did you mean hci_uart?"},
		"renamed folder": {renamed, "k:lib/modules/6.6.1: kernel/cmac.ko was built for kernel 6.12.47-v8, and would be refused by 6.6.1", ""},
		"no release":     {empty, "k:lib: no folder of a release, ", ""},
		"damaged":        {damaged, "k:lib/modules/6.12.47-v8: kernel/crypto/ecc.ko: no ELF file: ", ""},
	} {
		err := stagetest.Fails(t, tt.world, kernel.Stage{}, modules.Stage{})
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
		var hinted interface{ Hint() string }
		if errors.As(err, &hinted) != (tt.hint != "") || tt.hint != "" && !strings.Contains(hinted.Hint(), tt.hint) {
			t.Errorf("%s: %v has the hint %v, want %q", name, err, hinted, tt.hint)
		}
	}
	var unknown *kmod.UnknownError
	if err := stagetest.Fails(t, world(t, release, `select = ["x-y-z"]`), kernel.Stage{}, modules.Stage{}); !errors.As(err, &unknown) {
		t.Errorf("%v is no UnknownError", err)
	}
}

// Some modules have names that differ in case alone. No board asks for them by name, so it
// is no matter what FAT makes of that.
func TestNamesThatDifferInCase(t *testing.T) {
	w := world(t, release, `select = ["cm*", "CM*"]`)
	w.Files["k/lib/modules/6.12.47-v8/kernel/crypto/CMAC.ko"] = w.Files["k/lib/modules/6.12.47-v8/kernel/crypto/cmac.ko"]
	w.Files["base.cpio"] = archive(t, nil)
	fsys, _ := stagetest.Run(t, w, kernel.Stage{}, modules.Stage{}, initramfs.Stage{})
	got := entries(t, stagetest.Read(t, fsys, "initramfs.cpio.gz"))
	for _, name := range []string{"cmac.ko", "CMAC.ko"} {
		if !slices.Contains(got, "lib/modules/6.12.47-v8/kernel/crypto/"+name) {
			t.Errorf("%s is not in %v", name, got)
		}
	}
}

// Modules are the lowest layer on top of the base, and go through its links.
func TestInTheInitramfs(t *testing.T) {
	w := world(t, release, `select = ["cmac", "ecc"]
[[initramfs.file]]
path = "lib/modules/6.12.47-v8/modules.symbols"
content = "overlaid"`)
	w.Files["base.cpio"] = archive(t, []newc.Entry{
		{Name: "usr", Mode: newc.Dir | 0o755}, {Name: "lib", Mode: newc.Symlink | 0o777, Size: 7},
	})
	fsys, _ := stagetest.Run(t, w, kernel.Stage{}, modules.Stage{}, initramfs.Stage{})
	image := stagetest.Read(t, fsys, "initramfs.cpio.gz")
	const top = "usr/lib/modules/6.12.47-v8"
	want := []string{
		"usr", "lib", "usr/lib", "usr/lib/modules", top, top + "/kernel", top + "/kernel/crypto", top + "/kernel/crypto/cmac.ko", top + "/kernel/crypto/ecc.ko",
	}
	for _, name := range []string{
		"alias", "alias.bin", "builtin", "builtin.alias.bin", "builtin.bin", "builtin.modinfo", "dep", "dep.bin", "devname", "order", "softdep", "symbols", "symbols.bin",
	} {
		want = append(want, top+"/modules."+name)
	}
	if d := cmp.Diff(want, entries(t, image)); d != "" {
		t.Errorf("initramfs (-want +got):\n%s", d)
	}
	err := initrd.Walk(strings.NewReader(image), func(e newc.Entry, body io.Reader) error {
		b, err := io.ReadAll(body)
		if e.Name == top+"/modules.symbols" && string(b) != "overlaid" {
			t.Errorf("%s is %q", e.Name, b)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestBaseWithModulesOfThatRelease(t *testing.T) {
	w := world(t, release, `select = ["cmac"]`)
	base := []newc.Entry{}
	for _, dir := range []string{"usr", "usr/lib", "usr/lib/modules", "usr/lib/modules/6.12.47-v8"} {
		base = append(base, newc.Entry{Name: "./" + dir, Mode: newc.Dir | 0o755})
	}
	w.Files["base.cpio"] = archive(t, append(base, newc.Entry{Name: "./usr/lib/modules/6.12.47-v8/modules.dep", Mode: newc.Regular | 0o644}))
	err := stagetest.Fails(t, w, kernel.Stage{}, modules.Stage{}, initramfs.Stage{})
	if want := "initramfs.modules: the base has modules of 6.12.47-v8 already, such as modules.dep: "; !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

// archive has these entries, with a body of dashes.
func archive(t *testing.T, all []newc.Entry) string {
	t.Helper()
	var b bytes.Buffer
	w := newc.NewWriter(&b)
	for _, e := range all {
		body := strings.Repeat("-", int(e.Size))
		if e.Type() == newc.Symlink {
			body = "usr/lib"
		}
		if err := w.WriteEntry(e, strings.NewReader(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// entries are the names in an initramfs, in order.
func entries(t *testing.T, image string) []string {
	t.Helper()
	var names []string
	err := initrd.Walk(strings.NewReader(image), func(e newc.Entry, _ io.Reader) error {
		names = append(names, e.Name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
