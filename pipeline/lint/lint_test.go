package lint

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/bootsig"
	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/configtxt"
	"piimg/pipeline/format/fat"
	"piimg/pipeline/format/fdt/gomodtest"
)

var (
	pi3 = Board{ROMFiles: []string{"bootcode.bin"}, Board: configtxt.Board{
		Model: "pi3b", Filters: []string{"pi3"}, Type: 0x08, Platform: "bcm2835",
		Starts: []string{"start.elf"}, Fixups: []string{"fixup.dat"},
		Kernels: []string{"kernel8.img"}, Kernels32: []string{"kernel7.img"},
		DTBs: []string{"pi3.dtb"}, ArmStubs: []string{"armstub8.bin"},
	}}
	pi4 = Board{Board: configtxt.Board{
		Model: "pi4b", Filters: []string{"pi4", "pi4b"}, Type: 0x11, Platform: "bcm2711", Arm64: true,
		Starts: []string{"start4.elf"}, Fixups: []string{"fixup4.dat"},
		Kernels: []string{"kernel8.img"}, Kernels32: []string{"kernel7l.img"},
		DTBs: []string{"bcm2711-rpi-4-b.dtb"}, ArmStubs: []string{"armstub8-gic.bin"},
	}}
	pi5 = Board{Board: configtxt.Board{
		Model: "pi5", Filters: []string{"pi5"}, Type: 0x17, Platform: "bcm2712", Arm64: true, OnlyArm64: true,
		Kernels: []string{"kernel_2712.img", "kernel8.img"}, DTBs: []string{"bcm2712-rpi-5-b.dtb", "bcm2712d0-rpi-5-b.dtb"},
	}}
	pi400 = func() Board { b := pi4; b.Model = "pi400"; return b }()
)

// kernel is the header of an arm64 image with flags.
func kernel(flags byte) string {
	b := make([]byte, 64)
	copy(b[56:], "ARM\x64")
	b[24] = flags
	return string(b)
}

const (
	kernel4K  = 0b0010
	kernel16K = 0b0100
)

// tree is a device tree whose root has compatible strings.
func tree(compatible string) string {
	var s []byte
	words := func(b []byte, vs ...uint32) []byte {
		for _, v := range vs {
			b = binary.BigEndian.AppendUint32(b, v)
		}
		return b
	}
	value := compatible + "\x00"
	s = words(s, 1, 0, 3, uint32(len(value)), 0)
	s = append(s, value...)
	s = append(s, make([]byte, -len(s)&3)...)
	s = words(s, 2, 9)
	const names, at = "compatible\x00", 40 + 16
	head := words(nil, 0xd00dfeed, uint32(at+len(s)+len(names)), at, uint32(at+len(s)), 40, 17, 16, 0,
		uint32(len(names)), uint32(len(s)), 0, 0, 0, 0)
	return string(head) + string(s) + names
}

// overlayTree is overlay_map.dtb as dtc makes it.
func overlayTree(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "dtc", "-q", "-I", "dts", "-O", "dtb")
	cmd.Stdin = strings.NewReader(`/dts-v1/; / {
		kms { bcm2711 = "kms-pi4"; bcm2712 = "kms-pi5"; };
		old { deprecated = "use new"; };
	};`)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("dtc (apt-get install device-tree-compiler): %v", err)
	}
	return string(out)
}

// startText is a start file that says what it was built as.
func startText(variant string) string {
	return "\x7fELF auto_initramfs VC_BUILD_ID_VARIANT: " + variant + "\x00" + "1468\x00\x00\x00\x00octet\x00\x00\x00tsize\x00\x00\x00blksize\x00"
}

// startOf is a start file that says when it was built too.
func startOf(day string) string {
	return startText("start") + "VC_BUILD_ID_TIME: 11:20:25\x00\x00VC_BUILD_ID_TIME: " + day + "\x00"
}

// fixupFor is the end of a fixup file for a start file of so many bytes.
func fixupFor(size int) string {
	last := size/2 + 1 - 2*10
	return "\x03\x0f\x15\x36\x01\x0a\x00\x00\x01\x0a\x00\x00\x01" + string([]byte{byte(last), byte(last >> 8), byte(last >> 16)})
}

// good is an image for every board, without a finding. Each test changes one thing of it.
func good() map[string]string {
	return map[string]string{
		"config.txt":            "arm_64bit=1\n",
		"LICENCE.broadcom":      "licence",
		"bootcode.bin":          "rom",
		"start.elf":             startText("start"),
		"fixup.dat":             "fixup",
		"start4.elf":            startText("start"),
		"fixup4.dat":            "fixup",
		"kernel8.img":           kernel(kernel4K),
		"pi3.dtb":               tree("raspberrypi,3-model-b\x00brcm,bcm2837"),
		"bcm2711-rpi-4-b.dtb":   tree("raspberrypi,4-model-b\x00brcm,bcm2711"),
		"bcm2712-rpi-5-b.dtb":   tree("raspberrypi,5-model-b\x00brcm,bcm2712\x00test,rp1"),
		"bcm2712d0-rpi-5-b.dtb": tree("raspberrypi,5-model-b\x00brcm,bcm2712\x00test,rp1"),
	}
}

// bigFS is a MapFS in which some files are larger than they are.
type bigFS struct {
	fstest.MapFS
	sizes map[string]int64
}

type bigInfo struct {
	fs.FileInfo
	n int64
}

func (i bigInfo) Size() int64 { return i.n }

func (b bigFS) Stat(name string) (fs.FileInfo, error) {
	info, err := b.MapFS.Stat(name)
	if n, ok := b.sizes[name]; ok && err == nil {
		return bigInfo{info, n}, nil
	}
	return info, err
}

