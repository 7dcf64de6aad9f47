package initrd

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/newc"
)

// Tree is what a kernel has in its root file system after it has unpacked all archives.
// It follows init/initramfs.c, and takes some 300 bytes of memory for each entry, besides
// [Limits].Text; contents are not kept.
type Tree struct {
	// Problems are what the kernel drops, stops at or takes otherwise than it looks, in
	// the order of the archives: the first 1000.
	Problems []Problem
	Archives int
	Members  []Member // of each archive, in order
	Entries  int64    // in the archives; without trailers

	nodes  map[string]*Node
	sorted []*Node
}

// Member is what one archive, or several in one compressed stream, stand in.
type Member struct {
	Offset int64 // of its first byte in the file
	Format codec.Format
	// Overlay says that it is one archive, which was put behind the others and takes in
	// what is put there next: its trailer has the inode [OverlayMark].
	Overlay bool

	end      int64 // of the file, behind its last byte; 0 where that is not known
	archives int
}

// OverlayMark is the inode of the trailer of an archive that more is put into, rather than
// behind it. Nothing else that reads archives looks at it: a trailer is told by its name.
const OverlayMark = 0x7069696d

// Gap is the number of NUL bytes that the file, of size bytes, needs behind it so that
// another part can follow.
func (t *Tree) Gap(size int64) int64 {
	if n := len(t.Members); n > 0 {
		if m := t.Members[n-1]; m.Format == codec.LZ4 && (m.end == 0 || size-m.end < Align) {
			return Spacing(size)
		}
	}
	return Padding(size)
}

// Node is one name in a tree.
type Node struct {
	Path   string // without a leading slash; "." is the root itself
	Target string // of a symlink
	*Inode
	Place // the entry that made the name
}

// Inode is what all names of a file share.
type Inode struct {
	Mode  uint32 // type and permission bits
	UID   uint32
	GID   uint32
	Time  uint32 // Unix seconds
	Size  uint32 // bytes
	Names int32  // hard links in the tree; 1 for a folder
	RDev  newc.Device
	Data  Place // the entry with the content
}

// Type is the type bits of the mode.
func (i *Inode) Type() uint32 { return i.Mode & newc.TypeMask }

// ReadTree reads all archives of r. Damage is no error but a [Problem], the last one, and
// the tree is what the kernel has got by then. Errors are those of r, and those that wrap
// [newc.ErrLimit].
func ReadTree(r io.Reader, l Limits) (*Tree, error) {
	t := &Tree{nodes: map[string]*Node{}}
	b := builder{Tree: t, limits: l.OrDefault(), links: map[link]string{}, kids: map[string]int32{}}
	src := &source{r: r}
	w := newWalker(src, l, b.add)
	w.began = func(m Member) { t.Members = append(t.Members, m) }
	w.ended = b.end
	w.closed = func(end int64) { t.Members[len(t.Members)-1].end = end }
	err := w.walkOver(func() {
		b.problem(Problem{Place: w.at, Text: "the archive has no trailer: it may have been cut off", Cut: true})
	})
	switch {
	case src.err != nil:
		return nil, src.err
	case errors.Is(err, newc.ErrLimit):
		return nil, err
	case err != nil:
		b.stop(w.at, err)
	}
	t.Archives, t.Entries = w.archive-1, w.entries
	t.sort()
	return t, nil
}

// source remembers an error of the input itself.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// Bodies visits the bodies of all entries that the tree was read from, in order; r is the
// same file once more, from its start. Damage behind the last of them, and in its body,
// which a kernel has as far as it goes, is no error here: the tree has it as a problem.
func (t *Tree) Bodies(r io.Reader, l Limits, visit func(Place, io.Reader) error) error {
	left := t.Entries
	var failed error // of the last visit, and not the body's own
	w := newWalker(r, l, func(p Place, _ newc.Entry, body io.Reader) error {
		if left == 0 {
			return errSeen
		}
		left--
		b := &source{r: body}
		if failed = visit(p, b); b.err != nil {
			failed = nil
			return b.err
		}
		return failed
	})
	err := w.walkOver(func() {})
	if left == 0 && failed == nil {
		return nil
	}
	return err
}

