package kmod

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// File is a file of depmod's, below the folder of the release.
type File struct {
	Name string
	Data []byte
}

// Files are what depmod would write where the set is installed, with the lists of the
// kernel's build that it reads. at is the path of each module there: (*Module).Plain where
// modules are unpacked on the way.
func (s *Set) Files(at func(*Module) string) ([]File, error) {
	all, owners, err := graph(s.Modules)
	if err != nil {
		return nil, err
	}
	d := &depmod{modules: all, owners: owners, at: at}
	for _, part := range []func(){d.dep, d.order, d.alias, d.softdep, d.symbols, d.devname} {
		part()
	}
	if err := d.builtin(s.tree); err != nil {
		return nil, err
	}
	return d.files, d.err
}

// depmod collects the files, and the first error of an index.
type depmod struct {
	modules []*vertex
	owners  map[string]*vertex
	at      func(*Module) string
	files   []File
	err     error
}

func (d *depmod) file(name string, data []byte) {
	d.files = append(d.files, File{name, data})
}

func (d *depmod) index(name string, x *index) {
	data, err := x.bytes()
	d.fail(name, err)
	d.file(name, data)
}

func (d *depmod) fail(name string, err error) {
	if err != nil && d.err == nil {
		d.err = fmt.Errorf("%s: %w", name, err)
	}
}

func (d *depmod) dep() {
	var text bytes.Buffer
	var x index
	for _, v := range d.modules {
		line := d.at(v.Module) + ":"
		for _, dep := range v.needed() {
			line += " " + d.at(dep.Module)
		}
		text.WriteString(line + "\n")
		d.fail("modules.dep.bin", x.insert(v.Name(), line, v.index))
	}
	d.file("modules.dep", text.Bytes())
	d.index("modules.dep.bin", &x)
}

// order lists the modules without their compression, as the kernel's build does.
func (d *depmod) order() {
	var text bytes.Buffer
	for _, v := range d.modules {
		text.WriteString(v.Plain() + "\n")
	}
	d.file("modules.order", text.Bytes())
}

func (d *depmod) alias() {
	text := bytes.NewBufferString("# Aliases extracted from modules themselves.\n")
	var x index
	for _, v := range d.modules {
		for _, alias := range v.values("alias") {
			fmt.Fprintf(text, "alias %s %s\n", alias, v.Name())
			if balanced(alias) {
				d.fail("modules.alias.bin", x.insert(normal(alias), v.Name(), v.index))
			}
		}
	}
	d.file("modules.alias", text.Bytes())
	d.index("modules.alias.bin", &x)
}

// balanced says whether every bracket of an alias is closed. The index leaves out others.
func balanced(alias string) bool {
	for alias != "" {
		before, rest, open := strings.Cut(alias, "[")
		if strings.Contains(before, "]") {
			return false
		}
		if !open {
			return true
		}
		_, after, closed := strings.Cut(rest, "]")
		if !closed {
			return false
		}
		alias = after
	}
	return true
}

func (d *depmod) softdep() {
	text := bytes.NewBufferString("# Soft dependencies extracted from modules themselves.\n")
	for _, v := range d.modules {
		for _, s := range v.values("softdep") {
			fmt.Fprintf(text, "softdep %s %s\n", v.Name(), s)
		}
	}
	d.file("modules.softdep", text.Bytes())
}

func (d *depmod) symbols() {
	text := bytes.NewBufferString("# Aliases for symbols, used by symbol_request().\n")
	var x index
	for _, symbol := range slices.Sorted(maps.Keys(d.owners)) {
		owner := d.owners[symbol]
		fmt.Fprintf(text, "alias symbol:%s %s\n", symbol, owner.Name())
		d.fail("modules.symbols.bin", x.insert("symbol:"+symbol, owner.Name(), owner.index))
	}
	d.file("modules.symbols", text.Bytes())
	d.index("modules.symbols.bin", &x)
}

// devname lists device nodes whose first use loads a module.
func (d *depmod) devname() {
	var text bytes.Buffer
	for _, v := range d.modules {
		name, device := node(v.values("alias"))
		if name == "" || device == "" {
			continue
		}
		if text.Len() == 0 {
			text.WriteString("# Device nodes to trigger on-demand module loading.\n")
		}
		fmt.Fprintf(&text, "%s %s %s\n", v.Name(), name, device)
	}
	d.file("modules.devname", text.Bytes())
}

// node is the name of a device node and its type and number, such as "c10:229".
func node(aliases []string) (name, device string) {
	for _, alias := range aliases {
		var major, minor uint32
		if n, ok := strings.CutPrefix(alias, "devname:"); ok {
			name = n
		} else if n, _ := fmt.Sscanf(alias, "char-major-%d-%d", &major, &minor); n == 2 {
			device = fmt.Sprintf("c%d:%d", major, minor)
		} else if n, _ := fmt.Sscanf(alias, "block-major-%d-%d", &major, &minor); n == 2 {
			device = fmt.Sprintf("b%d:%d", major, minor)
		}
		if name != "" && device != "" {
			break
		}
	}
	return name, device
}

// builtin copies the lists of what is built in, and indexes them. Without a list the index
// is empty: modprobe wants one.
func (d *depmod) builtin(t *Tree) error {
	lines, err := t.lines("modules.builtin")
	if err != nil {
		return err
	}
	var x index
	for _, line := range lines {
		d.fail("modules.builtin.bin", x.insert(nameOf(line), "", 0))
	}
	for _, name := range []string{"modules.builtin", "modules.builtin.modinfo"} {
		data, err := fs.ReadFile(t.fsys, name)
		if ignoreMissing(err) != nil {
			return err
		}
		d.file(name, data)
	}
	d.index("modules.builtin.bin", &x)
	aliases, err := t.builtinAliases()
	var y index
	for _, a := range aliases {
		if balanced(a.alias) {
			d.fail("modules.builtin.alias.bin", y.insert(normal(a.alias), a.name, 0))
		}
	}
	d.index("modules.builtin.alias.bin", &y)
	return err
}
