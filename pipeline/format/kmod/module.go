package kmod

import (
	"path"
	"strings"
)

// Module is what a module says of itself.
type Module struct {
	Path    string   // below the folder of the release: "kernel/fs/nfs/nfs.ko.xz"
	Info    []Field  // its .modinfo, in order
	Exports []string // symbols that other modules may use
	Needs   []string // symbols that it uses, in the order in which depmod finds them
}

// Field is one line of .modinfo, such as license=GPL.
type Field struct{ Key, Value string }

// Name is what the kernel calls the module.
func (m *Module) Name() string { return nameOf(m.Path) }

// Plain is the path of the module once it is unpacked.
func (m *Module) Plain() string { return plain(m.Path) }

// Depends are the names of the modules that have to be there first.
func (m *Module) Depends() []string {
	var names []string
	for _, v := range m.values("depends") {
		for name := range strings.SplitSeq(v, ",") {
			if name != "" {
				names = append(names, normal(name))
			}
		}
	}
	return names
}

// PreSoftdeps are modules, by name or by alias, that are loaded before it where they exist.
func (m *Module) PreSoftdeps() []string {
	var names []string
	for _, v := range m.values("softdep") {
		pre := false
		for word := range strings.FieldsSeq(v) {
			switch {
			case strings.HasSuffix(word, ":"):
				pre = word == "pre:"
			case pre:
				names = append(names, normal(word))
			}
		}
	}
	return names
}

// Release is the kernel release that the module was built for, "" where it does not say.
func (m *Module) Release() string {
	for _, v := range m.values("vermagic") {
		release, _, _ := strings.Cut(v, " ")
		return release
	}
	return ""
}

func (m *Module) values(key string) []string {
	var all []string
	for _, f := range m.Info {
		if f.Key == key {
			all = append(all, f.Value)
		}
	}
	return all
}

// endings are those of module files, the uncompressed one first.
var endings = []string{".ko", ".ko.gz", ".ko.xz", ".ko.zst"}

func isModule(file string) bool {
	for _, e := range endings {
		if strings.HasSuffix(file, e) && path.Base(file) != e {
			return true
		}
	}
	return false
}

// plain is file without the ending that compression adds.
func plain(file string) string {
	for _, e := range endings[1:] {
		if p, ok := strings.CutSuffix(file, e); ok {
			return p + endings[0]
		}
	}
	return file
}

// nameOf is the name of the module in a file: up to the first dot.
func nameOf(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".")
	return normal(name)
}

// normal writes a name, an alias or a pattern with underscores. What stands in brackets is
// left alone, as a dash has another meaning there.
func normal(s string) string {
	if !strings.Contains(s, "-") {
		return s
	}
	b := []byte(s)
	inside := false
	for i, c := range b {
		switch {
		case c == '[':
			inside = true
		case c == ']':
			inside = false
		case c == '-' && !inside:
			b[i] = '_'
		}
	}
	return string(b)
}