var errSeen = errors.New("all entries that count have been seen")

// Lookup finds the node of a path, which has no symlinks above its last element, and nil
// where there is none.
func (t *Tree) Lookup(name string) *Node { return t.nodes[Clean(name)] }

// Len is the number of nodes.
func (t *Tree) Len() int { return len(t.sorted) }

// All yields the nodes, sorted by path: folders before what is in them.
func (t *Tree) All() iter.Seq[*Node] { return slices.Values(t.sorted) }

func (t *Tree) sort() {
	t.sorted = make([]*Node, 0, len(t.nodes))
	for _, n := range t.nodes {
		t.sorted = append(t.sorted, n)
	}
	slices.SortFunc(t.sorted, func(a, b *Node) int { return cmp.Compare(a.Path, b.Path) })
}

// Clean is a path as a tree has it: the kernel unpacks in the root, which nothing leads
// out of.
func Clean(name string) string {
	if p := path.Clean("/" + name)[1:]; p != "" {
		return p
	}
	return "."
}

// link tells inodes apart within one archive.
type link struct {
	ino  uint32
	dev  newc.Device
	kind uint32
}

// builder adds entries to a tree.
type builder struct {
	*Tree
	limits Limits
	links  map[link]string  // the first name of each, as find_link
	kids   map[string]int32 // of folders
	text   int64            // bytes of names and targets that were ever kept
	steps  int64            // what it took to follow symlinks
}

// maxSteps bounds the time that symlinks can cost: about a second. A real root file system
// needs a hundredth of it.
const (
	maxSteps = 1 << 28
	stepCost = 32 // of one element, besides its path
)

// add is one entry, as do_name and do_symlink treat it.
func (b *builder) add(p Place, e newc.Entry, body io.Reader) error {
	if slices.Contains(strings.Split(e.Name, "/"), "..") {
		b.less(p, e, "the name leads upwards")
	} else if strings.HasPrefix(e.Name, "/") {
		b.less(p, e, "the name is absolute")
	}
	target, err := target(e, body)
	if err == nil {
		err = b.put(p, e, target)
	}
	for _, dropped := range []error{errParent, errNotEmpty, errType, errBody, errTarget, errLink, errSelf, errLoop, errDot, errSlash, errName} {
		if errors.Is(err, dropped) {
			b.less(p, e, err.Error())
			return nil
		}
	}
	return err
}

// end is the trailer of an archive: the kernel forgets hard links.
func (b *builder) end(e newc.Entry) {
	clear(b.links)
	m := &b.Members[len(b.Members)-1]
	m.archives++
	m.Overlay = m.archives == 1 && e.Ino == OverlayMark
}

func target(e newc.Entry, body io.Reader) (string, error) {
	if e.Type() != newc.Symlink {
		return "", nil
	}
	if e.Size > 4096 {
		return "", errTarget
	}
	text, err := io.ReadAll(body)
	s, _, _ := strings.Cut(string(text), "\x00")
	return s, err
}

// checkEnd refuses the ends of a name that the kernel makes nothing of; name is the path.
func (b *builder) checkEnd(e newc.Entry, name string) error {
	bare := strings.TrimRight(e.Name, "/")
	last := bare[strings.LastIndexByte(bare, '/')+1:]
	switch {
	case len(path.Base(name)) > newc.MaxElement:
		return errName
	case (last == "." || last == "..") && (e.Type() != newc.Dir || !b.isDir(name)):
		return errDot
	case len(bare) < len(e.Name) && (e.Type() != newc.Dir || b.nodes[name] != nil && !b.isDir(name)):
		return errSlash
	}
	return nil
}

