package lint

import (
	"errors"
	"strings"

	"piimg/pipeline/format/arm64"
	"piimg/pipeline/format/configtxt"
)

func kernelExists(r *report, v *view) {
	if v.outer() {
		if !v.exists(v.files.Ramdisk) {
			file, line := v.place("boot_ramdisk")
			r.error(file, line, "ship "+v.files.Ramdisk, "boot_ramdisk=1, but %s is missing", v.files.Ramdisk)
		}
		return
	}
	stub(r, v)
	if _, ok := v.chosen(v.files.Kernels); ok {
		return
	}
	file, line := v.place("kernel")
	if _, named := v.fw.Get("kernel"); !named && v.files.NeedStub {
		return // an armstub such as UEFI needs no kernel
	}
	r.error(file, line, "ship it under that name, or name it with kernel=", "no kernel: looked for %s", strings.Join(v.files.Kernels, ", "))
}

func stub(r *report, v *view) {
	if !v.files.NeedStub {
		return
	}
	for _, name := range v.files.ArmStubs {
		if !v.exists(name) {
			file, line := v.place("armstub")
			r.error(file, line, "ship it", "armstub=%s is missing", name)
		}
	}
}

// kernelHead is enough to name every kind of file that is known.
const kernelHead = 1024 // bytes

func kernelKind(r *report, v *view) {
	name, ok := v.chosen(v.files.Kernels)
	if !ok || v.outer() {
		return
	}
	data, err := v.head(name, kernelHead)
	if err != nil {
		return
	}
	h, err := arm64.ParseHeader(data)
	if v.files.Arm64 {
		kernel64(r, v, name, h, err)
	} else {
		kernel32(r, name, h, err)
	}
}

func kernel64(r *report, v *view, name string, h *arm64.Header, err error) {
	var wrong *arm64.WrongKindError
	if errors.As(err, &wrong) {
		r.error(name, 0, wrong.Need, "is %s; the board starts an arm64 kernel", wrong.Kind)
		return
	}
	if h.PageSize > 4096 && v.board.Platform != "bcm2712" {
		r.error(name, 0, "take a kernel with 4 KiB pages", "has pages of %d KiB; this board's processor is used with 4 KiB", h.PageSize>>10)
	}
}

// kernel32 refuses what is certainly no 32-bit kernel: a raw 32-bit Image has no mark.
func kernel32(r *report, name string, h *arm64.Header, err error) {
	hint := "set arm_64bit=1, or take a 32-bit kernel"
	var wrong *arm64.WrongKindError
	switch {
	case err == nil && !h.Gzip:
		r.error(name, 0, hint, "is an arm64 kernel; the board starts it in 32-bit mode")
	case errors.As(err, &wrong) && !strings.Contains(wrong.Kind, "32-bit") && !strings.Contains(wrong.Kind, "unknown"):
		r.error(name, 0, hint, "is %s; the board starts a 32-bit kernel", wrong.Kind)
	}
}

func autoInitramfs(r *report, v *view) {
	if v.fw.Int("auto_initramfs", 0) == 0 || v.outer() {
		return
	}
	file, line := v.place("auto_initramfs")
	if len(v.fw.Initramfs) > 0 {
		r.warn(file, line, "remove one of the two", "auto_initramfs beside an initramfs line: which of them counts is not documented")
		return
	}
	kernel, _ := v.chosen(v.files.Kernels)
	name, ok := configtxt.AutoInitramfs(kernel)
	switch {
	case kernel == "": // P03
	case !ok:
		r.error(file, line, "name it with an initramfs line", "auto_initramfs loads nothing for kernel %s: its name does not begin with \"kernel\"", kernel)
	case !v.exists(name):
		r.warn(file, line, "", "auto_initramfs loads nothing: %s is missing", name)
	default:
		autoInitramfsSupport(r, v, kernel, name)
	}
}

// autoInitramfsSupport looks for programs that are too old.
func autoInitramfsSupport(r *report, v *view, kernel, name string) {
	file, line := v.place("auto_initramfs")
	_, named := v.fw.Get("kernel")
	if start, err := v.read(v.files.Start); err == nil && !readStart(start).autoInitramfs {
		r.error(file, line, "take newer firmware, or an initramfs line", "%s does not know auto_initramfs", v.files.Start)
	}
	if v.board.OnlyArm64 && named && v.before("2025-05-08") && name != "initramfs_2712" {
		r.error(file, line, "update the bootloader, or write an initramfs line",
			"bootloaders before 2025-05-08 load initramfs_2712 for kernel=%s too, not %s", kernel, name)
	}
}