func filesOf(m map[string]string) fstest.MapFS {
	files := fstest.MapFS{}
	for name, text := range m {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

// show is a finding as one line: level rule [boards] file:line message.
func show(findings []Finding) []string {
	var out []string
	for _, f := range findings {
		out = append(out, fmt.Sprintf("%s %s %v %s:%d %s", f.Level, f.Rule, f.Boards, f.File, f.Line, f.Message))
	}
	return out
}

func check(t *testing.T, files fs.FS, target Target) []string {
	t.Helper()
	findings, err := Check(context.Background(), files, target)
	if err != nil {
		t.Fatal(err)
	}
	return show(findings)
}

func TestGood(t *testing.T) {
	target := Target{Boards: []Board{pi3, pi4, pi400, pi5}, Bootloader: "2025-09-23"}
	if got := check(t, filesOf(good()), target); got != nil {
		t.Errorf("findings of an image without faults:\n%s", strings.Join(got, "\n"))
	}
}

// TestRules has a failing and, beside it, a passing case for every rule.
func TestRules(t *testing.T) {
	const absent = "\x00absent"
	overlayMap := overlayTree(t)
	signed, key, otherKey := signedRamdisk(t)
	type change map[string]string
	tests := []struct {
		rule, name string
		boards     []Board
		change     change           // of good; absent removes
		sizes      map[string]int64 // bytes
		date, want string           // of the bootloader; substring of the only finding of the rule, "" for none
	}{
		{"P01", "missing", []Board{pi4}, change{"config.txt": absent}, nil, "", "error P01 [pi4b] config.txt:0 missing"},
		{"P01", "missing on a Pi 5", []Board{pi5}, change{"config.txt": absent}, nil, "", "does not boot without it"},
		{"P01", "include missing", []Board{pi4}, change{"config.txt": "\ninclude a.txt\n"}, nil, "", "error P01 [pi4b] config.txt:2 include of a.txt"},
		{"P01", "include missing, for another board", []Board{pi4}, change{"config.txt": "[pi5]\ninclude a.txt\n"}, nil, "", ""},
		{"P01", "empty", []Board{pi4}, change{"config.txt": ""}, nil, "", ""},

		{"P02", "missing", []Board{pi4}, change{"bcm2711-rpi-4-b.dtb": absent}, nil, "", "error P02 [pi4b] config.txt:0 no device tree: looked for bcm2711-rpi-4-b.dtb"},
		{"P02", "named and missing", []Board{pi4}, change{"config.txt": "device_tree=a.dtb\n"}, nil, "", "config.txt:1 no device tree: looked for a.dtb"},
		{"P02", "none wanted", []Board{pi4}, change{"config.txt": "device_tree=\n", "bcm2711-rpi-4-b.dtb": absent}, nil, "", ""},
		{"P02", "of another chip", []Board{pi4}, change{"bcm2711-rpi-4-b.dtb": tree("brcm,bcm2712")}, nil, "", "is for brcm,bcm2712, not for brcm,bcm2711"},
		{"P02", "no device tree at all", []Board{pi4}, change{"bcm2711-rpi-4-b.dtb": "version https://git-lfs"}, nil, "", "not a valid flattened device tree"},
		{"P02", "without RP1", []Board{pi5}, change{"bcm2712-rpi-5-b.dtb": tree("brcm,bcm2712")}, nil, "", "warning P02 [pi5] bcm2712-rpi-5-b.dtb:0 does not describe the RP1"},
		{"P02", "a variant is missing", []Board{pi5}, change{"bcm2712d0-rpi-5-b.dtb": absent}, nil, "", "warning P02 [pi5] bcm2712d0-rpi-5-b.dtb:0 missing"},
		{"P02", "under os_prefix", []Board{pi4}, change{"config.txt": "os_prefix=a/\n", "a/kernel8.img": kernel(kernel4K), "a/bcm2711-rpi-4-b.dtb": tree("brcm,bcm2711"), "bcm2711-rpi-4-b.dtb": absent}, nil, "", ""},

		{"P03", "missing", []Board{pi5}, change{"kernel8.img": absent}, nil, "", "error P03 [pi5] config.txt:0 no kernel: looked for kernel_2712.img, kernel8.img"},
		{"P03", "named and missing", []Board{pi4}, change{"config.txt": "kernel=vmlinuz\n"}, nil, "", "config.txt:1 no kernel: looked for vmlinuz"},
		{"P03", "32-bit", []Board{pi4}, change{"config.txt": "arm_64bit=0\n"}, nil, "", "looked for kernel7l.img"},
		{"P03", "armstub missing", []Board{pi4}, change{"config.txt": "armstub=RPI_EFI.fd\n"}, nil, "", "config.txt:1 armstub=RPI_EFI.fd is missing"},
		{"P03", "armstub without a kernel", []Board{pi4}, change{"config.txt": "armstub=RPI_EFI.fd\n", "RPI_EFI.fd": "fd", "kernel8.img": absent}, nil, "", ""},
		{"P03", "ramdisk missing", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n"}, nil, "", "boot_ramdisk=1, but boot.img is missing"},
		{"P03", "ramdisk", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": "fat", "kernel8.img": absent}, nil, "", ""},

		{"P04", "start missing", []Board{pi4}, change{"start4.elf": absent}, nil, "", "error P04 [pi4b] start4.elf:0 missing"},
		{"P04", "variant missing", []Board{pi4}, change{"config.txt": "start_x=1\n", "start4x.elf": startText("start_x")}, nil, "", "fixup4x.dat:0 missing"},
		{"P04", "variant", []Board{pi4}, change{"config.txt": "start_x=1\n", "start4x.elf": startText("start_x"), "fixup4x.dat": "f"}, nil, "", ""},
		{"P04", "not a pair", []Board{pi4}, change{"config.txt": "start_file=start4.elf\nfixup_file=fixup4x.dat\n", "fixup4x.dat": "f"}, nil, "", "fixup4x.dat:0 is not the counterpart of start4.elf"},
		{"P04", "half a pair", []Board{pi4}, change{"config.txt": "start_file=start4.elf\n"}, nil, "", "config.txt:1 start_file and fixup_file are a pair"},
		{"P04", "built as another", []Board{pi4}, change{"start4.elf": startText("start_cd")}, nil, "", "was built as start_cd, but is called start4.elf"},
		{"P04", "of another build", []Board{pi4}, change{"start4.elf": startOf("May  1 2026"), "fixup4.dat": fixupFor(2249280)}, nil, "", "error P04 [pi4b] fixup4.dat:0 is for a start4.elf of 2249280 bytes, and this one has 137: they are of two builds"},
		{"P04", "of a build that nobody has studied", []Board{pi4}, change{"start4.elf": startOf("May 22 2026"), "fixup4.dat": fixupFor(2249280)}, nil, "", "warning P04 [pi4b] fixup4.dat:0 seems to be for a start4.elf of 2249280 bytes, and this one has 137"},
		{"P04", "of a build without a date", []Board{pi4}, change{"fixup4.dat": fixupFor(2249280)}, nil, "", "warning P04 [pi4b] fixup4.dat:0 seems to be for a start4.elf of 2249280 bytes, and this one has 79"},
		{"P04", "of one build", []Board{pi4}, change{"start4.elf": startText("start") + "\x00", "fixup4.dat": fixupFor(80)}, nil, "", ""},
		{"P04", "a row that is not understood", []Board{pi4}, change{"fixup4.dat": "\x0f\x36\x01\x00\x01\x00\x15\x01\x00\x01\x00"}, nil, "", ""},
		{"P04", "no firmware", []Board{pi4}, change{"start4.elf": "<html>"}, nil, "", "is no ELF file"},
		{"P04", "boot ROM", []Board{pi3}, change{"bootcode.bin": absent}, nil, "", "error P04 [pi3b] bootcode.bin:0 missing"},
		{"P04", "no start file on a Pi 5", []Board{pi5}, change{"start4.elf": absent, "fixup4.dat": absent}, nil, "", ""},

		{"P05", "missing", []Board{pi4}, change{"config.txt": "initramfs a,b\n", "a": "1234"}, nil, "", "error P05 [pi4b] config.txt:1 initramfs b is missing"},
		{"P05", "not padded", []Board{pi4}, change{"config.txt": "ramfsfile=a\n", "a": "12345"}, nil, "", "warning P05 [pi4b] a:0 5 bytes, no multiple of 4"},
		{"P05", "as it should be", []Board{pi4}, change{"config.txt": "initramfs a,b followkernel\n", "a": "1234", "b": "12345678"}, nil, "", ""},

		{"P06", "equals sign", []Board{pi4}, change{"config.txt": "initramfs=a\n"}, nil, "", "error P06 [] config.txt:1 initramfs with"},
		{"P06", "too long", []Board{pi4}, change{"config.txt": "initramfs " + strings.Repeat("a", 65) + "\n"}, nil, "", "65 characters of names"},
		{"P06", "longest", []Board{pi4}, change{"config.txt": "initramfs " + strings.Repeat("a", 64) + " 0\n"}, nil, "", ""},

		{"P07", "too long", nil, change{"config.txt": "a=" + strings.Repeat("b", 97) + "\n"}, nil, "", "error P07 [] config.txt:1 99 characters"},
		{"P07", "long", nil, change{"config.txt": "a=" + strings.Repeat("b", 77) + "\n"}, nil, "", "warning P07 [] config.txt:1 79 characters"},
		{"P07", "longest", nil, change{"config.txt": "a=" + strings.Repeat("b", 76) + "\n"}, nil, "", ""},
		{"P07", "comment", nil, change{"config.txt": "#" + strings.Repeat("b", 100) + "\n"}, nil, "", ""},

		{"P08", "not ASCII", nil, change{"config.txt": "a=1\n# caf\u00e9\nb=1\n"}, nil, "", "error P08 [] config.txt:2 a character that is not ASCII"},
		{"P08", "byte order mark", nil, change{"config.txt": "\ufeffa=1\n"}, nil, "", "error P08 [] config.txt:1 byte order mark"},
		{"P08", "carriage return", nil, change{"config.txt": "a=1\nb=1\r\nc=1\r\n"}, nil, "", "warning P08 [] config.txt:2 carriage return"},
		{"P08", "tab", nil, change{"config.txt": "include\ta.txt\n"}, nil, "", "warning P08 [] config.txt:1 tab"},
		{"P08", "no line feed at the end", nil, change{"config.txt": "a=1\nb=1"}, nil, "", "warning P08 [] config.txt:2 no line feed"},
		{"P08", "in an include", []Board{pi4}, change{"config.txt": "include a.txt\n", "a.txt": "a=\u00e9\n"}, nil, "", "error P08 [] a.txt:1"},
		{"P08", "plain", nil, change{"config.txt": "# a\n\n[all]\na=1\n"}, nil, "", ""},

		{"P09", "too large", nil, change{"config.txt": strings.Repeat("#\n", 2049)}, nil, "", "warning P09 [] config.txt:0 4098 bytes"},
		{"P09", "largest", nil, change{"config.txt": strings.Repeat("#\n", 2048)}, nil, "", ""},

		{"P10", "space before the equals sign", nil, change{"config.txt": "kernel =a\n"}, nil, "", "warning P10 [] config.txt:1 space around the name"},
		{"P10", "space after the equals sign", nil, change{"config.txt": "kernel= a\n"}, nil, "", "space around the value of kernel"},
		{"P10", "comment after a value", nil, change{"config.txt": "kernel=a # b\n"}, nil, "", "the comment becomes part of the value of kernel"},
		{"P10", "junk", nil, change{"config.txt": "kernel8.img\n"}, nil, "", "the firmware does not understand"},
		{"P10", "unknown filter", []Board{pi4, pi5}, change{"config.txt": "[pi6]\n"}, nil, "", "no board of this image knows the filter [pi6]"},
		{"P10", "filter in capitals", []Board{pi4}, change{"config.txt": "[Pi4]\n"}, nil, "", "filter [Pi4] is not in lower case"},
		{"P10", "documented in capitals", []Board{pi4}, change{"config.txt": "[HDMI:0]\n[EDID=X]\n[0xAB]\n"}, nil, "", ""},
		{"P10", "well written", []Board{pi4}, change{"config.txt": "# a # b\n[pi4]\ndtparam=i2c_arm=on\ninitramfs a 0\n[all]\n"}, nil, "", ""},

		{"P11", "in an include", []Board{pi4}, change{"config.txt": "include a.txt\n", "a.txt": "\nstart_x=1\n"}, nil, "", "error P11 [pi4b] a.txt:2 start_x is read by the bootloader"},
		{"P11", "under a filter that it does not know", []Board{pi4}, change{"config.txt": "[HDMI:0]\nboot_ramdisk=1\n"}, nil, "", "config.txt:2 boot_ramdisk"},
		{"P11", "overridden where it does not see it", []Board{pi4}, change{"config.txt": "gpu_mem=64\ninclude a.txt\n", "a.txt": "gpu_mem=16\n"}, nil, "", "a.txt:1 gpu_mem"},
		{"P11", "under a filter that it knows", []Board{pi4}, change{"config.txt": "[pi4]\ngpu_mem=64\n[gpio4=1]\nstart_x=1\n"}, nil, "", ""},
		{"P11", "of no concern to a Pi 5", []Board{pi5}, change{"config.txt": "include a.txt\n", "a.txt": "start_x=1\n"}, nil, "", ""},

		{"P12", "behind a blank line", []Board{pi4, pi5}, change{"config.txt": "[pi5]\ngpu_mem=64\n\nkernel=kernel8.img\n"}, nil, "", "warning P12 [pi4b] config.txt:4 kernel is still under [pi5]"},
		{"P12", "initramfs", []Board{pi4, pi5}, change{"config.txt": "[pi4]\na=1\n\ninitramfs a 0\n", "a": "1234"}, nil, "", "warning P12 [pi5] config.txt:4 initramfs is still under [pi4]"},
		{"P12", "closed", []Board{pi4, pi5}, change{"config.txt": "[pi5]\ngpu_mem=64\n\n[all]\nkernel=kernel8.img\n"}, nil, "", ""},
		{"P12", "meant for some", []Board{pi4, pi5}, change{"config.txt": "[pi5]\nkernel=kernel8.img\n"}, nil, "", ""},
		{"P12", "every board has it", []Board{pi5}, change{"config.txt": "[pi5]\na=1\n\nkernel=kernel8.img\n"}, nil, "", ""},

		{"P13", "missing", []Board{pi4}, change{"config.txt": "dtoverlay=a\n"}, nil, "", "error P13 [pi4b] config.txt:1 overlay a is missing: looked for overlays/a.dtbo"},
		{"P13", "mapped", []Board{pi4}, change{"config.txt": "dtoverlay=kms\n", "overlays/overlay_map.dtb": overlayMap, "overlays/kms.dtbo": "o"}, nil, "", "looked for overlays/kms-pi4.dtbo"},
		{"P13", "unsupported", []Board{pi3}, change{"config.txt": "dtoverlay=kms\n", "overlays/overlay_map.dtb": overlayMap}, nil, "", "overlay kms is not supported on bcm2835"},
		{"P13", "deprecated", []Board{pi4}, change{"config.txt": "dtoverlay=old\n", "overlays/overlay_map.dtb": overlayMap}, nil, "", "overlay old is deprecated: use new"},
		{"P13", "map broken", []Board{pi4}, change{"config.txt": "dtoverlay=a\n", "overlays/overlay_map.dtb": "x", "overlays/a.dtbo": "o"}, nil, "", "overlays/overlay_map.dtb:0 parse overlay map"},
		{"P13", "upstream overlay", []Board{pi3}, change{"config.txt": "upstream_kernel=1\narm_64bit=1\n"}, nil, "", "config.txt:1 overlay upstream is missing"},
		{"P13", "there", []Board{pi4, pi5}, change{"config.txt": "dtoverlay=kms,x=1\n", "overlays/overlay_map.dtb": overlayMap, "overlays/kms-pi4.dtbo": "o", "overlays/kms-pi5.dtbo": "o"}, nil, "", ""},

		{"P14", "missing", []Board{pi4, pi400}, change{"config.txt": "dtoverlay=a\n", "overlays/a.dtbo": "o"}, nil, "", "warning P14 [pi4b pi400] overlays/overlay_map.dtb:0 missing"},
		{"P14", "no overlay", []Board{pi4}, change{"config.txt": "dtparam=i2c=on\n"}, nil, "", ""},

		{"P15", "no overlays", []Board{pi4}, change{"config.txt": "camera_auto_detect=1\n"}, nil, "", "warning P15 [pi4b] config.txt:1 the firmware may choose an overlay that is not there: ov5647, imx219, imx477, imx708"},
		{"P15", "one missing", []Board{pi4}, change{"config.txt": "display_auto_detect=1\n", "overlays/x.dtbo": "o"}, nil, "", "not there: vc4-kms-dsi-7inch"},
		{"P15", "there", []Board{pi4}, change{"config.txt": "display_auto_detect=1\n", "overlays/vc4-kms-dsi-7inch.dtbo": "o"}, nil, "", ""},
		{"P15", "off", []Board{pi4}, change{"config.txt": "camera_auto_detect=0\n"}, nil, "", ""},

		{"P16", "ignored", []Board{pi4}, change{"config.txt": "os_prefix=a/\n", "a/kernel8.img": kernel(kernel4K)}, nil, "", "warning P16 [pi4b] config.txt:1 os_prefix=a/ is ignored"},
		{"P16", "no README", []Board{pi4}, change{"config.txt": "os_prefix=a/\ndtoverlay=x\n", "a/kernel8.img": kernel(kernel4K), "a/bcm2711-rpi-4-b.dtb": tree("brcm,bcm2711"), "a/overlays/x.dtbo": "o", "overlays/x.dtbo": "o"}, nil, "", "a/overlays/README:0 missing: overlays are taken from overlays/"},
		{"P16", "auto_initramfs", []Board{pi4}, change{"config.txt": "os_prefix=a/\nauto_initramfs=1\n", "a/kernel8.img": kernel(kernel4K), "a/bcm2711-rpi-4-b.dtb": tree("brcm,bcm2711"), "a/initramfs8": "1234"}, nil, "", "auto_initramfs with os_prefix"},
		{"P16", "as it should be", []Board{pi4}, change{"config.txt": "os_prefix=a/\ndtoverlay=x\n", "a/kernel8.img": kernel(kernel4K), "a/bcm2711-rpi-4-b.dtb": tree("brcm,bcm2711"), "a/overlays/x.dtbo": "o", "a/overlays/README": ""}, nil, "", ""},

		{"P17", "kernel name", []Board{pi4}, change{"config.txt": "kernel=vmlinuz\nauto_initramfs=1\n", "vmlinuz": kernel(kernel4K)}, nil, "", "error P17 [pi4b] config.txt:2 auto_initramfs loads nothing for kernel vmlinuz"},
		{"P17", "file missing", []Board{pi4}, change{"config.txt": "auto_initramfs=1\n"}, nil, "", "warning P17 [pi4b] config.txt:1 auto_initramfs loads nothing: initramfs8 is missing"},
		{"P17", "both", []Board{pi4}, change{"config.txt": "auto_initramfs=1\ninitramfs a\n", "a": "1234"}, nil, "", "auto_initramfs beside an initramfs line"},
		{"P17", "old firmware", []Board{pi4}, change{"config.txt": "auto_initramfs=1\n", "initramfs8": "1234", "start4.elf": "\x7fELF"}, nil, "", "start4.elf does not know auto_initramfs"},
		{"P17", "old bootloader", []Board{pi5}, change{"config.txt": "auto_initramfs=1\nkernel=kernel8.img\n", "initramfs8": "1234"}, nil, "2025-05-07", "bootloaders before 2025-05-08 load initramfs_2712"},
		{"P17", "newer bootloader", []Board{pi5}, change{"config.txt": "auto_initramfs=1\nkernel=kernel8.img\n", "initramfs8": "1234"}, nil, "2025-05-08", ""},
		{"P17", "there", []Board{pi4}, change{"config.txt": "auto_initramfs=1\n", "initramfs8": "1234"}, nil, "", ""},

		{"P18", "32-bit zImage", []Board{pi4}, change{"kernel8.img": strings.Repeat("\x00", 0x24) + "\x18\x28\x6f\x01"}, nil, "", "error P18 [pi4b] kernel8.img:0 is a 32-bit ARM zImage"},
		{"P18", "x86", []Board{pi4}, change{"kernel8.img": "MZ" + strings.Repeat("\x00", 0x200) + "HdrS"}, nil, "", "is an x86 bzImage"},
		{"P18", "16 KiB pages", []Board{pi4}, change{"kernel8.img": kernel(kernel16K)}, nil, "", "has pages of 16 KiB"},
		{"P18", "16 KiB pages on a Pi 5", []Board{pi5}, change{"kernel8.img": kernel(kernel16K)}, nil, "", ""},
		{"P18", "arm64 in 32-bit mode", []Board{pi4}, change{"config.txt": "arm_64bit=0\nkernel=vmlinuz\n", "vmlinuz": kernel(kernel4K)}, nil, "", "is an arm64 kernel; the board starts it in 32-bit mode"},
		{"P18", "zImage in 32-bit mode", []Board{pi4}, change{"config.txt": "arm_64bit=0\n", "kernel7l.img": strings.Repeat("\x00", 0x24) + "\x18\x28\x6f\x01" + strings.Repeat("\x00", 64)}, nil, "", ""},
		{"P18", "gzip", []Board{pi4}, change{"kernel8.img": "\x1f\x8b"}, nil, "", ""},

		{"P19", "old bootloader, ramdisk", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": "f"}, map[string]int64{"boot.img": 96205381}, "2022-10-03", "error P19 [pi4b] boot.img:0 96205381 bytes; a bootloader of 2022-10-03 counts up to 96205380"},
		{"P19", "older bootloader, ramdisk", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": "f"}, map[string]int64{"boot.img": 67107841}, "2022-10-02", "counts up to 67107840"},
		{"P19", "oldest bootloader, ramdisk", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": "f"}, map[string]int64{"boot.img": 33553921}, "2019-10-07", "counts up to 33553920"},
		{"P19", "unknown bootloader", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": "f"}, map[string]int64{"boot.img": 33553921}, "", "warning P19 [pi4b] boot.img:0"},
		{"P19", "bootloader that counts on", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": "f"}, map[string]int64{"boot.img": 1 << 30}, "2025-09-23", ""},
		{"P19", "largest", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": "f"}, map[string]int64{"boot.img": 96205380}, "2022-10-03", ""},
		{"P19", "kernel of a Pi 5", []Board{pi5}, nil, map[string]int64{"kernel8.img": 96205381}, "2025-05-08", "error P19 [pi5] kernel8.img:0"},
		{"P19", "kernel by start4.elf", []Board{pi4}, nil, map[string]int64{"kernel8.img": 96205381}, "2025-09-23", "warning P19 [pi4b] kernel8.img:0 96205381 bytes; start4.elf asks for blocks of 1468 bytes"},
		{"P19", "kernel by an unknown start4.elf", []Board{pi4}, change{"start4.elf": "\x7fELF"}, map[string]int64{"kernel8.img": 67107841}, "2025-09-23", "asks for blocks of 1024 bytes"},
		{"P19", "Pi 3 start.elf by bootcode.bin", []Board{pi3}, nil, map[string]int64{"start.elf": 33553921}, "", "error P19 [pi3b] start.elf:0 33553921 bytes; bootcode.bin counts up to 33553920"},
		{"P19", "initramfs that fits", []Board{pi4}, change{"config.txt": "initramfs a\n", "a": "1234"}, map[string]int64{"a": 96205380}, "", ""},

		{"P20", "too slow", []Board{pi4}, nil, map[string]int64{"kernel8.img": 150_000_001}, "2025-09-23", "warning P20 [pi4b] kernel8.img:0 150000001 bytes take 30 s"},
		{"P20", "just in time", []Board{pi4}, nil, map[string]int64{"kernel8.img": 150_000_000}, "2025-09-23", ""},

		{"P22", "two lines", []Board{pi4}, change{"cmdline.txt": "root=/dev/ram0\nquiet\n"}, nil, "", "error P22 [pi4b] cmdline.txt:2 a second line"},
		{"P22", "too long", []Board{pi4}, change{"cmdline.txt": "root=/dev/ram0 " + strings.Repeat("x", 2047) + "\n"}, nil, "", "2062 bytes; a kernel reads 2047"},
		{"P22", "carriage return", []Board{pi4}, change{"cmdline.txt": "root=/dev/ram0\r\n"}, nil, "", "warning P22 [pi4b] cmdline.txt:1 a carriage return"},
		{"P22", "nothing to start", []Board{pi4}, change{"cmdline.txt": "quiet\n"}, nil, "", "warning P22 [pi4b] cmdline.txt:1 names no root=, and there is no initramfs"},
		{"P22", "no init", []Board{pi4}, change{"cmdline.txt": "quiet\n", "config.txt": "initramfs a\n", "a": archive(t, codec.None, "etc")}, nil, "", "the initramfs has no /init"},
		{"P22", "no such rdinit", []Board{pi4}, change{"cmdline.txt": "rdinit=/sbin/init\n", "config.txt": "initramfs a\n", "a": archive(t, codec.None, "init")}, nil, "", "the initramfs has no /sbin/init"},
		{"P22", "init", []Board{pi4}, change{"cmdline.txt": "quiet\n", "config.txt": "initramfs a\n", "a": archive(t, codec.None, "init")}, nil, "", ""},
		{"P22", "NFS without a version", []Board{pi4}, change{"cmdline.txt": "root=/dev/nfs nfsroot=192.0.2.1:/srv,ro ip=dhcp\n"}, nil, "", "warning P22 [pi4b] cmdline.txt:1 nfsroot says no version"},
		{"P22", "root", []Board{pi4}, change{"cmdline.txt": "root=/dev/nfs nfsroot=192.0.2.1:/srv,vers=3 ip=dhcp"}, nil, "", ""},

		{"P23", "no address", []Board{pi4}, change{"cmdline.txt": "root=/dev/nfs nfsroot=192.0.2.1:/srv,vers=3\n"}, nil, "", "error P23 [pi4b] cmdline.txt:1 root=/dev/nfs without ip="},
		{"P23", "a kernel that cannot", []Board{pi4}, change{"cmdline.txt": "root=/dev/nfs ip=dhcp\n", "kernel8.img": configured("6.6.1", "CONFIG_IP_PNP=y\nCONFIG_NFS_FS=m\n")}, nil, "", "kernel8.img was built without CONFIG_ROOT_NFS"},
		{"P23", "a kernel that can", []Board{pi4}, change{"cmdline.txt": "root=/dev/nfs ip=dhcp\n", "kernel8.img": configured("6.6.1", "CONFIG_IP_PNP=y\nCONFIG_ROOT_NFS=y\n")}, nil, "", ""},
		{"P23", "the initramfs mounts", []Board{pi4}, change{"cmdline.txt": "root=/dev/nfs\n", "config.txt": "initramfs a\n", "a": archive(t, codec.None, "init")}, nil, "", ""},

		{"P24", "no file system", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": "fat"}, nil, "", "error P24 [pi4b] boot.img:0 the bootloader cannot read it"},
		{"P24", "last cluster", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": fatImage(t, 0)}, nil, "2023-01-01", "warning P24 [pi4b] boot.img:0 a file lies in the last cluster"},
		{"P24", "last cluster, today", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": fatImage(t, 0)}, nil, "2024-02-01", ""},
		{"P24", "too large", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": fatImage(t, 512)}, map[string]int64{"boot.img": 97 << 20}, "2021-11-01", "error P24 [pi4b] boot.img:0 101711872 bytes; bootloaders of this fleet load 100663296"},
		{"P24", "too large for some", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": fatImage(t, 512)}, map[string]int64{"boot.img": 97 << 20}, "", "warning P24 [pi4b] boot.img:0 101711872 bytes; the oldest bootloaders load 67108864"},
		{"P24", "too large for a Pi 5", []Board{pi5}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": fatImage(t, 512)}, map[string]int64{"boot.img": 161 << 20}, "", "the largest that a Pi 5 was seen to load"},
		{"P24", "another's checksum", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": fatImage(t, 512), "boot.sig": strings.Repeat("ab", 32) + "\nts: 1\n"}, nil, "", "error P24 [pi4b] boot.sig:1 is of another boot.img"},
		{"P24", "no signature at all", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": fatImage(t, 512), "boot.sig": "x"}, nil, "", "error P24 [pi4b] boot.sig:0 has no two lines"},
		{"P24", "as it should be", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": fatImage(t, 512), "boot.sig": sum(fatImage(t, 512)) + "\nts: 1\n"}, nil, "", ""},

		{"P24", "not signed, for a key", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": fatImage(t, 512), "boot.sig": sum(fatImage(t, 512)) + "\nts: 1\n"}, nil, "", "error P24 [pi4b] boot.sig:0 boards with this key do not start it: is not signed"},
		{"P24", "no signature, for a key", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": fatImage(t, 512)}, nil, "", "error P24 [pi4b] boot.sig:0 missing"},
		{"P24", "no ramdisk, for a key", []Board{pi4, pi3}, nil, nil, "", "error P24 [pi4b] boot.img:0 missing: boards with a key start nothing else"},
		{"P24", "signed by another", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": fatImage(t, 512), "boot.sig": signed}, nil, "", "boards with this key do not start it: another key signed it"},
		{"P24", "signed", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": fatImage(t, 512), "boot.sig": signed}, nil, "", ""},
		{"P24", "signed, and nobody asks", []Board{pi4}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": fatImage(t, 512), "boot.sig": signed}, nil, "", ""},
		{"P24", "no key on a Pi 3", []Board{pi3}, change{"config.txt": "boot_ramdisk=1\n", "boot.img": fatImage(t, 512), "boot.sig": signed}, nil, "", ""},

		{"P28", "too small", nil, nil, map[string]int64{"kernel8.img": 5 << 20}, "", "error P28 [] .:0 a card of 4M is too small"},
		{"P28", "no name for FAT", nil, change{"overlays/a?b": "x"}, nil, "", "error P28 [] .:0 no card can be made of these files"},
		{"P28", "too large for a file", nil, nil, map[string]int64{"kernel8.img": 4 << 30}, "", "error P28 [] .:0 no card can be made of these files"},
		{"P28", "fits", nil, nil, map[string]int64{"kernel8.img": 50 << 20}, "", ""},
		{"P28", "as large as the files", nil, nil, map[string]int64{"kernel8.img": 50 << 20}, "", ""},
		{"P28", "too small, and no matter", nil, nil, map[string]int64{"kernel8.img": 5 << 20}, "", ""},

		{"P25", "case", []Board{pi4}, change{"Kernel8.IMG": "k"}, nil, "", "warning P25 [] kernel8.img:0 differs from Kernel8.IMG in upper and lower case only"},
		{"P25", "absolute", []Board{pi4}, change{"config.txt": "overlay_prefix=/o/\n"}, nil, "", "warning P25 [pi4b] config.txt:1 the board asks for /o/"},
		{"P25", "two slashes", []Board{pi4}, change{"config.txt": "cmdline=a//b\n"}, nil, "", "the board asks for a//b"},
		{"P25", "plain", []Board{pi4}, change{"config.txt": "cmdline=a/b\n"}, nil, "", ""},

		{"P26", "missing", []Board{pi4}, change{"LICENCE.broadcom": absent}, nil, "", "warning P26 [] bootcode.bin:0 the licence of the firmware"},
		{"P26", "kernel's missing", []Board{pi4, pi400}, change{"kernel8.img": configured("6.6.1", "")}, nil, "", "warning P26 [pi4b pi400] kernel8.img:0 is Linux 6.6.1, whose licence asks to go along"},
		{"P26", "kernel's, as gokrazy spells it", []Board{pi4}, change{"kernel8.img": configured("6.6.1", ""), "LICENSE.linux": "l"}, nil, "", ""},
		{"P26", "kernel's", []Board{pi4}, change{"kernel8.img": configured("6.6.1", ""), "COPYING.linux": "l"}, nil, "", ""},
		{"P26", "a kernel that is not Linux", []Board{pi4}, change{"kernel8.img": kernel(kernel4K)}, nil, "", ""},
		{"P26", "no firmware", []Board{pi5}, change{"LICENCE.broadcom": absent, "bootcode.bin": absent, "start.elf": absent, "start4.elf": absent}, nil, "", ""},
		{"P26", "as gokrazy spells it", []Board{pi4}, change{"LICENCE.broadcom": absent, "LICENSE.broadcom": "l"}, nil, "", ""},

		{"P29", "a loop", []Board{pi4}, change{"config.txt": "a=1\n#{{range 9}}\n#{{end}}\n"}, nil, "", "error P29 [] config.txt:2 no front end can fill this in: {{range 9}}"},
		{"P29", "in the command line", []Board{pi4}, change{"cmdline.txt": "root=/dev/ram0 host={{.hostname}\n"}, nil, "", "error P29 [pi4b] cmdline.txt:1 no front end can fill this in: "},
		{"P29", "variables", []Board{pi4}, change{"config.txt": "#{{if .role}}{{.role}}{{end}}\n", "cmdline.txt": "root=/dev/ram0 host={{.hostname}}\n"}, nil, "", ""},

		{"P21", "EEPROM update", nil, change{"pieeprom.upd": "x"}, nil, "", "error P21 [] pieeprom.upd:0 left over"},
		{"P21", "EEPROM signature", nil, change{"pieeprom.sig": "x"}, nil, "", "error P21 [] pieeprom.sig:0"},
		{"P21", "EEPROM image", nil, change{"pieeprom.bin": "x"}, nil, "", "error P21 [] pieeprom.bin:0"},
		{"P21", "USB controller", nil, change{"vl805.bin": "x"}, nil, "", "error P21 [] vl805.bin:0"},
		{"P21", "recovery.bin", nil, change{"recovery.bin": "x"}, nil, "", "error P21 [] recovery.bin:0"},
		{"P21", "recover4.elf", nil, change{"recover4.elf": "x"}, nil, "", "error P21 [] recover4.elf:0"},
		{"P21", "recovery.elf", nil, change{"recovery.elf": "x"}, nil, "", "error P21 [] recovery.elf:0"},
		{"P21", "recovery8.img", nil, change{"recovery8.img": "x"}, nil, "", "warning P21 [] recovery8.img:0"},
		{"P21", "autoboot.txt", nil, change{"autoboot.txt": "x"}, nil, "", "warning P21 [] autoboot.txt:0"},
		{"P21", "tryboot.txt", nil, change{"tryboot.txt": "x"}, nil, "", "warning P21 [] tryboot.txt:0"},
		{"P21", "elsewhere", nil, change{"firmware/pieeprom.upd": "x"}, nil, "", ""},
	}
	for name, c := range unpackCases(t) {
		files := change{"kernel8.img": c.kernel, "config.txt": "initramfs a,b"[:9+2*len(c.parts)] + "\n"}
		for n, part := range c.parts {
			files[string(rune('a'+n))] = part
		}
		tests = append(tests, struct {
			rule, name string
			boards     []Board
			change     change
			sizes      map[string]int64
			date, want string
		}{"P27", name, []Board{pi4}, files, nil, "", c.want})
	}
	// What some cases say of the target besides.
	more := map[string]func(*Target){
		"P24 not signed, for a key":    func(t *Target) { t.BootKey = key },
		"P24 no ramdisk, for a key":    func(t *Target) { t.BootKey = key },
		"P24 signed":                   func(t *Target) { t.BootKey = key },
		"P24 no signature, for a key":  func(t *Target) { t.BootKey = key },
		"P24 signed by another":        func(t *Target) { t.BootKey = otherKey },
		"P24 signed, and nobody asks":  func(*Target) {},
		"P24 no key on a Pi 3":         func(t *Target) { t.BootKey = otherKey },
		"P28 too small":                func(t *Target) { t.Card = &Card{Size: 4 << 20} },
		"P28 no name for FAT":          func(t *Target) { t.Card = &Card{} },
		"P28 too large for a file":     func(t *Target) { t.Card = &Card{} },
		"P28 fits":                     func(t *Target) { t.Card = &Card{Size: 64 << 20} },
		"P28 as large as the files":    func(t *Target) { t.Card = &Card{} },
		"P28 too small, and no matter": func(*Target) {},
	}
	covered := map[string]int{} // 1: a failing case, 2: a passing one
	for _, tt := range tests {
		covered[tt.rule] |= map[bool]int{true: 2, false: 1}[tt.want == ""]
		t.Run(tt.rule+" "+tt.name, func(t *testing.T) {
			m := good()
			for name, text := range tt.change {
				m[name] = text
				if text == absent {
					delete(m, name)
				}
			}
			target := Target{Boards: tt.boards, Bootloader: tt.date}
			if add := more[tt.rule+" "+tt.name]; add != nil {
				add(&target)
			}
			all := check(t, bigFS{filesOf(m), tt.sizes}, target)
			got := slices.DeleteFunc(slices.Clone(all), func(f string) bool { return !strings.Contains(f, " "+tt.rule+" ") })
			switch {
			case tt.want == "" && len(got) > 0:
				t.Errorf("findings %q; want none", got)
			case tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)):
				t.Errorf("findings %q; want one with %q\nall: %q", got, tt.want, all)
			}
		})
	}
	for _, rule := range Rules() {
		if covered[rule.ID] != 3 {
			t.Errorf("rule %s (%s) needs a failing and a passing case", rule.ID, rule.Title)
		}
	}
}

// fatImage is a ramdisk with one file, and slack bytes behind it.
func fatImage(t *testing.T, slack int64) string {
	t.Helper()
	i, err := fat.New([]fat.File{{Path: "config.txt", Size: 600, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(strings.Repeat("#\n", 300))), nil
	}}}, fat.Options{Slack: slack})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := i.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// signedRamdisk is the boot.sig of fatImage with 512 bytes of slack, the public key of who
// signed it, and another one.
func signedRamdisk(t *testing.T) (sig string, key, other []byte) {
	t.Helper()
	var private [2]*rsa.PrivateKey
	var public [2][]byte
	for n := range private {
		var err error
		if private[n], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			t.Fatal(err)
		}
		public[n] = pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&private[n].PublicKey)})
	}
	s := bootsig.Signature{SHA256: sha256.Sum256([]byte(fatImage(t, 512))), Time: 1}
	var err error
	if s.RSA, err = bootsig.Sign(private[0], s.SHA256); err != nil {
		t.Fatal(err)
	}
	return s.Text(), public[0], public[1]
}

func sum(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

// What is inside of a ramdisk is checked as a board finds it, and said of boot.img.
func TestInsideOfARamdisk(t *testing.T) {
	files := filesOf(good())
	files["config.txt"].Data = []byte("boot_ramdisk=1\n")
	files["boot.img"] = &fstest.MapFile{Data: []byte(fatImage(t, 512))}
	got := check(t, files, Target{Boards: []Board{pi4}, Bootloader: "2025-09-23"})
	want := "error P03 [pi4b] boot.img:config.txt:0 no kernel: looked for kernel8.img"
	if !slices.Contains(got, want) {
		t.Errorf("findings %q; want %q", got, want)
	}
}

func TestInRamdisk(t *testing.T) {
	m := good()
	m["config.txt"] = "boot_ramdisk=1\n"
	delete(m, "bootcode.bin")
	delete(m, "bcm2711-rpi-4-b.dtb")
	files := bigFS{filesOf(m), map[string]int64{"kernel8.img": 1 << 30}}
	got := check(t, files, Target{Boards: []Board{pi3, pi4}, InRamdisk: true})
	if len(got) == 0 || !strings.Contains(got[0], "P02") {
		t.Errorf("findings %q; want that of P02 alone, for the Pi 4", got)
	}
	for _, f := range got {
		if strings.Contains(f, "P19") || strings.Contains(f, "bootcode.bin") {
			t.Errorf("finding %q inside of boot.img", f)
		}
	}
}

func TestSortedAndMerged(t *testing.T) {
	m := good()
	m["config.txt"] = "kernel=vmlinuz\nb =1\na =1\n"
	m["vl805.bin"] = "x"
	delete(m, "fixup4.dat")
	got := check(t, filesOf(m), Target{Boards: []Board{pi400, pi4}})
	want := []string{
		`error P03 [pi400 pi4b] config.txt:1 no kernel: looked for vmlinuz`,
		`error P04 [pi400 pi4b] fixup4.dat:0 missing: the board leaves its folder, or does not boot`,
		`warning P10 [] config.txt:2 space around the name "b ": the firmware takes it as part of the name`,
		`warning P10 [] config.txt:3 space around the name "a ": the firmware takes it as part of the name`,
		`error P21 [] vl805.bin:0 left over: it is an update of the USB controller's EEPROM`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

func TestTargetRefused(t *testing.T) {
	for name, target := range map[string]Target{
		"date":        {Bootloader: "yesterday"},
		"no model":    {Boards: []Board{{}}},
		"board twice": {Boards: []Board{pi4, pi4}},
	} {
		if _, err := Check(t.Context(), fstest.MapFS{}, target); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Check(ctx, filesOf(good()), Target{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Check = %v; want context.Canceled", err)
	}
}

// brokenFS cannot read one file.
type brokenFS struct{ fs.FS }

var errBroken = errors.New("broken disk")

func (b brokenFS) Open(name string) (fs.File, error) {
	if name == "start4.elf" {
		return nil, errBroken
	}
	return b.FS.Open(name)
}

func TestUnreadable(t *testing.T) {
	if _, err := Check(t.Context(), brokenFS{filesOf(good())}, Target{Boards: []Board{pi4}}); !errors.Is(err, errBroken) {
		t.Errorf("Check = %v; want the error of the file system", err)
	}
}

// realImage is an image of published files for a Pi 4, as a folder.
func realImage(t *testing.T) fstest.MapFS {
	t.Helper()
	firmware := os.DirFS(gomodtest.Dir(t, gomodtest.Firmware))
	kernel := os.DirFS(gomodtest.Dir(t, gomodtest.Kernel))
	files := fstest.MapFS{"config.txt": {Data: []byte("kernel=vmlinuz\ndtoverlay=disable-bt\n")}}
	take := func(from fs.FS, names ...string) {
		for _, name := range names {
			data, err := fs.ReadFile(from, name)
			if err != nil {
				t.Fatal(err)
			}
			files[name] = &fstest.MapFile{Data: data}
		}
	}
	take(firmware, "start4.elf", "fixup4.dat", "LICENSE.broadcom")
	take(kernel, "vmlinuz", "LICENSE.linux", "bcm2711-rpi-4-b.dtb", "bcm2712-rpi-5-b.dtb", "bcm2712d0-rpi-5-b.dtb",
		"overlays/overlay_map.dtb", "overlays/disable-bt.dtbo", "overlays/disable-bt-pi5.dtbo")
	return files
}

func TestRealFiles(t *testing.T) {
	files := realImage(t)
	target := Target{Boards: []Board{pi4, pi5}, Bootloader: "2023-01-11"}
	if got := check(t, files, target); got != nil {
		t.Errorf("findings of an image of published files:\n%s", strings.Join(got, "\n"))
	}
	delete(files, "overlays/disable-bt-pi5.dtbo")
	files["start4.elf"], files["config.txt"].Data = files["vmlinuz"], append(files["config.txt"].Data, "dtoverlay=miniuart-bt\n"...)
	want := []string{
		"error P04 [pi4b] start4.elf:0 is no ELF file, so no firmware",
		"error P13 [pi5] config.txt:2 overlay disable-bt is missing: looked for overlays/disable-bt-pi5.dtbo",
		"error P13 [pi4b] config.txt:3 overlay miniuart-bt is missing: looked for overlays/miniuart-bt.dtbo",
		"error P13 [pi5] config.txt:3 overlay miniuart-bt is not supported on bcm2712",
	}
	if diff := cmp.Diff(want, check(t, files, target)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

// Which start file the published fixup files are for.
func TestReadRealFixup(t *testing.T) {
	dir := os.DirFS(gomodtest.Dir(t, gomodtest.Firmware))
	names, err := fs.Glob(dir, "fixup*.dat")
	if err != nil || len(names) != 8 {
		t.Fatalf("%d fixup files: %v", len(names), err)
	}
	for _, name := range names {
		table, err := fs.ReadFile(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		start, err := fs.Stat(dir, strings.NewReplacer("fixup", "start", ".dat", ".elf").Replace(name))
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := fixedSize(table); !ok || got != start.Size() {
			t.Errorf("fixedSize(%s) = %d, %t; want %d, that of %s", name, got, ok, start.Size(), start.Name())
		}
	}
	for _, table := range []string{"", "\x36", "\x36\x01", "\x36\x01\x0a\x00\x00\x01\x0a\x00\x00\x01\x0a\x00", "fixup"} {
		if n, ok := fixedSize([]byte(table)); ok {
			t.Errorf("fixedSize(%q) = %d; want none", table, n)
		}
	}
}

// What the text inside the published start files says.
func TestReadRealStart(t *testing.T) {
	dir := os.DirFS(gomodtest.Dir(t, gomodtest.Firmware))
	for name, built := range map[string]string{
		"start4.elf": "start", "start4x.elf": "start_x", "start4cd.elf": "start_cd", "start4db.elf": "start_db",
		"start.elf": "start", "start_x.elf": "start_x", "start_cd.elf": "start_cd", "start_db.elf": "start_db",
	} {
		data, err := fs.ReadFile(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		want := startInfo{built: built, day: "2026-05-21", blockSize: 1468, autoInitramfs: true}
		if got := readStart(data); got != want {
			t.Errorf("readStart(%s) = %+v; want %+v", name, got, want)
		}
		if v, ok := variantOf(name, "start"); !ok || v != want.variant() {
			t.Errorf("variantOf(%s) = %q; want %q, as the file says", name, v, want.variant())
		}
	}
}

// A rule of README.md's table is a rule of the package, and the other way round.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("| P")); ok {
			documented = append(documented, "P"+string(rest[:2]))
		}
	}
	var ids []string
	for _, r := range Rules() {
		ids = append(ids, r.ID)
	}
	if diff := cmp.Diff(ids, slices.Compact(documented)); diff != "" {
		t.Errorf("rules of the package and of README.md (-package +README.md):\n%s", diff)
	}
}

// TestIgnore: all findings of a rule are ignored, and those of no other.
func TestIgnore(t *testing.T) {
	findings := []Finding{{Rule: "P04", Level: Error}, {Rule: "P04", Level: Warning}, {Rule: "P14", Level: Warning}}
	idle := Ignore(findings, map[string]string{"P26": "b", "P04": "ours", "P05": "a"})
	want := []Finding{{Rule: "P04", Level: Error, Ignored: "ours"}, {Rule: "P04", Level: Warning, Ignored: "ours"}, {Rule: "P14", Level: Warning}}
	if diff := cmp.Diff(want, findings); diff != "" {
		t.Errorf("Ignore (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"P05", "P26"}, idle); diff != "" {
		t.Errorf("found nothing (-want +got):\n%s", diff)
	}
	if idle := Ignore(findings, nil); idle != nil || findings[0].Ignored != "" {
		t.Errorf("nothing to ignore: %q, %+v", idle, findings)
	}
}
