package recipes

import (
	"slices"

	"piimg/pipeline/format/initrd"
)

// edits reads what is to become of the base's own files.
func (r *reader) edits(t *table, i *Initramfs) {
	for _, n := range r.texts(t.get("remove")) {
		glob := r.glob(n)
		if slices.Contains(i.Remove, glob) {
			r.fail(n, "", "%q stands twice in the list", glob)
		}
		i.Remove = append(i.Remove, glob)
	}
	for j, n := range r.list(t.get("rename")) {
		i.Renames = append(i.Renames, r.rename(r.open(n), element("initramfs.rename", j)))
	}
	for j, n := range r.list(t.get("chmod")) {
		c := Chmod{Key: element("initramfs.chmod", j)}
		e := r.open(n)
		c.Glob = r.glob(e.must("path", `say which files: "usr/bin/*"`))
		if mode := e.must("mode", `write octal digits: "0755"`); mode != nil {
			c.Mode = r.perm(mode, 0o7777)
		}
		e.done()
		i.Chmods = append(i.Chmods, c)
	}
	for j, n := range r.list(t.get("chown")) {
		c := Chown{Key: element("initramfs.chown", j)}
		e := r.open(n)
		c.Glob = r.glob(e.must("path", `say which files: "home/pi/**"`))
		c.UID, c.GID = r.owner(e.must("owner", `write "uid:gid" in numbers: "0:0"`))
		e.done()
		i.Chowns = append(i.Chowns, c)
	}
}

func (r *reader) rename(t *table, key string) Rename {
	m := Rename{Key: key}
	from, to := t.must("from", "say what to rename"), t.must("to", "say its new path")
	if s, ok := r.str(from); ok && r.inImage(from, s) {
		m.From = s
	}
	if s, ok := r.str(to); ok && r.inImage(to, s) {
		m.To = s
	}
	t.done()
	return m
}

// glob is a glob of paths in the initramfs.
func (r *reader) glob(n *node) string {
	s, ok := r.filled(n)
	if !ok {
		return ""
	}
	if err := initrd.CheckGlob(s); err != nil {
		r.fail(n, `globs are relative, such as "usr/share/doc/**"`, "%s", err)
	}
	return s
}

// forced reports what mode = "append" cannot do.
func (r *reader) forced(t *table, i *Initramfs) {
	if i.Mode != "append" {
		return
	}
	for _, key := range []string{"remove", "rename", "recompress", "normalize"} {
		n := t.get(key)
		if on, isBool := nodeBool(n); n != nil && (!isBool || on) {
			r.fail(n, `take mode out, or say mode = "repack"`, "cannot be done by an archive behind the base, and mode is \"append\"")
		}
	}
}

func nodeBool(n *node) (value, ok bool) {
	if n == nil {
		return false, false
	}
	value, ok = n.value.(bool)
	return value, ok
}

// SetsMode says whether a rule sets the mode of path.
func (i *Initramfs) SetsMode(path string) bool {
	return slices.ContainsFunc(i.Chmods, func(c Chmod) bool { return initrd.Match(c.Glob, path) })
}
