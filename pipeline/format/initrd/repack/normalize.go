package repack

import (
	"context"
	"errors"
	"fmt"
	"io"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// Scratch is where [Normalize] keeps contents until their turn comes, such as an empty
// file.
type Scratch interface {
	io.Writer
	io.ReaderAt
}

// Normalize writes the root file system that a kernel makes of base, of size bytes, as one
// archive: sorted, with inodes counted from 1, no time but the epoch, no device numbers but
// those of nodes, and no files that a later archive replaces. The same tree gives the same
// bytes, however it was packed. What a kernel would drop or stop at is an error.
//
// It reads base twice, and all contents go through scratch.
func Normalize(ctx context.Context, base io.ReaderAt, size int64, scratch Scratch, w io.Writer, o Options) (Stats, error) {
	tree, err := initrd.ReadTree(io.NewSectionReader(base, 0, size), o.Limits)
	if err != nil {
		return Stats{}, err
	}
	if len(tree.Members) == 0 {
		return Stats{}, errors.New("there is no archive in it")
	}
	if len(tree.Problems) > 0 {
		return Stats{}, fmt.Errorf("a kernel does not unpack all of it: %s", tree.Problems[0])
	}
	n := normalizer{ctx: ctx, tree: tree, at: map[initrd.Place]int64{}, inodes: map[*initrd.Inode]uint32{}, scratch: scratch, epoch: o.Epoch}
	if err := n.spool(io.NewSectionReader(base, 0, size), o.Limits); err != nil {
		return Stats{}, err
	}
	out := &countWriter{w: w}
	z, err := codec.NewWriterLevel(out, o.format(tree.Members[0].Format, false), o.Level)
	if err != nil {
		return Stats{}, err
	}
	if err := n.write(z); err != nil {
		return Stats{}, err
	}
	if err := z.Close(); err != nil {
		return Stats{}, err
	}
	_, err = out.Write(make([]byte, initrd.Padding(out.n)))
	return Stats{Archives: 1, Entries: tree.Entries, Changed: tree.Len(), Plain: n.plain, Written: out.n}, err
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
