// Package overlay reads a folder that goes on top of an initramfs, and extracts an
// initramfs into one.
//
// A checkout can hold neither owners nor modes but the execute bit, nor devices: every
// file is root's, with mode 0644 or 0755, unless [MetaFile] in the folder says more.
package overlay

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"piimg/pipeline/format/initrd/repack"
	"piimg/pipeline/format/newc"
)

// Error is a file of an overlay that cannot go into an image.
type Error struct {
	Path string // in the overlay
	Msg  string
	Help string // what to do about it
}

func (e *Error) Error() string { return e.Path + " " + e.Msg }

// Hint says what to do, in one line.
func (e *Error) Hint() string { return e.Help }

// Read is what fsys puts into an initramfs, sorted by path; labels are empty. Symlinks stay
// symlinks and are not followed. Sockets, nodes, and files with a setuid, setgid or sticky
// bit that neither the meta file nor d asks for are errors, of type [*Error], of which
// there may be several joined.
func Read(fsys fs.FS, d Declared) ([]repack.Add, error) {
	rules, err := readMeta(fsys)
	if err != nil {
		return nil, err
	}
	r := &reader{fsys: fsys, rules: rules, declared: d.orNobody(), met: make([]bool, len(rules))}
	if err := fs.WalkDir(fsys, ".", r.visit); err != nil {
		return nil, err
	}
	r.nodes()
	for n, rule := range rules {
		if !r.met[n] {
			r.fail(MetaFile, "correct or remove the line", "line %d: %s matches nothing in the overlay", rule.Line, rule.Glob)
		}
	}
	if err := errors.Join(r.errs...); err != nil {
		return nil, err
	}
	slices.SortFunc(r.adds, func(a, b repack.Add) int { return strings.Compare(a.Entry.Name, b.Entry.Name) })
	return r.adds, nil
}

// Declared is what is said outside of the overlay. Nil functions say nothing.
type Declared struct {
	Placed func(path string) bool // something else is put there: the overlay's is left out
	Mode   func(path string) bool // a rule sets its mode afterwards
}

func (d Declared) orNobody() Declared {
	nobody := func(string) bool { return false }
	if d.Placed == nil {
		d.Placed = nobody
	}
	if d.Mode == nil {
		d.Mode = nobody
	}
	return d
}

type reader struct {
	fsys     fs.FS
	rules    []Rule
	met      []bool
	declared Declared
	adds     []repack.Add
	errs     []error
}

func (r *reader) fail(path, help, format string, args ...any) {
	r.errs = append(r.errs, &Error{path, fmt.Sprintf(format, args...), help})
}

func (r *reader) visit(name string, d fs.DirEntry, err error) error {
	if err != nil || name == "." || name == MetaFile || r.declared.Placed(name) {
		return err
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	a := repack.Add{Entry: newc.Entry{Name: name}}
	switch {
	case d.IsDir():
		a.Entry.Mode, a.Weak = newc.Dir|0o755, true
	case d.Type() == fs.ModeSymlink:
		target, err := fs.ReadLink(r.fsys, name)
		if err != nil {
			return err
		}
		a.Entry.Mode, a.Entry.Size, a.Open = newc.Symlink|0o777, int64(len(target)), repack.Text([]byte(target))
	case !d.Type().IsRegular() && r.made(name):
		return nil // the line says what it is
	case !d.Type().IsRegular():
		r.fail(name, "declare it: [[initramfs.node]], or a line in "+MetaFile+"; and remove it from the folder", "is no file, folder or link")
		return nil
	default:
		a.Entry.Mode, a.Entry.Size = newc.Regular|normal(info.Mode()), info.Size()
		a.Open = func() (io.ReadCloser, error) { return r.fsys.Open(name) }
	}
	said := r.apply(&a) || r.declared.Mode(name)
	if !said && !d.IsDir() && info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 {
		r.fail(name, "chmod ug-s,-t it, or say its mode: [[initramfs.chmod]], or a line in "+MetaFile, "has mode %v, and nothing says that it is meant", info.Mode())
	}
	r.adds = append(r.adds, a)
	return nil
}

// made says whether a line makes a node of that path.
func (r *reader) made(name string) bool {
	return slices.ContainsFunc(r.rules, func(rule Rule) bool { return rule.Node != nil && rule.path == name })
}

// normal is all that a checkout can hold of a mode.
func normal(m fs.FileMode) uint32 {
	if m&0o111 != 0 {
		return 0o755
	}
	return 0o644
}

// apply applies the rules that match a, and answers whether one said its mode.
func (r *reader) apply(a *repack.Add) (said bool) {
	for n, rule := range r.rules {
		if rule.Node != nil || !rule.matches(a.Entry.Name) {
			continue
		}
		r.met[n] = true
		if rule.Mode >= 0 && a.Entry.Type() != newc.Symlink {
			a.Entry.Mode, a.Weak, said = a.Entry.Type()|uint32(rule.Mode), false, true
		}
		if rule.UID >= 0 {
			a.Entry.UID, a.Entry.GID, a.Weak = uint32(rule.UID), uint32(rule.GID), false
		}
	}
	return said
}

// nodes adds what the meta file makes.
func (r *reader) nodes() {
	for n, rule := range r.rules {
		if rule.Node == nil {
			continue
		}
		r.met[n] = true
		name := rule.path
		if r.declared.Placed(name) {
			continue
		}
		if slices.ContainsFunc(r.adds, func(a repack.Add) bool { return a.Entry.Name == name }) {
			r.fail(MetaFile, "remove one of them", "line %d: %s is in the overlay already", rule.Line, name)
			continue
		}
		e := newc.Entry{Name: name, Mode: rule.Node.Type | uint32(max(rule.Mode, 0)), RDev: rule.Node.Device}
		if rule.UID >= 0 {
			e.UID, e.GID = uint32(rule.UID), uint32(rule.GID)
		}
		r.adds = append(r.adds, repack.Add{Entry: e})
	}
}
