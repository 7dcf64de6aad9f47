package configtxt

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestResolve(t *testing.T) {
	tests := []struct {
		name    string
		board   string
		config  string
		present string // files that exist, separated by spaces
		want    string // what describe must contain: "kind name" pairs
		not     string // what it must not contain
		note    string // substring of a note
	}{
		{"Pi 4 defaults", "pi4b", "", "", "start start4.elf, fixup fixup4.dat, kernel kernel8.img, dtb bcm2711-rpi-4-b.dtb, cmdline cmdline.txt, armstub? armstub8-gic.bin", "", ""},
		{"Pi 3 default is 32-bit", "pi3b", "", "", "start start.elf, kernel kernel8-32.img, kernel kernel7.img, armstub? armstub8-32.bin", "kernel kernel8.img", ""},
		{"Pi 3 64-bit", "pi3b", "arm_64bit=1", "", "kernel kernel8.img, armstub? armstub8.bin", "kernel kernel7.img", ""},
		{"Pi 4 32-bit", "pi4b", "arm_64bit=0", "", "kernel kernel7l.img, armstub? armstub8-32-gic.bin", "", ""},
		{"Pi 5 cannot be 32-bit", "pi5", "arm_64bit=0", "", "kernel kernel_2712.img, kernel kernel8.img", "start start4.elf", ""},
		{"a known kernel name sets the mode", "pi4b", "kernel=kernel7l.img", "", "kernel kernel7l.img, armstub? armstub8-32-gic.bin", "", ""},
		{"a known 64-bit kernel name", "pi3b", "kernel=kernel8.img", "", "armstub? armstub8.bin", "", ""},
		{"kernel", "pi4b", "kernel=vmlinuz", "", "kernel vmlinuz", "kernel kernel8.img", ""},
		{"start_x", "pi4b", "start_x=1", "", "start start4x.elf, fixup fixup4x.dat", "", ""},
		{"start_x on a Pi 3", "pi3b", "start_x=1", "", "start start_x.elf, fixup fixup_x.dat", "", ""},
		{"start_debug", "pi4b", "start_debug=1", "", "start start4db.elf, fixup fixup4db.dat", "", ""},
		{"start_debug on a Pi 3", "pi3b", "start_debug=1", "", "start start_db.elf, fixup fixup_db.dat", "", ""},
		{"gpu_mem=16", "pi4b", "gpu_mem=16", "", "start start4cd.elf, fixup fixup4cd.dat", "", ""},
		{"gpu_mem=64", "pi4b", "gpu_mem=64", "", "start start4.elf, fixup fixup4.dat", "", ""},
		{"start_file", "pi4b", "start_x=1\nstart_file=a/s.elf\nfixup_file=a/f.dat", "", "start a/s.elf, fixup a/f.dat", "", ""},
		{"start_file alone", "pi4b", "start_file=s.elf", "", "start s.elf, fixup fixup4.dat", "", "are a pair"},
		{"device_tree", "pi4b", "device_tree=my.dtb", "", "dtb my.dtb", "dtb bcm2711-rpi-4-b.dtb", ""},
		{"no device tree", "pi4b", "device_tree=", "", "", "dtb bcm2711-rpi-4-b.dtb", ""},
		{"cmdline", "pi4b", "cmdline=c.txt", "", "cmdline c.txt", "", ""},
		{"overlay_prefix", "pi4b", "overlay_prefix=ov/", "", "overlaydir ov/", "", ""},
		{"armstub", "pi4b", "armstub=RPI_EFI.fd", "", "armstub RPI_EFI.fd", "armstub? armstub8-gic.bin", ""},
		{"boot_ramdisk", "pi4b", "boot_ramdisk=1\nkernel=a", "", "ramdisk boot.img", "kernel a", ""},

		{"initramfs", "pi4b", "initramfs a,b followkernel", "", "initramfs a, initramfs b", "", ""},
		{"auto_initramfs", "pi4b", "auto_initramfs=1", "kernel8.img initramfs8", "initramfs initramfs8", "", ""},
		{"auto_initramfs of a named kernel", "pi4b", "auto_initramfs=1\nkernel=k/kernel8-b2u-wake.img", "k/initramfs8-b2u-wake", "initramfs k/initramfs8-b2u-wake", "", ""},
		{"auto_initramfs follows the kernel that exists", "pi5", "auto_initramfs=1", "kernel8.img initramfs8 initramfs_2712", "initramfs initramfs8", "initramfs initramfs_2712", ""},
		{"auto_initramfs of vmlinuz", "pi4b", "auto_initramfs=1\nkernel=vmlinuz", "vmlinuz", "", "", "no initramfs name matches kernel vmlinuz"},
		{"auto_initramfs missing", "pi4b", "auto_initramfs=1", "kernel8.img", "", "initramfs initramfs8", "expected initramfs8"},
		{"initramfs outranks auto_initramfs", "pi4b", "auto_initramfs=1\ninitramfs a", "initramfs8", "initramfs a", "initramfs initramfs8", "auto_initramfs ignored"},

		{"os_prefix", "pi4b", "os_prefix=p/\ninitramfs i", "p/kernel8.img p/bcm2711-rpi-4-b.dtb",
			"kernel p/kernel8.img, dtb p/bcm2711-rpi-4-b.dtb, cmdline p/cmdline.txt, initramfs p/i, overlaydir overlays/, start start4.elf", "", ""},
		{"os_prefix is a plain prefix", "pi4b", "os_prefix=new-", "new-kernel8.img new-bcm2711-rpi-4-b.dtb", "kernel new-kernel8.img", "", ""},
		{"os_prefix with overlays", "pi4b", "os_prefix=p/", "p/kernel8.img p/bcm2711-rpi-4-b.dtb p/overlays/README", "overlaydir p/overlays/", "", ""},
		{"os_prefix without a kernel", "pi4b", "os_prefix=p/", "p/bcm2711-rpi-4-b.dtb", "kernel kernel8.img, dtb bcm2711-rpi-4-b.dtb", "", "os_prefix=p/ ignored"},
		{"os_prefix without a device tree", "pi4b", "os_prefix=p/", "p/kernel8.img", "kernel kernel8.img", "", "ignored"},
		{"a slash escapes os_prefix", "pi4b", "os_prefix=p/\nkernel=/k", "k p/bcm2711-rpi-4-b.dtb", "kernel k, dtb p/bcm2711-rpi-4-b.dtb", "", ""},
		{"a slash in overlay_prefix", "pi4b", "os_prefix=p/\noverlay_prefix=/ov/", "p/kernel8.img p/bcm2711-rpi-4-b.dtb", "overlaydir ov/", "", ""},

		{"upstream_kernel", "pi3b", "upstream_kernel=1", "bcm2837-rpi-3-b.dtb", "dtb bcm2837-rpi-3-b.dtb, dtb bcm2710-rpi-3-b.dtb", "overlay upstream", ""},
		{"upstream_kernel without its device tree", "pi3b", "upstream_kernel=1\ndtoverlay=a", "bcm2710-rpi-3-b.dtb", "overlay upstream, overlay a", "", ""},
		{"upstream_kernel has a prefix", "pi4b", "upstream_kernel=1", "upstream/kernel8.img upstream/bcm2711-rpi-4-b.dtb", "kernel upstream/kernel8.img", "overlay upstream", ""},
		{"upstream_kernel with another prefix", "pi4b", "upstream_kernel=1\nos_prefix=u/", "u/kernel8.img u/bcm2711-rpi-4-b.dtb", "kernel u/kernel8.img", "", ""},
		{"upstream_kernel without the folder is silent", "pi4b", "upstream_kernel=1", "bcm2711-rpi-4-b.dtb", "kernel kernel8.img", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := boards()[tt.board]
			present := strings.Fields(tt.present)
			f := Resolve(eval(t, tt.config, b, Bootloader), eval(t, tt.config, b, Firmware), b,
				func(name string) bool { return slices.Contains(present, name) })
			got := map[string]bool{}
			for kind, names := range pairs(describe(f)) {
				for _, n := range names {
					got[kind+" "+n] = true
				}
			}
			for _, w := range splitPairs(tt.want) {
				if !got[w] {
					t.Errorf("%s is not asked for: %v", w, got)
				}
			}
			for _, w := range splitPairs(tt.not) {
				if got[w] {
					t.Errorf("%s is asked for: %v", w, got)
				}
			}
			if notes := strings.Join(f.Notes, "\n"); !strings.Contains(notes, tt.note) || tt.note == "" && notes != "" {
				t.Errorf("notes = %q; want %q", notes, tt.note)
			}
		})
	}
}

