package configtxt

import (
	"path"
	"strings"
)

// initramfs collects the named archives, or the one that belongs to the kernel. Whether
// auto_initramfs adds to initramfs lines is not documented; here they outrank it.
func (r *resolver) initramfs() {
	for _, i := range r.fw.Initramfs {
		r.files.Initramfs = append(r.files.Initramfs, r.under(i.Files)...)
	}
	if r.fw.Int("auto_initramfs", 0) == 0 {
		return
	}
	if len(r.files.Initramfs) > 0 {
		r.note("auto_initramfs ignored: initramfs names a file")
		return
	}
	r.autoInitramfs()
}

func (r *resolver) autoInitramfs() {
	kernel := r.chosen(r.files.Kernels)
	name, ok := AutoInitramfs(kernel)
	switch {
	case !ok:
		r.note("no initramfs name matches kernel %s - auto_initramfs disabled", kernel)
	case !r.exists(name):
		r.note("no matching initramfs found (expected %s) - auto_initramfs disabled", name)
	default:
		r.files.Initramfs = []string{name}
	}
}

// AutoInitramfs is the name of the initramfs that auto_initramfs=1 takes for a kernel:
// kernel8.img has initramfs8, a/kernel_2712.img has a/initramfs_2712. A kernel whose name
// does not begin with "kernel" has none.
func AutoInitramfs(kernel string) (name string, ok bool) {
	dir, base := path.Split(kernel)
	rest, ok := strings.CutPrefix(base, "kernel")
	if !ok {
		return "", false
	}
	return dir + "initramfs" + strings.TrimSuffix(rest, ".img"), true
}
