package stages_test

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

	"piimg/pipeline"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

const (
	release   = "6.12.47-v8"
	moduleDir = "lib/modules/" + release + "/"
)

// withModules is the quickstart with modules of its kernel, on a base that costs nothing.
func withModules(t *testing.T, more string) *bench {
	t.Helper()
	b := open(t, "quickstart.toml")
	text, err := os.ReadFile(filepath.Join(b.dir, "quickstart.toml"))
	if err != nil {
		t.Fatal(err)
	}
	recipe := strings.Replace(string(text), `base     = "uroot"`, `base     = "base.cpio"`, 1) + more
	lock, err := os.ReadFile(filepath.Join(b.dir, "quickstart.lock"))
	if err != nil {
		t.Fatal(err)
	}
	var base bytes.Buffer
	w := newc.NewWriter(&base)
	if err := w.WriteEntry(newc.Entry{Name: "init", Mode: newc.Regular | 0o755}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"modules.toml": []byte(recipe), "modules.lock": lock, "base.cpio": base.Bytes()} {
		if err := os.WriteFile(filepath.Join(b.dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b.load(t, "modules.toml")
	b.Stages = slices.DeleteFunc(b.Stages, func(s pipeline.Stage) bool { return s.Name() == "uroot" })
	return b
}

// The real kernel's modules: the archive has what was asked for with what it needs, and
// nothing else; depmod makes the same of it; and a change of the selection runs what it has to.
func TestModules(t *testing.T) {
	b := withModules(t, `
[initramfs.modules]
from   = "kernel"
select = ["hci-uart", "kernel/drivers/media/common/uvc.ko", "genet"]
`)
	image, _ := b.build(t.Context(), t)
	archive, err := fs.ReadFile(pipeline.FS(t.Context(), b.Store, image.Files), "initramfs.cpio.gz")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := image.File(moduleDir + "modules.dep"); ok {
		t.Error("the modules are boot files")
	}
	root, modules := unpack(t, archive)
	want := []string{
		"kernel/crypto/ecc.ko", "kernel/crypto/ecdh_generic.ko", "kernel/drivers/bluetooth/btbcm.ko",
		"kernel/drivers/bluetooth/hci_uart.ko", "kernel/drivers/media/common/uvc.ko", "kernel/net/bluetooth/bluetooth.ko",
	}
	if d := cmp.Diff(want, modules); d != "" {
		t.Errorf("modules (-want +got):\n%s", d)
	}
	dep, err := os.ReadFile(filepath.Join(root, moduleDir, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("depmod", "-n", "-b", root, release).Output()
	if err != nil || !bytes.HasPrefix(out, append(dep, "# Aliases"...)) {
		t.Errorf("depmod -n: %v, and says\n%s\nthe archive has\n%s", err, out, dep)
	}
	if _, second := b.build(t.Context(), t); len(second.Ran) > 0 {
		t.Errorf("a second build ran %v", second.Ran)
	}

	b.recipe.Initramfs.Modules.Select = []string{"cmac"}
	if _, changed := b.build(t.Context(), t); !slices.Equal(changed.Ran, []string{"modules", "initramfs", "bootfs"}) {
		t.Errorf("another selection ran %v", changed.Ran)
	}
}

// unpack writes the files of an initramfs to a folder and lists the modules.
func unpack(t *testing.T, archive []byte) (root string, modules []string) {
	t.Helper()
	root = t.TempDir()
	err := initrd.Walk(bytes.NewReader(archive), func(e newc.Entry, body io.Reader) error {
		name := filepath.Join(root, e.Name)
		switch e.Type() {
		case newc.Dir:
			return os.MkdirAll(name, 0o755)
		case newc.Regular:
			if m, ok := strings.CutPrefix(e.Name, moduleDir); ok && strings.HasPrefix(m, "kernel/") {
				modules = append(modules, m)
			}
			b, err := io.ReadAll(body)
			if err != nil {
				return err
			}
			return os.WriteFile(name, b, 0o644)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return root, modules
}
