package configtxt

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Files are the boot files that a board asks for. Names are relative to the boot folder.
type Files struct {
	Ramdisk    string    // boot.img where boot_ramdisk=1: everything else is inside it, and nothing else is set
	Start      string    // "" on a board without one
	Fixup      string    // the counterpart of Start
	Kernels    []string  // candidates in order; one where kernel= names it
	Initramfs  []string  // all of them are needed
	DTBs       []string  // candidates in order; none where device_tree= is empty
	Overlays   []Overlay // to load, in order; names are not yet looked up in overlay_map.dtb
	OverlayDir string    // prefix of overlays and of overlay_map.dtb, "overlays/" by default
	Cmdline    string
	ArmStubs   []string // candidates; needed where NeedStub is set, else only looked for
	NeedStub   bool
	Arm64      bool     // the kernel is started in 64-bit mode
	Prefix     string   // os_prefix in force, already part of the names above
	Notes      []string // what the firmware would log, such as auto_initramfs disabled
}

// Resolve derives the boot files from the settings of both stages. exists is asked only
// where the firmware's choice depends on a file's presence (os_prefix, auto_initramfs,
// upstream_kernel, the first of several candidates); nil says that every file exists.
func Resolve(boot, fw *Settings, b Board, exists func(name string) bool) Files {
	if exists == nil {
		exists = func(string) bool { return true }
	}
	if boot.Int("boot_ramdisk", 0) != 0 {
		return Files{Ramdisk: "boot.img"}
	}
	r := resolver{boot: boot, fw: fw, board: b, exists: exists}
	r.firmware()
	kernels, dtbs := r.kernels(), r.dtbs()
	r.files.Prefix = r.prefix(kernels, dtbs)
	r.files.Kernels = r.under(kernels)
	r.files.DTBs = r.under(dtbs)
	r.files.Cmdline = r.name(r.value("cmdline", "cmdline.txt"))
	r.overlays()
	r.initramfs()
	r.armstub()
	return r.files
}

type resolver struct {
	boot, fw *Settings
	board    Board
	exists   func(string) bool
	files    Files
}

// kernels are the kernel names before os_prefix. A default name given in kernel= decides
// about 64 or 32 bits as well.
func (r *resolver) kernels() []string {
	arm64 := r.board.Arm64 || r.board.OnlyArm64
	if _, ok := r.fw.Get("arm_64bit"); ok && !r.board.OnlyArm64 {
		arm64 = r.fw.Int("arm_64bit", 0) != 0
	}
	names := r.board.Kernels32
	if arm64 {
		names = r.board.Kernels
	}
	if k := r.value("kernel", ""); k != "" {
		names = []string{k}
		arm64 = r.bits(path.Base(k), arm64)
	}
	r.files.Arm64 = arm64
	return names
}

func (r *resolver) bits(kernel string, arm64 bool) bool {
	switch {
	case r.board.OnlyArm64 || slices.Contains(r.board.Kernels, kernel):
		return true
	case slices.Contains(r.board.Kernels32, kernel):
		return false
	}
	return arm64
}

// dtbs are the device tree names before os_prefix.
func (r *resolver) dtbs() []string {
	if dt, ok := r.fw.Get("device_tree"); ok {
		if dt == "" {
			return nil
		}
		return []string{dt}
	}
	if !r.upstream() {
		return r.board.DTBs
	}
	return compact(r.board.Upstream, r.board.DTBs)
}

func (r *resolver) upstream() bool { return r.fw.Int("upstream_kernel", 0) != 0 }

// prefix is the os_prefix in force: all of it is ignored unless both the kernel and the
// device tree exist under it (documentation of config.txt).
func (r *resolver) prefix(kernels, dtbs []string) string {
	p, set := r.fw.Get("os_prefix")
	if !set && r.upstream() {
		p = "upstream/"
	}
	if p == "" || r.anyUnder(p, kernels) && (len(dtbs) == 0 || r.anyUnder(p, dtbs)) {
		return p
	}
	if set {
		r.note("os_prefix=%s ignored: no kernel and device tree under it", p)
	}
	return ""
}

// overlays chooses the overlays and where they are. os_prefix reaches them only where the
// folder under it has a README (documentation of config.txt).
func (r *resolver) overlays() {
	dir := r.value("overlay_prefix", "overlays/")
	if own := r.name(dir); own != dir && (strings.HasPrefix(dir, "/") || r.exists(own+"README")) {
		dir = own
	}
	r.files.OverlayDir = dir
	if r.needsUpstreamOverlay() {
		r.files.Overlays = []Overlay{{Name: "upstream"}}
	}
	r.files.Overlays = append(r.files.Overlays, r.fw.Overlays...)
}

// needsUpstreamOverlay: with upstream_kernel=1 and no upstream device tree, the
// downstream one is taken and an overlay adapts it.
func (r *resolver) needsUpstreamOverlay() bool {
	_, named := r.fw.Get("device_tree")
	return r.upstream() && !named && !r.anyUnder(r.files.Prefix, r.board.Upstream)
}

func (r *resolver) armstub() {
	if stub := r.value("armstub", ""); stub != "" {
		r.files.ArmStubs, r.files.NeedStub = []string{strings.TrimLeft(stub, "/")}, true
		return
	}
	for _, name := range r.board.ArmStubs {
		if !r.files.Arm64 { // armstub8.bin is armstub8-32.bin there, armstub8-gic.bin armstub8-32-gic.bin
			name = strings.Replace(name, "armstub8", "armstub8-32", 1)
		}
		r.files.ArmStubs = append(r.files.ArmStubs, name)
	}
}

// chosen is the first candidate that exists, and the first one where none does.
func (r *resolver) chosen(names []string) string {
	if i := slices.IndexFunc(names, r.exists); i >= 0 {
		return names[i]
	}
	if len(names) > 0 {
		return names[0]
	}
	return ""
}

func (r *resolver) value(key, def string) string {
	if v, ok := r.fw.Get(key); ok && v != "" {
		return v
	}
	return def
}

// name puts the prefix in force before a name; one that begins with "/" escapes it.
func (r *resolver) name(n string) string { return join(r.files.Prefix, n) }

func (r *resolver) under(names []string) []string {
	var list []string
	for _, n := range names {
		list = append(list, r.name(n))
	}
	return list
}

func (r *resolver) anyUnder(prefix string, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return r.exists(join(prefix, n)) })
}

func (r *resolver) note(format string, args ...any) {
	r.files.Notes = append(r.files.Notes, fmt.Sprintf(format, args...))
}

func join(prefix, name string) string {
	if strings.HasPrefix(name, "/") {
		return strings.TrimLeft(name, "/")
	}
	return prefix + name
}

func compact(lists ...[]string) []string {
	var out []string
	for _, n := range slices.Concat(lists...) {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}
