package repack

import (
	"context"
	"fmt"
	"io"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// Scratch is where [Normalize] keeps what has to wait for its turn, such as an empty file.
type Scratch interface {
	io.Writer
	io.ReaderAt
	io.Closer
}

// Normalize writes the root file system that a kernel makes of base, of size bytes, with
// edits, as one archive: sorted, with inodes counted from 1, no time but the epoch, no
// device numbers but those of nodes, and no files that a later archive replaces. The same
// tree gives the same bytes, however it was packed. What a kernel would drop or stop at is
// an error. [Options.Format] is gzip where it is "".
//
// It asks scratch for two places, and puts all contents into both.
func Normalize(ctx context.Context, base io.ReaderAt, size int64, edits Edits, scratch func() (Scratch, error), w io.Writer, o Options) (Stats, error) {
	edited, err := scratch()
	if err != nil {
		return Stats{}, err
	}
	defer edited.Close()
	bodies, err := scratch()
	if err != nil {
		return Stats{}, err
	}
	defer bodies.Close()
	plain := o
	plain.Format = codec.None
	stats, err := Repack(ctx, base, size, edits, edited, plain)
	if err != nil {
		return stats, err
	}
	if o.Format == "" {
		o.Format = codec.Gzip
	}
	n := normalizer{ctx: ctx, at: map[initrd.Place]int64{}, inodes: map[*initrd.Inode]uint32{}, scratch: bodies, epoch: o.Epoch}
	out := &countWriter{w: w}
	err = n.rewrite(edited, stats.Written, out, o)
	stats.Archives, stats.Written, stats.Reused = 1, out.n, 0
	return stats, err
}

type normalizer struct {
	ctx     context.Context
	tree    *initrd.Tree
	at      map[initrd.Place]int64 // of bodies in scratch
	inodes  map[*initrd.Inode]uint32
	scratch Scratch
	epoch   uint32
	plain   int64
}

func (n *normalizer) rewrite(base io.ReaderAt, size int64, w *countWriter, o Options) (err error) {
	if n.tree, err = initrd.ReadTree(io.NewSectionReader(base, 0, size), o.Limits); err != nil {
		return err
	}
	if len(n.tree.Problems) > 0 {
		return fmt.Errorf("a kernel does not unpack all of it: %s", n.tree.Problems[0])
	}
	if err := n.spool(io.NewSectionReader(base, 0, size), o.Limits); err != nil {
		return err
	}
	return initrd.WritePartLevel(w, o.Format, o.Level, n.write)
}

// spool copies the bodies that count.
func (n *normalizer) spool(r io.Reader, l initrd.Limits) error {
	for f := range n.tree.All() {
		if f.Type() == newc.Regular && f.Size > 0 {
			n.at[f.Data] = -1
		}
	}
	return initrd.WalkLimits(r, l, func(p initrd.Place, e newc.Entry, body io.Reader) error {
		if _, counts := n.at[p]; !counts {
			return n.ctx.Err()
		}
		n.at[p] = n.plain
		m, err := io.Copy(n.scratch, body)
		n.plain += m
		return err
	})
}

func (n *normalizer) write(w io.Writer) error {
	cw := newc.NewWriter(w)
	for f := range n.tree.All() {
		if err := n.ctx.Err(); err != nil {
			return err
		}
		e, body := n.entry(f)
		if err := cw.WriteEntry(e, body); err != nil {
			return err
		}
	}
	return cw.Close()
}

// entry is f as it is written. The first name of an inode brings the content.
func (n *normalizer) entry(f *initrd.Node) (newc.Entry, io.Reader) {
	e := newc.Entry{Name: f.Path, Mode: f.Mode, UID: f.UID, GID: f.GID, Time: n.epoch, RDev: f.RDev}
	ino, known := n.inodes[f.Inode]
	if !known {
		ino = uint32(len(n.inodes) + 1)
		n.inodes[f.Inode] = ino
	}
	if e.Ino = ino; f.Names > 1 {
		e.Links = uint32(f.Names)
	}
	switch {
	case f.Type() == newc.Symlink:
		e.Size = int64(len(f.Target))
		body, _ := Text([]byte(f.Target))()
		return e, body
	case f.Type() == newc.Regular && !known:
		e.Size = int64(f.Size)
		return e, io.NewSectionReader(n.scratch, n.at[f.Data], e.Size)
	}
	return e, nil
}
