package lint

import (
	"bytes"
	"path"
	"strings"
)

// maxCmdline is the length in bytes that an arm64 kernel reads of its command line.
const maxCmdline = 2047

// parameters of the kernel's command line by name; of several the last counts.
func parameters(line string) map[string]string {
	all := map[string]string{}
	for _, word := range strings.Fields(line) {
		name, value, _ := strings.Cut(word, "=")
		all[name] = value
	}
	return all
}

// cmdline is the text of cmdline.txt, and whether there is one.
func (v *view) cmdline() (string, bool) {
	if v.outer() {
		return "", false
	}
	text, err := v.read(v.files.Cmdline)
	return string(text), err == nil
}

// commandLine looks at the form, and whether the kernel finds something to start.
func commandLine(r *report, v *view) {
	text, ok := v.cmdline()
	if !ok {
		return
	}
	name := v.files.Cmdline
	line, rest, _ := strings.Cut(text, "\n")
	switch {
	case strings.TrimSpace(rest) != "":
		r.error(name, 2, "put all parameters on one line", "a second line: the firmware reads the first one only")
	case len(line) > maxCmdline:
		r.error(name, 1, "", "%d bytes; a kernel reads %d", len(line), maxCmdline)
	case strings.Contains(line, "\r"):
		r.warn(name, 1, "write LF at the end of the line alone", "a carriage return becomes part of the last parameter")
	}
	p := parameters(line)
	_, root := p["root"]
	// A warning: a kernel can have a command line or an initramfs built in.
	switch init, known := v.hasInit(p); {
	case len(v.files.Initramfs) == 0 && !root:
		r.warn(name, 1, "add root=, or ship an initramfs", "names no root=, and there is no initramfs: the kernel has nothing to start")
	case len(v.files.Initramfs) > 0 && known && !init && !root:
		r.warn(name, 1, "add an executable /init to the initramfs, or root=", "names no root=, and the initramfs has no %s", initPath(p))
	}
	nfsVersion(r, name, p)
}

// nfsVersion: without a version kernels asked for NFS 2, which servers refuse, and
// klibc's nfsmount knows 2 and 3 only (raspberrypi/linux#2187, bookworm-feedback#93).
func nfsVersion(r *report, name string, p map[string]string) {
	where, given := p["nfsroot"]
	if !given || where == "auto" {
		return
	}
	for _, o := range strings.Split(where, ",")[1:] {
		if strings.HasPrefix(o, "vers=") || strings.HasPrefix(o, "nfsvers=") || strings.HasPrefix(o, "v3") || strings.HasPrefix(o, "v4") {
			return
		}
	}
	r.warn(name, 1, "add ,vers=3", "nfsroot says no version of NFS: kernels try one that servers refuse")
}

func initPath(p map[string]string) string {
	if rd := p["rdinit"]; rd != "" {
		return rd
	}
	return "/init"
}

// hasInit says whether the initramfs has the program that the kernel starts, and whether
// that can be told.
func (v *view) hasInit(p map[string]string) (has, known bool) {
	if len(v.files.Initramfs) == 0 {
		return false, true
	}
	i, ok := v.ramfs(v.files.Initramfs)
	if !ok || i.err != nil {
		return false, false
	}
	want := strings.TrimPrefix(path.Clean(initPath(p)), "/")
	return i.tree.Lookup(want) != nil, true
}

// nfsRoot looks at what a kernel needs that mounts its root over NFS by itself
// (Documentation/admin-guide/nfs/nfsroot.rst).
func nfsRoot(r *report, v *view) {
	text, ok := v.cmdline()
	p := parameters(string(bytes.ToValidUTF8([]byte(text), nil)))
	if !ok || p["root"] != "/dev/nfs" {
		return
	}
	if init, known := v.hasInit(p); init || !known {
		return // it is the initramfs that mounts
	}
	name := v.files.Cmdline
	if _, given := p["ip"]; !given {
		r.error(name, 1, "add ip=dhcp", "root=/dev/nfs without ip=: the kernel has no address to mount from")
	}
	file, _ := v.chosen(v.files.Kernels)
	k, ok := v.kernel(file)
	if !ok || k.config == nil {
		return
	}
	for _, option := range []string{"ROOT_NFS", "IP_PNP"} {
		if !k.config.On(option) {
			r.error(name, 1, "ship an initramfs that mounts the root, or take another kernel", "root=/dev/nfs, and %s was built without CONFIG_%s", file, option)
		}
	}
}
