package configtxt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBoots compares with what real boards asked for. Each file of testdata/boots is one
// published boot: where it is from, the board, config.txt, the files that were there, and
// what the board then asked for ("armstub?" and several kernels: looked for).
func TestBoots(t *testing.T) {
	names, err := filepath.Glob("testdata/boots/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("no recorded boots: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			rec := readBoot(t, name)
			got := describe(resolveBoot(rec))
			want := strings.Fields(strings.ReplaceAll(rec["asked"], " ", "\t"))
			if diff := cmp.Diff(pairs(want), pairs(got)); diff != "" {
				t.Errorf("%s: asked for (-recorded +resolved):\n%s", name, diff)
			}
		})
	}
}

func resolveBoot(rec map[string]string) Files {
	model, serial, _ := strings.Cut(strings.TrimSpace(rec["board"]), " ")
	b := boards()[model]
	s, _ := strconv.ParseUint(serial, 16, 32)
	b.Serial = uint32(s)
	present := strings.Fields(rec["present"])
	read := func(name string) ([]byte, error) {
		if text, ok := rec[name]; ok {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	}
	boot, _ := Eval(read, "config.txt", b, Bootloader)
	fw, _ := Eval(read, "config.txt", b, Firmware)
	return Resolve(boot, fw, b, func(name string) bool { return slices.Contains(present, name) })
}

// describe lists files as "kind name" words; the order of kinds carries no meaning.
func describe(f Files) []string {
	var out []string
	add := func(kind string, names ...string) {
		for _, n := range names {
			if n != "" {
				out = append(out, kind, n)
			}
		}
	}
	add("ramdisk", f.Ramdisk)
	add("start", f.Start)
	add("fixup", f.Fixup)
	add("kernel", f.Kernels...)
	add("initramfs", f.Initramfs...)
	add("dtb", f.DTBs...)
	add("overlaydir", f.OverlayDir)
	for _, o := range f.Overlays {
		add("overlay", o.Name)
	}
	add("cmdline", f.Cmdline)
	stub := "armstub?"
	if f.NeedStub {
		stub = "armstub"
	}
	add(stub, f.ArmStubs...)
	return out
}

// pairs groups names by kind, in order.
func pairs(words []string) map[string][]string {
	m := map[string][]string{}
	for i := 0; i+1 < len(words); i += 2 {
		m[words[i]] = append(m[words[i]], words[i+1])
	}
	return m
}

// readBoot splits "-- name --" sections.
func readBoot(t *testing.T, name string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	current := ""
	for line := range strings.Lines(string(text)) {
		if head, ok := strings.CutPrefix(line, "-- "); ok {
			current = strings.TrimSuffix(strings.TrimSpace(head), " --")
			sections[current] = ""
			continue
		}
		sections[current] += line
	}
	if sections[""] == "" || sections["board"] == "" || sections["asked"] == "" {
		t.Fatal(errors.Join(fmt.Errorf("%s: source, board or asked is missing", name)))
	}
	return sections
}

// boards are the boards of the tests, after the board table of recipes/boards.
func boards() map[string]Board {
	pi3 := Board{
		Platform: "bcm2835", Filters: []string{"pi3"},
		Starts: []string{"start.elf"}, Fixups: []string{"fixup.dat"},
		Kernels: []string{"kernel8.img"}, Kernels32: []string{"kernel8-32.img", "kernel7.img"},
		ArmStubs: []string{"armstub8.bin"},
	}
	pi4 := Board{
		Platform: "bcm2711", Filters: []string{"pi4"}, Arm64: true,
		Starts: []string{"start4.elf"}, Fixups: []string{"fixup4.dat"},
		Kernels: []string{"kernel8.img"}, Kernels32: []string{"kernel7l.img"},
		ArmStubs: []string{"armstub8-gic.bin"},
	}
	pi5 := Board{
		Platform: "bcm2712", Filters: []string{"pi5"}, Arm64: true, OnlyArm64: true,
		Kernels: []string{"kernel_2712.img", "kernel8.img"}, ArmStubs: []string{"armstub8-2712.bin"},
	}
	m := map[string]Board{}
	add := func(base Board, model string, typ int, dtb, upstream string, filters ...string) {
		base.Model, base.Type, base.DTBs = model, typ, []string{dtb}
		base.Upstream = []string{upstream}
		base.Filters = slices.Concat(base.Filters, filters)
		m[model] = base
	}
	add(pi3, "pi3b", 0x08, "bcm2710-rpi-3-b.dtb", "bcm2837-rpi-3-b.dtb")
	add(pi3, "pi3b+", 0x0d, "bcm2710-rpi-3-b-plus.dtb", "bcm2837-rpi-3-b-plus.dtb", "pi3+")
	add(pi4, "pi4b", 0x11, "bcm2711-rpi-4-b.dtb", "bcm2711-rpi-4-b.dtb", "pi4b")
	add(pi4, "pi400", 0x13, "bcm2711-rpi-400.dtb", "bcm2711-rpi-400.dtb", "pi400")
	add(pi4, "cm4", 0x14, "bcm2711-rpi-cm4.dtb", "bcm2711-rpi-cm4-io.dtb", "cm4")
	add(pi5, "pi5", 0x17, "bcm2712-rpi-5-b.dtb", "bcm2712-rpi-5-b.dtb")
	add(pi5, "cm5", 0x18, "bcm2712-rpi-cm5-cm5io.dtb", "bcm2712-rpi-cm5-cm5io.dtb", "cm5")
	return m
}
