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
		return sink.insert(newc.AppendHeader(nil, newc.Entry{Name: newc.Trailer, Links: 1, Ino: initrd.OverlayMark}))
	})
	stats.Archives, stats.Written = 1, out.n
	return stats, err
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// Append writes base, of size bytes, to w with one more archive that has what is added.
// Where base ends with an archive that Append or WriteOverlay put there, the new files go
// into that one, so that the number of archives does not grow with every edit; where
// nothing is added, base is all that is written. tree is that of base, which has to be
// whole.
func Append(ctx context.Context, base io.ReaderAt, size int64, tree *initrd.Tree, adds []Add, w io.Writer, o Options) (Stats, error) {
	if len(adds) == 0 {
		return appendNothing(base, size, tree, w)
	}
	seam, err := FindSeam(base, size, tree, o)
	if err != nil {
		return Stats{}, err
	}
	if _, err := io.Copy(w, io.NewSectionReader(base, 0, seam.At)); err != nil {
		return Stats{}, err
	}
	return seam.Append(ctx, w, adds, o)
}

// appendNothing copies and pads base.
func appendNothing(base io.ReaderAt, size int64, tree *initrd.Tree, w io.Writer) (Stats, error) {
	if err := tree.Damage(); err != nil {
		return Stats{}, err
	}
	n, err := io.Copy(w, io.NewSectionReader(base, 0, size))
	if err != nil {
		return Stats{}, err
	}
	padding := initrd.Padding(size)
	_, err = w.Write(make([]byte, padding))
	return Stats{Archives: len(tree.Members), Written: n + padding, Reused: n}, err
}

// Seam is where what is added to a base begins.
type Seam struct {
	At  int64 // bytes of the base that stay
	Gap int64 // NUL bytes that have to come between

	archives int          // in what stays
	tree     *initrd.Tree // of what stays
	overlay  io.ReaderAt  // the archive that takes in what is added; nil: a new one
	size     int64        // of that
}

// FindSeam finds out where what is added to base, of size bytes, goes: behind it, or into
// its last archive where that is one that was put behind the others. tree is that of base,
// which has to be whole.
func FindSeam(base io.ReaderAt, size int64, tree *initrd.Tree, o Options) (*Seam, error) {
	if err := tree.Damage(); err != nil {
		return nil, err
	}
	last := len(tree.Members) - 1
	if last < 1 || !tree.Members[last].Overlay {
		return &Seam{At: size, Gap: tree.Gap(size), archives: last + 1, tree: tree}, nil
	}
	at := tree.Members[last].Offset
	front, err := o.readTree(base, at)
	if err != nil {
		return nil, err
	}
	return &Seam{At: at, Gap: initrd.Padding(at), archives: last, tree: front, overlay: io.NewSectionReader(base, at, size-at), size: size - at}, nil
}

// Append writes to w, which has the bytes of the base up to the seam, what has to come
// behind them.
func (s *Seam) Append(ctx context.Context, w io.Writer, adds []Add, o Options) (Stats, error) {
	if _, err := w.Write(make([]byte, s.Gap)); err != nil {
		return Stats{}, err
	}
	stats, err := s.Write(ctx, w, adds, o)
	stats.Archives += s.archives
	stats.Written += s.At + s.Gap
	stats.Reused += s.At
	return stats, err
}

// Write writes the archive behind the seam, padded, with what is added and what it has
// already.
func (s *Seam) Write(ctx context.Context, w io.Writer, adds []Add, o Options) (Stats, error) {
	if s.overlay == nil {
		return WriteOverlay(ctx, w, s.tree, adds, o)
	}
	return repackOn(ctx, s.overlay, s.size, Edits{Add: adds}, s.tree, w, o)
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
