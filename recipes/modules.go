package recipes

import (
	"path"
	"strings"
)

// modules is the [initramfs.modules] table.
func (r *reader) modules(t *table) *Modules {
	if t.n == nil {
		return nil
	}
	m := &Modules{
		From:       r.sourceRef(t.must("from", `name the source that has lib/modules: from = "kernel"`)),
		Path:       "lib/modules",
		Decompress: true,
	}
	if n := t.get("path"); n != nil {
		if s, ok := r.filled(n); ok && r.pathInSource(n, s) {
			m.Path = s
			r.inPathSource(n, Ref{m.From, s}, aPattern)
		}
	}
	names := t.must("select", `add select = ["nfs", "snd-*", "kernel/drivers/net/phy"]`)
	m.Select = r.moduleNames(names)
	if l, ok := names.list(); ok && len(l) == 0 {
		r.fail(names, "take [initramfs.modules] out if no module is wanted", "names no module")
	}
	if n := t.get("decompress"); n != nil {
		m.Decompress = r.boolean(n)
	}
	t.done()
	return m
}

// moduleNames are names of modules, patterns of names, and paths of folders. Dash and
// underscore are the same in a name.
func (r *reader) moduleNames(n *node) []string {
	first := map[string]string{}
	return r.distinct(r.texts(n), func(el *node) {
		s := el.text()
		same := strings.ReplaceAll(s, "-", "_")
		name, _, compressed := strings.Cut(s, ".ko")
		_, err := path.Match(s, "")
		switch {
		case err != nil:
			r.fail(el, badPatternHint, "pattern %q is malformed", s)
		case strings.ContainsFunc(s, func(c rune) bool { return isControl(c) || c == ' ' || c == ',' }):
			r.fail(el, "write one name for each string of the list", "%q is not the name of a module", s)
		case strings.HasPrefix(s, "/") || strings.HasPrefix(s, "lib/modules/"):
			r.fail(el, `write it as modules.dep does: "kernel/fs/nfs"`, "path %q does not start below the folder of the release", s)
		case !strings.Contains(s, "/") && compressed:
			r.fail(el, "write "+quote(name), "%q is the name of a file", s)
		case !strings.Contains(s, "/") && first[same] != "":
			r.fail(el, "", "%q and %q are the same module", first[same], s)
		}
		first[same] = s
	})
}
