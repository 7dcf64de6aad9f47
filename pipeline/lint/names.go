package lint

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"piimg/pipeline/format/configtxt"
)

// oddPaths: what a board asks for over the network begins with a prefix of its own, so
// that a slash at the beginning, or two in a row, may name something else there.
func oddPaths(r *report, v *view) {
	if v.outer() {
		return
	}
	for _, key := range []string{"os_prefix", "kernel", "cmdline", "device_tree", "overlay_prefix", "armstub", "ramfsfile"} {
		if value, ok := v.fw.Get(key); ok {
			file, line := v.place(key)
			oddPath(r, file, line, value)
		}
	}
	for _, i := range v.fw.Initramfs {
		for _, name := range i.Files {
			oddPath(r, i.Line.File, i.Line.Number, name)
		}
	}
}

func oddPath(r *report, file string, line int, name string) {
	if strings.HasPrefix(name, "/") || strings.Contains(name, "//") {
		r.warn(file, line, "write it relative to the boot folder, with single slashes", "the board asks for %s: not every server takes that for what is meant", name)
	}
}

// sameNames: FAT, and so boot.img and SD cards, take names that differ in case for one.
func sameNames(r *report, img *image) {
	first := map[string]string{}
	_ = fs.WalkDir(img.files, ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return nil // who reads it says so
		}
		lower := strings.ToLower(name)
		if other, ok := first[lower]; ok {
			r.warn(name, 0, "rename one of them", "differs from %s in upper and lower case only: one file on a FAT file system", other)
			return nil
		}
		first[lower] = name
		return nil
	})
}

// licences are the names that the text of the firmware's licence has: it has to go along
// with the files (LICENCE.broadcom itself).
var licences = []string{"licence.broadcom", "license.broadcom", "copyright"}

// firmwareLicence looks for it where there is firmware of Broadcom.
func firmwareLicence(r *report, img *image) {
	blob := slices.IndexFunc(img.root, func(name string) bool {
		ok, _ := path.Match("start*.elf", name)
		return ok || name == "bootcode.bin"
	})
	has := slices.ContainsFunc(img.root, func(name string) bool { return slices.Contains(licences, strings.ToLower(name)) })
	if blob >= 0 && !has {
		r.warn(img.root[blob], 0, "ship LICENCE.broadcom with it", "the licence of the firmware asks to go along with it, and is missing")
	}
}

// kernelLicences are the names that the text of Linux's licence has.
var kernelLicences = []string{"copying.linux", "licence.linux", "license.linux"}

// kernelLicence looks for it where the kernel says that it is Linux.
func kernelLicence(r *report, v *view) {
	name, ok := v.chosen(v.files.Kernels)
	if !ok || v.outer() || slices.ContainsFunc(v.root, func(name string) bool { return slices.Contains(kernelLicences, strings.ToLower(name)) }) {
		return
	}
	if k, ok := v.kernel(name); ok && k.release != "" {
		r.warn(name, 0, "name the text with [kernel] licence: in the kernel's source it is COPYING, with LICENSES/preferred/GPL-2.0 where that only names it", "is Linux %s, whose licence asks to go along with it, and COPYING.linux is missing", k.release)
	}
}

// trapped are keys that mostly are meant for every board.
var trapped = []string{"kernel", "initramfs", "ramfsfile", "auto_initramfs", "cmdline", "arm_64bit", "os_prefix", "device_tree", "boot_ramdisk", "enable_uart"}

// underFilters warns of keys that come after a blank line below a filter that nobody has
// closed, and that a board therefore does not get.
func underFilters(r *report, v *view) {
	for _, name := range v.order {
		filter, gap, filled := "", false, false
		for _, l := range v.config[name] {
			switch l.Kind {
			case configtxt.Section:
				filter, gap, filled = strings.ToLower(l.Value), false, false
			case configtxt.Blank:
				gap = filled
			case configtxt.Property, configtxt.Directive:
				filled = true
				if filter != "" && filter != "all" && gap && slices.Contains(trapped, l.Key) && !v.inForce(l) {
					r.warn(l.File, l.Number, "put [all] before it, or take the blank line out if it is meant", "%s is still under [%s]: these boards do not get it", l.Key, filter)
				}
			}
		}
	}
}

// inForce says whether the board's firmware takes a line.
func (v *view) inForce(l configtxt.Line) bool {
	if l.Key == "initramfs" {
		return slices.ContainsFunc(v.fw.Initramfs, func(i configtxt.Initramfs) bool { return i.Line.File == l.File && i.Line.Number == l.Number })
	}
	now, ok := v.fw.Line(l.Key)
	return ok && now.File == l.File && now.Number == l.Number
}

// detected are overlays that the firmware chooses by what it finds, by the key that lets
// it: those of Raspberry Pi's own cameras and display.
var detected = map[string][]string{
	"camera_auto_detect":  {"ov5647", "imx219", "imx477", "imx708"},
	"display_auto_detect": {"vc4-kms-dsi-7inch"},
}

func autoDetect(r *report, v *view) {
	for _, key := range []string{"camera_auto_detect", "display_auto_detect"} {
		if v.fw.Int(key, 0) == 0 || v.outer() {
			continue
		}
		var missing []string
		for _, o := range detected[key] {
			if !v.exists(v.files.OverlayDir + o + ".dtbo") {
				missing = append(missing, o)
			}
		}
		if len(missing) > 0 {
			file, line := v.place(key)
			r.warn(file, line, "ship all overlays, or set it to 0", "the firmware may choose an overlay that is not there: %s", strings.Join(missing, ", "))
		}
	}
}

// osPrefix: the firmware drops it as a whole unless kernel and device tree are below, and
// takes overlays from there only beside a README.
func osPrefix(r *report, v *view) {
	prefix, set := v.fw.Get("os_prefix")
	if !set || prefix == "" || v.outer() {
		return
	}
	file, line := v.place("os_prefix")
	if v.files.Prefix == "" {
		r.warn(file, line, "put kernel and device tree below it", "os_prefix=%s is ignored: it needs kernel and device tree, both", prefix)
		return
	}
	below := v.files.Prefix + "overlays/"
	for _, o := range v.files.Overlays {
		if v.exists(below+o.Name+".dtbo") && !v.exists(below+"README") {
			r.warn(below+"README", 0, "add the file, which may be empty", "missing: overlays are taken from %s, not from here", v.files.OverlayDir)
			break
		}
	}
	if v.fw.Int("auto_initramfs", 0) != 0 {
		r.warn(file, line, "name the initramfs with a line of its own", "auto_initramfs with os_prefix: bootloaders of 2025-12-08 to 2026-06-29 look for it in the wrong place")
	}
}
