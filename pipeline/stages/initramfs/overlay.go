package initramfs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"piimg/pipeline"
	"piimg/pipeline/format/newc"
	"piimg/recipes"
)

// item is something that goes on top of the base.
type item struct {
	entry newc.Entry
	open  func() (io.ReadCloser, error) // of the body; nil without one
	weak  bool                          // a folder that only stands for its children
	key   string                        // of the recipe that asks for it
	from  string                        // the file that it is; "" where the recipe holds it
}

// layer is what goes on top of the base, by path.
type layer map[string]item

// collect gathers the modules, the overlays and then the declared files: what comes later
// wins.
func collect(ctx context.Context, job *pipeline.Job, p params) (layer, error) {
	l := layer{}
	modules := layer{}
	modules.addModules(ctx, job)
	l.put(modules, "initramfs.modules", nil)
	for n, dir := range p.Overlays {
		key, tree := fmt.Sprintf("initramfs.overlays[%d]", n), layer{}
		fsys, err := job.Local(dir)
		if err == nil {
			err = tree.addTree(fsys)
		}
		if err != nil {
			return nil, job.At(key, err)
		}
		l.put(tree, key, func(name string) string { return path.Join(dir, name) })
	}
	for n, f := range p.Files {
		key, one := fmt.Sprintf("initramfs.file[%d]", n), layer{}
		if err := one.addFile(ctx, job, f); err != nil {
			return nil, job.At(key, err)
		}
		l.put(one, key, func(string) string { return f.From.String() })
	}
	for n, s := range p.Symlinks {
		l.put(layer{s.Path: symlink(s.Path, s.Target)}, fmt.Sprintf("initramfs.symlink[%d]", n), nil)
	}
	for n, d := range p.Nodes {
		l.put(layer{d.Path: node(d)}, fmt.Sprintf("initramfs.node[%d]", n), nil)
	}
	return l, nil
}

// put puts what a key of the recipe asks for over what l has. from says which file an
// entry is; it may be nil.
func (l layer) put(over layer, key string, from func(name string) string) {
	for name, i := range over {
		i.key = key
		if from != nil {
			i.from = from(name)
		}
		l[name] = i
	}
}

func node(n recipes.Node) item {
	kind := uint32(newc.Char)
	if n.Type == "block" {
		kind = newc.Block
	}
	return item{entry: newc.Entry{
		Name: n.Path, Mode: kind | n.Mode, UID: n.UID, GID: n.GID,
		RDev: newc.Device{Major: n.Major, Minor: n.Minor},
	}}
}

// addTree adds all of a folder beside the recipe. Owners and modes of a checkout mean
// nothing but the execute bit: everything is root's, and a mode that says more has to be
// declared as an [[initramfs.file]].
func (l layer) addTree(fsys fs.FS) error {
	return fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			l.addDir(name)
			return nil
		case d.Type() == fs.ModeSymlink:
			target, err := fs.ReadLink(fsys, name)
			l[name] = symlink(name, target)
			return err
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is a %s: declare it as an [[initramfs.node]] or remove it", name, d.Type())
		case info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0:
			return fmt.Errorf("%s has mode %v: declare it as an [[initramfs.file]] or drop the bit", name, info.Mode())
		}
		l[name] = item{
			entry: newc.Entry{Name: name, Mode: newc.Regular | pipeline.NormalMode(info.Mode()), Size: info.Size()},
			open:  func() (io.ReadCloser, error) { return fsys.Open(name) },
		}
		return nil
	})
}

// addFile adds a declared file.
func (l layer) addFile(ctx context.Context, job *pipeline.Job, f recipes.File) error {
	e := newc.Entry{Name: f.Path, Mode: newc.Regular | f.Mode, UID: f.UID, GID: f.GID, Size: int64(len(f.Content))}
	if f.From.Path == "" {
		l[f.Path] = item{entry: e, open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(f.Content)), nil
		}}
		return nil
	}
	fsys, name, err := job.One(ctx, f.From)
	if err != nil {
		return err
	}
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return err
	}
	e.Size = info.Size()
	l[f.Path] = item{entry: e, open: func() (io.ReadCloser, error) { return fsys.Open(name) }}
	return nil
}

func (l layer) addDir(name string) {
	l[name] = item{entry: newc.Entry{Name: name, Mode: newc.Dir | 0o755}, weak: true}
}

func symlink(name, target string) item {
	return item{
		entry: newc.Entry{Name: name, Mode: newc.Symlink | 0o777, Size: int64(len(target))},
		open:  func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader([]byte(target))), nil },
	}
}

// addParents adds the folders that the kernel needs before their children, and drops
// those that the base has: they would only overwrite its modes and owners. A symlink of
// the base, such as bin → usr/bin, stands for the folder that it leads to.
func (l layer) addParents(inBase map[string]uint32) error {
	for _, name := range slices.Sorted(maps.Keys(l)) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if above, ok := l[dir]; !ok {
				l.addDir(dir)
			} else if above.entry.Type() != newc.Dir {
				return fmt.Errorf("%s lies below %s, which is no folder", name, dir)
			}
		}
	}
	for name, i := range l {
		switch t, ok := inBase[name]; {
		case !i.weak || !ok:
		case t == newc.Dir || t == newc.Symlink:
			delete(l, name)
		default:
			return fmt.Errorf("%s is a folder here and none in the base", name)
		}
	}
	return nil
}

// write writes l as one archive, sorted, which puts folders before what is in them.
func (l layer) write(w io.Writer, epoch int64) error {
	cw := newc.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(l)) {
		if err := l[name].write(cw, epoch); err != nil {
			return err
		}
	}
	return cw.Close()
}

func (i item) write(w *newc.Writer, epoch int64) error {
	i.entry.Time = uint32(epoch)
	if i.open == nil {
		return w.WriteEntry(i.entry, nil)
	}
	body, err := i.open()
	if err != nil {
		return err
	}
	defer body.Close()
	return w.WriteEntry(i.entry, body)
}
