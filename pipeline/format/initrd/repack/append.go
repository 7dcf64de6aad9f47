package repack

import (
	"context"
	"io"
	"path"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// WriteOverlay writes what is added as one archive, sorted and padded, for a place behind
// archives that a kernel makes base of. Folders that base has are not repeated. A file
// that takes the place of one of several hard links takes the place of that name alone.
func WriteOverlay(ctx context.Context, w io.Writer, base *initrd.Tree, adds []Add, o Options) (Stats, error) {
	var stats Stats
	p, err := newPlan(Edits{Add: adds}, o.Epoch, &stats)
	if err != nil {
		return stats, err
	}
	if err := p.standOn(base); err != nil {
		return stats, err
	}
	out := &countWriter{w: w}
	err = initrd.WritePartLevel(out, o.format(codec.Gzip, false), o.Level, func(w io.Writer) error {
		sink := encodeSink{nopCloser{w}}
		if err := (&editor{plan: p, sink: sink}).add(ctx); err != nil {
			return err
		}
		return sink.insert(newc.AppendHeader(nil, newc.Entry{Name: newc.Trailer, Links: 1}))
	})
	stats.Archives, stats.Written = 1, out.n
	return stats, err
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// Append writes base, of size bytes, to w with one more archive that has what is added.
// Where base ends with such an archive already, behind another, the new files go into that
// one, so that the number of archives does not grow with every edit; where nothing is
// added, base is all that is written. tree is that of base, which a kernel has to unpack to
// its end.
func Append(ctx context.Context, base io.ReaderAt, size int64, tree *initrd.Tree, adds []Add, w io.Writer, o Options) (Stats, error) {
	err := tree.Stopped()
	if err != nil {
		return Stats{}, err
	}
	all, front := tree.Members, size
	if overlay, ok := lastOverlay(all); ok && len(adds) > 0 {
		front = overlay.Offset
		if tree, err = initrd.ReadTree(io.NewSectionReader(base, 0, front), o.Limits); err != nil {
			return Stats{}, err
		}
	}
	out := &countWriter{w: w}
	if _, err := io.Copy(out, io.NewSectionReader(base, 0, front)); err != nil {
		return Stats{}, err
	}
	if _, err := out.Write(make([]byte, initrd.Padding(out.n))); err != nil {
		return Stats{}, err
	}
	var stats Stats
	switch {
	case len(adds) == 0:
		stats.Archives = len(all)
	case front == size:
		stats, err = WriteOverlay(ctx, out, tree, adds, o)
		stats.Archives += len(all)
	default:
		stats, err = repackOn(ctx, io.NewSectionReader(base, front, size-front), size-front, Edits{Add: adds}, tree, out, o)
		stats.Archives = len(all)
	}
	stats.Written, stats.Reused = out.n, stats.Reused+front
	return stats, err
}

// lastOverlay is the last member if it is not what the others are for: plain archives in
// front, of microcode and the like, do not count.
func lastOverlay(all []initrd.Member) (initrd.Member, bool) {
	behind := 0
	for n, m := range all {
		if m.Format != codec.None || behind > 0 || n == len(all)-1 {
			behind++
		}
	}
	if behind < 2 {
		return initrd.Member{}, false
	}
	return all[len(all)-1], true
}

// shadows says whether a kernel would write a into an inode that other names share, or
// leave the number of a node as it is: it does both where the type stays. An entry of
// another type in between makes it delete the name first (clean_path in init/initramfs.c).
func (p *plan) shadows(a *Add) bool {
	n := p.beneath(a.Entry.Name)
	if n == nil || n.Type() != a.Entry.Type() {
		return false
	}
	return n.Type() == newc.Regular && n.Names > 1 || n.RDev != a.Entry.RDev
}

// standOn makes under what is in front. Files in the place of its folders that are not
// empty are refused: the kernel drops them.
func (p *plan) standOn(under *initrd.Tree) error {
	p.under = under
	if under == nil {
		return nil
	}
	for n := range under.All() {
		dir := path.Dir(n.Path)
		if a := p.adds[dir]; a != nil && a.Entry.Type() != newc.Dir {
			return wrong(a.Label, "takes the place of the folder %s, which has %s in it: remove that first", dir, n.Path)
		}
	}
	return nil
}