func splitPairs(s string) []string {
	return slices.DeleteFunc(strings.Split(s, ", "), func(w string) bool { return w == "" })
}

func TestInRamdisk(t *testing.T) {
	b := boards()["cm5"]
	s := eval(t, "boot_ramdisk=1\nkernel=a\n", b, Firmware)
	f := Resolve(s.InRamdisk(), s.InRamdisk(), b, nil)
	if f.Ramdisk != "" || !slices.Equal(f.Kernels, []string{"a"}) {
		t.Errorf("inside boot.img: ramdisk %q, kernels %q; want none and [a]", f.Ramdisk, f.Kernels)
	}
	if s.Int("boot_ramdisk", 0) != 1 {
		t.Error("InRamdisk changed the settings that it was called on")
	}
}

func TestAutoInitramfs(t *testing.T) {
	tests := []struct{ kernel, want string }{
		{"kernel8.img", "initramfs8"},
		{"kernel_2712.img", "initramfs_2712"},
		{"kernel7l.img", "initramfs7l"},
		{"kernel.img", "initramfs"},
		{"a/kernel8", "a/initramfs8"},
		{"vmlinuz", ""},
		{"", ""},
	}
	for _, tt := range tests {
		if got, ok := AutoInitramfs(tt.kernel); got != tt.want || ok != (tt.want != "") {
			t.Errorf("AutoInitramfs(%q) = %q, %v; want %q", tt.kernel, got, ok, tt.want)
		}
	}
}

func TestZeroSettings(t *testing.T) {
	var s Settings
	f := Resolve(&s, &s, boards()["pi4b"], nil)
	if diff := cmp.Diff([]string{"kernel8.img"}, f.Kernels); diff != "" {
		t.Error(diff)
	}
}
