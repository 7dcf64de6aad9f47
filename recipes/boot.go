package recipes

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// maxCmdline is the length in bytes that an arm64 kernel reads of its command line.
const maxCmdline = 2047

func (r *reader) kernel(t *table) Kernel {
	k := Kernel{
		File:    r.ref(t.must("file", `add file = "kernel:vmlinuz"`), refFile),
		Name:    "kernel8.img",
		Cmdline: r.cmdline(t.must("cmdline", `add cmdline = "console=ttyAMA0,115200 console=tty1"`)),
	}
	if n := t.get("name"); n != nil {
		k.Name = r.imageName(n)
	}
	if n := t.get("licence"); n != nil {
		k.Licence = r.ref(n, refFile)
	}
	t.done()
	return k
}

// cmdline is cmdline.txt.
func (r *reader) cmdline(n *node) string {
	s, ok := r.str(n)
	if !ok {
		return ""
	}
	switch i := strings.IndexFunc(s, notPrintable); {
	case strings.ContainsAny(s, "\r\n"):
		r.fail(n, "put all parameters on one line: the firmware reads the first one only", "has a line break")
	case i >= 0:
		r.fail(n, "", "has a character that is not printable ASCII, at byte %d", i)
	case len(s) > maxCmdline:
		r.fail(n, "", "is %d bytes long, and a kernel reads %d", len(s), maxCmdline)
	case strings.TrimSpace(s) == "":
		r.fail(n, "say at least console=", "is empty")
	}
	return s
}

func notPrintable(c rune) bool { return c < ' ' || c > '~' }

// imageName is a name among the boot files. The firmware takes 64 characters.
func (r *reader) imageName(n *node) string {
	s, ok := r.filled(n)
	switch {
	case !ok:
	case strings.ContainsAny(s, ` /\,:`) || strings.ContainsFunc(s, notPrintable) || s == "." || s == "..":
		r.fail(n, "use one plain file name", "%q is not a name that the firmware takes", s)
	case len(s) > 64:
		r.fail(n, "", "is %d characters long, and the firmware takes 64", len(s))
	}
	return s
}

func (r *reader) dtb(t *table, k Kernel) DTB {
	files := t.must("files", `add files = ["kernel:*.dtb"]`)
	d := DTB{
		Files:    []Ref{},
		Overlays: r.overlayNames(t.get("overlays")),
		Ship:     r.distinct(r.texts(t.get("ship")), func(n *node) { r.pathInSource(n, n.text()) }),
	}
	for _, n := range r.texts(files) {
		d.Files = append(d.Files, r.ref(n, aPattern))
	}
	if l, ok := files.list(); ok && len(l) == 0 {
		r.fail(files, "a kernel without a device tree finds no hardware", "names no file")
	}
	from := t.get("overlays_from")
	switch {
	case from != nil:
		d.OverlaysFrom = r.ref(from, refFolder)
	case k.File.Source != "":
		d.OverlaysFrom = Ref{k.File.Source, "overlays"}
	case len(d.Overlays)+len(d.Ship) > 0 && k.File.Path != "":
		t.must("overlays_from", "the kernel comes from no source, so say where the .dtbo files are")
	}
	t.done()
	return d
}

// overlayNames are names for dtoverlay=, each with its parameters. The same overlay may
// be loaded twice.
func (r *reader) overlayNames(n *node) []string {
	list := r.texts(n)
	for _, el := range list {
		name, _, _ := strings.Cut(el.text(), ",")
		switch {
		case strings.HasSuffix(name, ".dtbo"):
			r.fail(el, "write "+quote(strings.TrimSuffix(name, ".dtbo")), "%q has the suffix, and the firmware adds it", name)
		case name == "" || strings.ContainsAny(name, "/ :="):
			r.fail(el, `write "name" or "name,parameter=value"`, "%q is not the name of an overlay", name)
		default:
			r.line(el, "dtoverlay", el.text())
		}
	}
	return r.strs(n)
}

// firmware is required as soon as one board loads a start file; nothing is, of a Pi 5.
func (r *reader) firmware(top *table, boards []string) Firmware {
	needs := slices.IndexFunc(r.boards, func(b Board) bool {
		return slices.Contains(boards, b.Model) && len(b.Starts) > 0
	})
	n := top.get("firmware")
	if n == nil {
		if needs >= 0 {
			b := r.boards[needs]
			top.must("firmware", fmt.Sprintf("add [firmware] with from, the source of the files: board %s loads %s", b.Model, b.Starts[0]))
		}
		return Firmware{}
	}
	t := r.open(n)
	f := Firmware{
		From:  r.sourceRef(t.must("from", "name the source of the firmware files")),
		Files: r.distinct(r.texts(t.get("files")), func(n *node) { r.pathInSource(n, n.text()) }),
	}
	if len(f.Files) == 0 {
		f.Files = nil
	}
	t.done()
	return f
}

func (r *reader) uroot(t *table) *URoot {
	u := &URoot{
		From:  r.sourceRef(t.must("from", "name the source that is the u-root module")),
		Init:  "init",
		Shell: "gosh",
	}
	commands := t.must("commands", `add commands = ["core/init", "core/gosh", "core/ls"]`)
	u.Commands = r.distinct(r.texts(commands), r.command(map[string]string{}))
	for _, w := range []struct {
		key  string
		into *string
	}{{"init", &u.Init}, {"shell", &u.Shell}} {
		n := t.get(w.key)
		if s, ok := r.filled(n); ok {
			*w.into = s
		}
		r.isCommand(t, n, w.key, *w.into, u.Commands)
	}
	t.done()
	return u
}

// command checks one package of u-root; names holds those before it by their last part.
func (r *reader) command(names map[string]string) func(*node) {
	return func(n *node) {
		c := n.text()
		name := path.Base(c)
		switch first, taken := names[name]; {
		case strings.HasPrefix(c, "cmds/"):
			r.fail(n, "write "+quote(strings.TrimPrefix(c, "cmds/")), "%q is written from cmds/ on", c)
		case !commandPath.MatchString(c):
			r.fail(n, `write the package below cmds/: "core/ls"`, "%q is not a package of commands", c)
		case taken:
			r.fail(n, "keep one of them", "%q and %q are both called %s", first, c, name)
		default:
			names[name] = c
		}
	}
}

// isCommand checks that one of commands is called name. n is nil where name is the default.
func (r *reader) isCommand(t *table, n *node, key, name string, commands []string) {
	if len(commands) == 0 || t.n == nil || strings.Contains(name, "/") {
		return
	}
	names := map[string]bool{}
	for _, c := range commands {
		names[path.Base(c)] = true
	}
	if names[name] {
		return
	}
	if n == nil {
		missing := *t.n
		missing.key = join(t.n.key, key)
		n = &missing
	}
	hint := didYouMean(name, slices.Collect(maps.Keys(names)))
	if hint == "" {
		hint = "add its package to uroot.commands"
	}
	r.fail(n, hint, "%q is not among the commands", name)
}
