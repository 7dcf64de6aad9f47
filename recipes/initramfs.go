package recipes

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"piimg/pipeline/format/initrd/overlay"
)

// fromURoot is the base that stands for the uroot stage, fromNothing that without entries.
const (
	fromURoot   = "uroot"
	fromNothing = "none"
)

func (r *reader) initramfs(t *table, hasURoot bool) *Initramfs {
	i := &Initramfs{
		Base:        r.base(t.must("base", `add base = "uroot", "buildroot", "none", or the archive to build on: "rootfs:rootfs.cpio.gz"`), hasURoot),
		Mode:        r.oneOf(t.get("mode"), "auto", "append", "repack"),
		Compression: r.oneOf(t.get("compression"), "gzip", "zstd", "none"),
		Level:       r.oneOf(t.get("level"), "auto", "fast", "default", "best"),
		Recompress:  r.boolean(t.get("recompress")),
		Normalize:   r.boolean(t.get("normalize")),
		Overlays:    []string{},
	}
	i.Name = map[string]string{"gzip": "initramfs.cpio.gz", "zstd": "initramfs.cpio.zst", "none": "initramfs.cpio"}[i.Compression]
	if n := t.get("name"); n != nil {
		i.Name = r.imageName(n)
	}
	p := &placed{reader: r, at: map[string]*node{}, dirs: map[string]bool{}}
	p.read(t, i)
	p.nested()
	r.edits(t, i)
	if n := t.get("modules"); n != nil {
		i.Modules = r.modules(r.open(n))
	}
	if n := t.get("limits"); n != nil {
		i.Limits = r.limits(r.open(n))
	}
	i.Overlays = append(i.Overlays, p.overlays(i, r.texts(t.get("overlays")))...)
	r.forced(t, i)
	t.done()
	return i
}

func (r *reader) base(n *node, hasURoot bool) Ref {
	s, ok := r.filled(n)
	if !ok {
		return Ref{}
	}
	if s == fromURoot {
		if !hasURoot {
			r.fail(n, "add [uroot] with from and commands", "needs a [uroot] table")
		}
		return Ref{Path: fromURoot}
	}
	switch s {
	case fromNothing:
		return Ref{Path: fromNothing}
	case FromBuildroot:
		r.needsBuildroot(n)
		return Ref{FromBuildroot, "rootfs.cpio*"} // the stage keeps one of them
	}
	ref := r.ref(n, refFile)
	if ref == (Ref{Path: fromURoot}) || ref == (Ref{Path: fromNothing}) {
		r.fail(n, "rename the file", "a file called %q cannot be told from what the word means here", ref.Path)
	}
	return ref
}

// placed reads what is placed in the initramfs, one path once.
type placed struct {
	*reader
	at   map[string]*node // path in the archive to the value that says it
	dirs map[string]bool  // paths that are folders
}

func (p *placed) read(t *table, i *Initramfs) {
	for j, n := range p.list(t.get("file")) {
		i.Files = append(i.Files, p.file(p.open(n), element("initramfs.file", j)))
	}
	for j, n := range p.list(t.get("dir")) {
		i.Dirs = append(i.Dirs, p.dir(p.open(n), element("initramfs.dir", j)))
	}
	for j, n := range p.list(t.get("symlink")) {
		i.Symlinks = append(i.Symlinks, p.symlink(p.open(n), element("initramfs.symlink", j)))
	}
	for j, n := range p.list(t.get("node")) {
		i.Nodes = append(i.Nodes, p.node(p.open(n), element("initramfs.node", j)))
	}
}

func (p *placed) path(n *node) string {
	s, ok := p.str(n)
	if !ok || !p.inImage(n, s) {
		return s
	}
	if first := p.at[s]; first != nil {
		p.fail(n, "", "%q is placed twice, first at %s", s, first.pos())
		return s
	}
	p.at[s] = n
	return s
}

// nested reports paths below a path that is no folder.
func (p *placed) nested() {
	for _, s := range slices.Sorted(maps.Keys(p.at)) {
		n := p.at[s]
		for dir := path.Dir(s); dir != "."; dir = path.Dir(dir) {
			if upper := p.at[dir]; upper != nil && !p.dirs[dir] {
				p.fail(n, "", "%q is below %q, which is no folder: see %s", s, dir, upper.pos())
			}
		}
	}
}

func (p *placed) file(t *table, key string) File {
	f := File{Key: key, Mode: 0o644}
	f.Path = p.path(t.must("path", `say where in the initramfs, such as "etc/hostname"`))
	if n := t.get("mode"); n != nil {
		f.Mode = p.perm(n, 0o7777)
	}
	f.UID, f.GID = p.owner(t.get("owner"))
	content, from, tmpl := t.get("content"), t.get("from"), t.get("template")
	clean := t.done()
	said := slices.DeleteFunc([]*node{content, from, tmpl}, func(n *node) bool { return n == nil })
	switch {
	case t.n == nil || len(said) == 0 && !clean:
	case len(said) == 0:
		p.fail(t.n, `add content, from or template; content = "" makes an empty file`, "says nothing about the content")
	case len(said) > 1:
		p.fail(said[1], "keep one of them", "stands beside %s", lastKey(said[0]))
	default:
		f.Content, _ = p.str(content)
		f.From = p.ref(from, refFile)
		f.Template = p.template(tmpl)
	}
	return f
}

