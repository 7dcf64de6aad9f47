package kernel_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/stages/kernel"
	"piimg/pipeline/stages/stagetest"
)

// image is the least that is a kernel: the 64 bytes of Documentation/arch/arm64/booting.rst
// and a banner.
func image() string {
	h := make([]byte, 64)
	binary.LittleEndian.PutUint64(h[16:], 1<<20) // image_size
	binary.LittleEndian.PutUint64(h[24:], 2)     // flags: 4 KiB pages
	copy(h[56:], "ARM\x64")
	return string(h) + strings.Repeat("\x00", 5000) + "Linux version 6.6.1-test (gcc) #1\n"
}

func world(table string, files map[string]string) stagetest.World {
	w := stagetest.World{
		Recipe: `
name   = "t"
boards = ["pi4b"]
[firmware]
from = "fw"
[sources.fw]
path = "fw"
[kernel]
file    = "k/Image"
cmdline = "quiet"
[dtb]
` + table,
		Files: map[string]string{"k/Image": image(), "fw/x": "", "k/a.dtb": "a", "k/b.dtb": "b"},
	}
	for name, text := range files {
		w.Files[name] = text
	}
	return w
}

func TestKernelAndTrees(t *testing.T) {
	w := world(`files = ["k/*.dtb"]
overlays = ["one,param=1", "two"]
overlays_from = "k/overlays"
ship = ["extra-*.dtbo"]`, map[string]string{
		"k/overlays/one.dtbo": "1", "k/overlays/two.dtbo": "2", "k/overlays/extra-x.dtbo": "x", "k/overlays/unused.dtbo": "u",
	})
	stagetest.Plan(t, kernel.Stage{}, w)
	fsys, files := stagetest.Run(t, w, kernel.Stage{})
	var got []string
	for _, f := range files {
		got = append(got, f.Path)
	}
	want := []string{"a.dtb", "b.dtb", "kernel8.img", "overlays/extra-x.dtbo", "overlays/one.dtbo", "overlays/two.dtbo"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if stagetest.Read(t, fsys, "kernel8.img") != image() {
		t.Error("the kernel was changed")
	}
}

// The licence goes along: the one that the recipe names, or that lies in the kernel's source.
func TestLicence(t *testing.T) {
	inSource := strings.NewReplacer(`file    = "k/Image"`, `file    = "src:boot/Image"`, "[kernel]", "[sources.src]\npath = \"src\"\n[kernel]")
	source := map[string]string{"src/boot/Image": image(), "src/LICENSE.linux": "top", "k/GPL": "named"}
	for name, tt := range map[string]struct {
		edit  func(string) string
		files map[string]string
		want  string
	}{
		"named":              {func(s string) string { return strings.Replace(s, "cmdline", "licence = \"k/GPL\"\ncmdline", 1) }, source, "named"},
		"at the top":         {inSource.Replace, source, "top"},
		"beside the kernel":  {inSource.Replace, map[string]string{"src/boot/Image": image(), "src/LICENSE.linux": "top", "src/boot/COPYING.linux": "beside"}, "beside"},
		"none":               {inSource.Replace, map[string]string{"src/boot/Image": image()}, ""},
		"beside the recipe":  {func(s string) string { return s }, map[string]string{"k/COPYING.linux": "unnamed"}, ""},
		"a folder is no one": {inSource.Replace, map[string]string{"src/boot/Image": image(), "src/COPYING.linux/x": ""}, ""},
	} {
		w := world(`files = ["k/a.dtb"]`, tt.files)
		w.Recipe = tt.edit(w.Recipe)
		stagetest.Plan(t, kernel.Stage{}, w)
		fsys, files := stagetest.Run(t, w, kernel.Stage{})
		got := ""
		for _, f := range files {
			if f.Path == "COPYING.linux" {
				got = stagetest.Read(t, fsys, f.Path)
			}
		}
		if got != tt.want {
			t.Errorf("%s: %q goes along, want %q", name, got, tt.want)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		world stagetest.World
		want  string
	}{
		"not a kernel":  {world(`files = ["k/a.dtb"]`, map[string]string{"k/Image": "\x7fELF and more than that" + strings.Repeat(" ", 100)}), "kernel.file: k/Image: "},
		"no overlay":    {world("files = [\"k/a.dtb\"]\noverlays = [\"none\"]\noverlays_from = \"k\"", nil), "dtb.overlays[0]: overlay none for pi4b: "},
		"nothing ships": {world("files = [\"k/a.dtb\"]\nship = [\"no*.dtbo\"]\noverlays_from = \"k\"", nil), "dtb.ship[0]: no*.dtbo: "},
		"broken map":    {world("files = [\"k/a.dtb\"]\noverlays = [\"one\"]\noverlays_from = \"k/o\"", map[string]string{"k/o/one.dtbo": "", "k/o/overlay_map.dtb": "junk"}), "overlay_map.dtb: "},
	} {
		if err := stagetest.Fails(t, tt.world, kernel.Stage{}); !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
