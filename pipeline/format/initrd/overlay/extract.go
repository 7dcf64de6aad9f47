package overlay

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// Extracted counts what [Extract] wrote.
type Extracted struct {
	Files, Folders, Symlinks int
	Bytes                    int64
	Rules                    int      // lines of the meta file
	Left                     []string // sockets, which no overlay can hold
}

// Extract writes the nodes of tree that want picks into root, an empty folder, so that
// [Read] of it gives them back: an ordinary user may do so, since owners, devices, and modes
// that a checkout does not hold, go into [MetaFile]. On disk nobody but the user owns
// anything, what is written can be read by that user, and no file is setuid. Names of one
// file become hard links. bodies is [initrd.Tree.Bodies] of the file that tree was read
// from. Folders above what is picked are made.
func Extract(root *os.Root, tree *initrd.Tree, want func(name string) bool, bodies func(func(initrd.Place, io.Reader) error) error) (Extracted, error) {
	x := &extractor{root: root, names: map[initrd.Place][]string{}, nodes: map[initrd.Place]*initrd.Node{}}
	for n := range tree.All() {
		if n.Path == "." || !want(n.Path) {
			continue
		}
		if n.Path == MetaFile {
			return x.Extracted, &Error{n.Path, "is a file of the initramfs itself", "leave it out, by patterns for the rest"}
		}
		if err := x.node(n); err != nil {
			return x.Extracted, fmt.Errorf("extract %s: %w", n.Path, err)
		}
	}
	if err := bodies(x.body); err != nil {
		return x.Extracted, fmt.Errorf("extract: %w", err)
	}
	return x.Extracted, x.finish()
}

type extractor struct {
	Extracted
	root    *os.Root
	names   map[initrd.Place][]string     // of files, by where their content stands
	nodes   map[initrd.Place]*initrd.Node // one of each
	folders []*initrd.Node
	meta    []string
}

// node makes what needs no content.
func (x *extractor) node(n *initrd.Node) error {
	if err := x.root.MkdirAll(path.Dir(n.Path), 0o755); err != nil {
		return err
	}
	if line := metaLine(n); line != "" {
		x.meta = append(x.meta, line)
	}
	switch n.Type() {
	case newc.Dir:
		x.folders = append(x.folders, n)
		x.Folders++
		return x.root.MkdirAll(n.Path, 0o755)
	case newc.Symlink:
		x.Symlinks++
		return x.root.Symlink(n.Target, n.Path)
	case newc.Regular:
		x.Files++
		x.names[n.Data], x.nodes[n.Data] = append(x.names[n.Data], n.Path), n
	case newc.Socket:
		x.Left = append(x.Left, n.Path)
	}
	return nil
}

// body writes the file whose content stands at p, under all its names.
func (x *extractor) body(p initrd.Place, r io.Reader) error {
	names := x.names[p]
	if len(names) == 0 {
		return nil
	}
	delete(x.names, p)
	if err := x.write(names[0], x.nodes[p], r); err != nil {
		return err
	}
	for _, name := range names[1:] {
		if err := x.root.Link(names[0], name); err != nil {
			return err
		}
	}
	return nil
}

func (x *extractor) write(name string, n *initrd.Node, r io.Reader) error {
	f, err := x.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	written, err := io.Copy(f, r)
	x.Bytes += written
	if err := errors.Join(err, f.Chmod(fs.FileMode(n.Mode&0o777|0o600)), f.Close()); err != nil {
		return err
	}
	when := time.Unix(int64(n.Time), 0)
	return x.root.Chtimes(name, when, when)
}

// finish writes the meta file and sets what making the files has changed of the folders.
func (x *extractor) finish() error {
	for _, names := range x.names {
		return fmt.Errorf("extract %s: its content is gone: the file has changed meanwhile", names[0])
	}
	for _, n := range slices.Backward(x.folders) {
		when := time.Unix(int64(n.Time), 0)
		err := errors.Join(x.root.Chmod(n.Path, fs.FileMode(n.Mode&0o777|0o700)), x.root.Chtimes(n.Path, when, when))
		if err != nil {
			return fmt.Errorf("extract: %w", err)
		}
	}
	x.Rules = len(x.meta)
	if x.Rules == 0 {
		return nil
	}
	text := strings.Join(x.meta, "")
	if len(text) > maxMeta {
		return &Error{MetaFile, fmt.Sprintf("would be larger than the %d MiB that an overlay takes", maxMeta>>20), "extract a part of it, by patterns"}
	}
	return x.root.WriteFile(MetaFile, []byte(text), 0o644)
}

// metaLine is the line of a meta file that n needs, "" where a checkout holds all of it.
func metaLine(n *initrd.Node) string {
	perm := n.Mode & newc.PermMask
	mode, owner, device := "-", "-", ""
	if n.UID != 0 || n.GID != 0 {
		owner = fmt.Sprintf("%d:%d", n.UID, n.GID)
	}
	plain := uint32(0o755)
	switch n.Type() {
	case newc.Symlink:
		plain = perm // which it has none of
	case newc.Regular:
		plain = normal(fs.FileMode(perm))
	case newc.Char:
		device = fmt.Sprintf(" char %d %d", n.RDev.Major, n.RDev.Minor)
	case newc.Block:
		device = fmt.Sprintf(" block %d %d", n.RDev.Major, n.RDev.Minor)
	case newc.FIFO:
		device = " fifo"
	case newc.Socket:
		return ""
	}
	if perm != plain || device != "" {
		mode = fmt.Sprintf("%04o", perm)
	}
	if mode == "-" && owner == "-" {
		return ""
	}
	return fmt.Sprintf("%s %s %s%s\n", escape(n.Path), mode, owner, device)
}