func (b *builder) put(p Place, e newc.Entry, target string) error {
	name, steps, err := b.resolve(e.Name)
	if b.steps += steps; b.steps > maxSteps {
		return fmt.Errorf("symlinks that take too long to follow: %w", newc.ErrLimit)
	}
	if err != nil {
		return err
	}
	if err := b.checkEnd(e, name); err != nil {
		return err
	}
	if b.text += int64(len(name) + len(target)); b.text > b.limits.Text {
		return fmt.Errorf("names and targets of more than %d bytes: %w", b.limits.Text, newc.ErrLimit)
	}
	if !e.HasBody() && e.Size != 0 {
		return errBody
	}
	switch e.Type() {
	case newc.Regular:
		return b.putFile(p, e, name)
	case newc.Dir:
		return b.putOther(p, e, name)
	case newc.Symlink:
		if err := b.remove(name); err != nil {
			return err
		}
		n := b.create(p, e, name)
		n.Target, n.Size = target, uint32(len(target))
		return nil
	case newc.Block, newc.Char, newc.FIFO, newc.Socket:
		if linked, err := b.link(e, name); linked || err != nil {
			return err
		}
		return b.putOther(p, e, name)
	}
	return errType
}

// putFile writes into an inode that is there, which may have other names, or a new one.
func (b *builder) putFile(p Place, e newc.Entry, name string) error {
	if err := b.clean(name, e.Type()); err != nil {
		return err
	}
	linked, err := b.link(e, name)
	if err != nil {
		return err
	}
	n := b.nodes[name]
	if n == nil {
		n = b.create(p, e, name)
	}
	n.Place = p
	n.set(e)
	if e.Size > 0 || !linked {
		n.Size, n.Data = uint32(e.Size), p
	}
	return nil
}

// putOther makes a folder or node; what is there with the same type stays and only gets
// the new owner and mode.
func (b *builder) putOther(p Place, e newc.Entry, name string) error {
	if err := b.clean(name, e.Type()); err != nil {
		return err
	}
	n := b.nodes[name]
	if n == nil {
		n = b.create(p, e, name)
	}
	if n.RDev != e.RDev && e.Type() != newc.Dir {
		b.less(p, e, "a node of this type is there, and the kernel leaves its number as it is")
	}
	n.Place = p
	n.set(e)
	return nil
}

func (i *Inode) set(e newc.Entry) { i.Mode, i.UID, i.GID, i.Time = e.Mode, e.UID, e.GID, e.Time }

// link is maybe_link: from the second name of an inode on, name becomes a hard link.
func (b *builder) link(e newc.Entry, name string) (bool, error) {
	if e.Links < 2 {
		return false, nil
	}
	key := link{e.Ino, e.Dev, e.Type()}
	first, seen := b.links[key]
	if !seen {
		b.links[key] = name
		return false, nil
	}
	if err := b.remove(name); err != nil {
		return false, err
	}
	old := b.nodes[first]
	switch {
	case first == name:
		return false, errSelf
	case old == nil || old.Type() == newc.Dir:
		return false, errLink
	}
	old.Names++
	b.insert(&Node{Path: name, Target: old.Target, Inode: old.Inode})
	return true, nil
}

// clean removes what has another type, as clean_path.
func (b *builder) clean(name string, kind uint32) error {
	if n := b.nodes[name]; n != nil && n.Type() != kind {
		return b.remove(name)
	}
	return nil
}

func (b *builder) remove(name string) error {
	n := b.nodes[name]
	switch {
	case n == nil:
		return nil
	case name == "." || b.kids[name] > 0:
		return errNotEmpty
	}
	n.Names--
	delete(b.nodes, name)
	b.kids[path.Dir(name)]--
	return nil
}

func (b *builder) create(p Place, e newc.Entry, name string) *Node {
	n := &Node{Path: name, Place: p, Inode: &Inode{Names: 1, RDev: e.RDev, Data: p}}
	n.set(e)
	b.insert(n)
	return n
}

func (b *builder) insert(n *Node) {
	b.nodes[n.Path] = n
	if n.Path == "." {
		return
	}
	b.kids[path.Dir(n.Path)]++
}