// template checks the text with the data that it will get.
func (r *reader) template(n *node) string {
	s, ok := r.filled(n)
	if !ok {
		return ""
	}
	t, err := template.New("template").Option("missingkey=error").Parse(s)
	if err == nil {
		err = t.Execute(io.Discard, TemplateData{Name: "name", Recipe: "sha256:", Epoch: DefaultEpoch})
	}
	if err != nil {
		r.fail(n, "a template may use {{.Name}}, {{.Recipe}} and {{.Epoch}}", "%s", templateFault(err))
	}
	return s
}

var templatePlace = regexp.MustCompile(`^template: template:(\d+)(:\d+)?: (executing "template" at )?`)

// templateFault is err with the line inside the template first.
func templateFault(err error) string {
	msg, _, _ := strings.Cut(err.Error(), "\n")
	m := templatePlace.FindStringSubmatch(msg)
	if m == nil {
		return msg
	}
	msg, _, _ = strings.Cut(msg[len(m[0]):], " in type ")
	return fmt.Sprintf("line %s of the template: %s", m[1], msg)
}

func (p *placed) dir(t *table, key string) Dir {
	d := Dir{Key: key, Mode: 0o755}
	d.Path = p.path(t.must("path", `say where in the initramfs, such as "var/tmp"`))
	if p.at[d.Path] != nil {
		p.dirs[d.Path] = true
	}
	if n := t.get("mode"); n != nil {
		d.Mode = p.perm(n, 0o7777)
	}
	d.UID, d.GID = p.owner(t.get("owner"))
	t.done()
	return d
}

func (p *placed) symlink(t *table, key string) Symlink {
	l := Symlink{Key: key}
	l.Path = p.path(t.must("path", "say where in the initramfs"))
	target := t.must("target", "say what the link points to")
	l.Target, _ = p.filled(target)
	if target != nil && (len(l.Target) > 4095 || strings.ContainsFunc(l.Target, isControl)) {
		p.fail(target, "", "is no target that a kernel takes")
	}
	t.done()
	return l
}

func (p *placed) node(t *table, key string) Node {
	n := Node{Key: key, Mode: 0o600}
	n.Path = p.path(t.must("path", `say where in the initramfs, such as "dev/console"`))
	n.Type = p.oneOf(t.must("type", `"char", "block" or "fifo"`), "char", "block", "fifo")
	if n.Type != "fifo" {
		major, _ := p.integer(t.must("major", "the number of the driver"), 0, 1<<12-1)
		minor, _ := p.integer(t.must("minor", "the number of the device"), 0, 1<<20-1)
		n.Major, n.Minor = uint32(major), uint32(minor)
	}
	if m := t.get("mode"); m != nil {
		n.Mode = p.perm(m, 0o777)
	}
	n.UID, n.GID = p.owner(t.get("owner"))
	t.done()
	return n
}

// perm is a mode: a string of octal digits, or an octal integer of TOML.
func (r *reader) perm(n *node, most uint32) uint32 {
	var v uint64
	var err error
	switch x := n.value.(type) {
	case string:
		v, err = strconv.ParseUint(x, 8, 32)
		if err != nil {
			r.fail(n, `write octal digits: "0755"`, "%q is not a mode", x)
			return 0
		}
	case int64:
		v = uint64(x)
		if !strings.HasPrefix(n.raw, "0o") {
			r.fail(n, fmt.Sprintf("a mode is octal: write \"%04d\"", x), "%d is a decimal number", x)
			return 0
		}
	default:
		r.fail(n, `write octal digits: "0755"`, "must be a string, not %s", n.kind())
		return 0
	}
	if v > uint64(most) {
		r.fail(n, "", "mode %04o is above %04o", v, most)
		return 0
	}
	return uint32(v)
}

// owner is "uid:gid", by number: an initramfs has no user names.
func (r *reader) owner(n *node) (uid, gid uint32) {
	s, ok := r.str(n)
	if !ok {
		return 0, 0
	}
	u, g, _ := strings.Cut(s, ":")
	uid64, uerr := strconv.ParseUint(u, 10, 32)
	gid64, gerr := strconv.ParseUint(g, 10, 32)
	if uerr != nil || gerr != nil {
		r.fail(n, `write "uid:gid" in numbers: "0:0"`, "%q is not an owner", s)
	}
	return uint32(uid64), uint32(gid64)
}

// overlays are folders beside the recipe; what is in them is looked at too.
func (p *placed) overlays(i *Initramfs, list []*node) []string {
	out := []string{}
	for _, n := range list {
		before := len(p.errs)
		dir := p.beside(n, n.text(), aFolder)
		if slices.Contains(out, dir) {
			p.fail(n, "", "%q stands twice in the list", dir)
			continue
		}
		out = append(out, dir)
		if len(p.errs) == before {
			p.overlay(i, n, dir)
		}
	}
	return out
}

// overlay looks at all of an overlay: what a folder cannot hold or a checkout sets unasked
// is a mistake unless it is declared.
func (p *placed) overlay(i *Initramfs, n *node, dir string) {
	root, err := p.root.OpenRoot(dir)
	if err != nil {
		p.add(unreadable(n, dir, err))
		return
	}
	defer root.Close()
	_, err = overlay.Read(root.FS(), overlay.Declared{
		Placed: func(name string) bool { return p.at[name] != nil && !p.dirs[name] },
		Mode:   i.SetsMode,
	})
	for _, err := range unjoined(err) {
		var bad *overlay.Error
		if errors.As(err, &bad) {
			p.fail(n, bad.Help, "%s %s", path.Join(dir, bad.Path), bad.Msg)
		} else {
			p.add(unreadable(n, dir, err))
		}
	}
}

func unjoined(err error) []error {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		return all.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}
