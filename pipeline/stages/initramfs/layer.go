package initramfs

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"

	"piimg/pipeline"
	"piimg/pipeline/format/initrd/overlay"
	"piimg/pipeline/format/initrd/repack"
	"piimg/pipeline/format/newc"
	"piimg/recipes"
)

// item is something that goes on top of the base.
type item struct {
	repack.Add
	key  string // of the recipe that asks for it
	from string // the file that it is; "" where the recipe holds it
}

// layer is what goes on top of the base, by path.
type layer map[string]item

// collect gathers the modules, the overlays and then what the recipe declares by itself:
// what comes later wins.
func collect(ctx context.Context, job *pipeline.Job, p params) (layer, error) {
	l := layer{}
	for _, f := range job.Need("modules") {
		l.put("initramfs.modules", "", repack.Add{
			Entry: newc.Entry{Name: f.Path, Mode: newc.Regular | f.Mode, Size: f.Size},
			Open:  func() (io.ReadCloser, error) { return job.Open(ctx, f) },
		})
	}
	for n, dir := range p.Overlays {
		key := fmt.Sprintf("initramfs.overlays[%d]", n)
		if err := l.overlay(job, key, dir, p.declared()); err != nil {
			return nil, job.At(key, err)
		}
	}
	for n, f := range p.Files {
		key := fmt.Sprintf("initramfs.file[%d]", n)
		a, err := file(ctx, job, f)
		if err != nil {
			return nil, job.At(key, err)
		}
		l.put(key, f.From.String(), a)
	}
	for n, d := range p.Dirs {
		l.put(fmt.Sprintf("initramfs.dir[%d]", n), "", repack.Add{
			Entry: newc.Entry{Name: d.Path, Mode: newc.Dir | d.Mode, UID: d.UID, GID: d.GID},
		})
	}
	for n, s := range p.Symlinks {
		l.put(fmt.Sprintf("initramfs.symlink[%d]", n), "", repack.Add{
			Entry: newc.Entry{Name: s.Path, Mode: newc.Symlink | 0o777, Size: int64(len(s.Target))},
			Open:  repack.Text([]byte(s.Target)),
		})
	}
	for n, d := range p.Nodes {
		l.put(fmt.Sprintf("initramfs.node[%d]", n), "", node(d))
	}
	return l, nil
}

// declared is what the recipe itself says of what overlays hold.
func (p params) declared() overlay.Declared {
	return overlay.Declared{Placed: p.declares, Mode: (&recipes.Initramfs{Chmods: p.Chmods}).SetsMode}
}

// declares says whether the recipe itself places something other than a folder at name.
func (p params) declares(name string) bool {
	return slices.ContainsFunc(p.Files, func(f recipes.File) bool { return f.Path == name }) ||
		slices.ContainsFunc(p.Symlinks, func(s recipes.Symlink) bool { return s.Path == name }) ||
		slices.ContainsFunc(p.Nodes, func(n recipes.Node) bool { return n.Path == name })
}

// put puts what a key of the recipe asks for over what l has at its path.
func (l layer) put(key, from string, a repack.Add) { l[a.Entry.Name] = item{a, key, from} }

func (l layer) overlay(job *pipeline.Job, key, dir string, declared overlay.Declared) error {
	fsys, err := job.Local(dir)
	if err != nil {
		return err
	}
	adds, err := overlay.Read(fsys, declared)
	if err != nil {
		return err
	}
	for _, a := range adds {
		if below, ok := l[a.Entry.Name]; ok && a.StaysUnder(below.Add) {
			continue
		}
		l.put(key, path.Join(dir, a.Entry.Name), a)
	}
	return nil
}

// file is a declared file.
func file(ctx context.Context, job *pipeline.Job, f recipes.File) (repack.Add, error) {
	a := repack.Add{Entry: newc.Entry{Name: f.Path, Mode: newc.Regular | f.Mode, UID: f.UID, GID: f.GID}}
	if f.From.Path == "" {
		a.Entry.Size, a.Open = int64(len(f.Content)), repack.Text([]byte(f.Content))
		return a, nil
	}
	fsys, name, err := job.One(ctx, f.From)
	if err != nil {
		return a, err
	}
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return a, err
	}
	a.Entry.Size, a.Open = info.Size(), func() (io.ReadCloser, error) { return fsys.Open(name) }
	return a, nil
}

func node(n recipes.Node) repack.Add {
	kinds := map[string]uint32{"char": newc.Char, "block": newc.Block, "fifo": newc.FIFO}
	return repack.Add{Entry: newc.Entry{
		Name: n.Path, Mode: kinds[n.Type] | n.Mode, UID: n.UID, GID: n.GID,
		RDev: newc.Device{Major: n.Major, Minor: n.Minor},
	}}
}

// adds are the items, sorted, labelled with their keys.
func (l layer) adds() []repack.Add {
	all := make([]repack.Add, 0, len(l))
	for _, name := range slices.Sorted(maps.Keys(l)) {
		a := l[name].Add
		a.Label = l[name].key
		all = append(all, a)
	}
	return all
}
