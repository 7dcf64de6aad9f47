package inspect

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
	"piimg/store"
)

// Source is an initramfs.
type Source struct {
	Open   func() (io.ReadCloser, error) // from its start; called more than once
	Limits initrd.Limits                 // of what it may ask for
}

// Entry is a name in the root file system that a kernel makes of an initramfs.
type Entry struct {
	Path    string       `json:"path"`
	Type    string       `json:"type"` // as ls has it: - d l c b p s
	Mode    string       `json:"mode"` // octal permission bits
	UID     uint32       `json:"uid"`
	GID     uint32       `json:"gid"`
	Size    uint32       `json:"size"`
	Target  string       `json:"target,omitempty"` // of a symlink
	Device  string       `json:"device,omitempty"` // "major,minor" of a node
	Archive int          `json:"archive"`          // that the name comes from, from 1
	Digest  store.Digest `json:"digest,omitzero"`  // of the content, where Hash was asked for
}

// Line is e as ls -l would have it.
func (e Entry) Line() string {
	size := fmt.Sprint(e.Size)
	if e.Device != "" {
		size = e.Device
	}
	name := e.Path
	if e.Target != "" {
		name += " -> " + e.Target
	}
	return fmt.Sprintf("%s%s %5d:%-5d %9s %d %s", e.Type, e.Mode, e.UID, e.GID, size, e.Archive, name)
}

// types are the letters of file types.
var types = map[uint32]string{
	newc.Regular: "-", newc.Dir: "d", newc.Symlink: "l", newc.Char: "c", newc.Block: "b", newc.FIFO: "p", newc.Socket: "s",
}

// Entries are the names of an initramfs, sorted, and what a kernel would not unpack. With
// hash set, files have the digest of their content. What a kernel would unpack nothing of
// is an error.
func Entries(src Source, hash bool) ([]Entry, []initrd.Problem, error) {
	tree, err := readTree(src)
	if err != nil {
		return nil, nil, err
	}
	if stopped := tree.Stopped(); stopped != nil && tree.Len() == 0 {
		return nil, nil, fmt.Errorf("this is no initramfs: %w", stopped)
	}
	sums := map[initrd.Place]store.Digest{}
	if hash {
		if sums, err = hashBodies(src, tree); err != nil {
			return nil, nil, err
		}
	}
	entries := make([]Entry, 0, tree.Len())
	for n := range tree.All() {
		entries = append(entries, entryOf(n, sums))
	}
	return entries, tree.Problems, nil
}

func entryOf(n *initrd.Node, sums map[initrd.Place]store.Digest) Entry {
	e := Entry{
		Path: n.Path, Type: types[n.Type()], Mode: fmt.Sprintf("%04o", n.Mode&newc.PermMask), UID: n.UID, GID: n.GID,
		Size: n.Size, Target: n.Target, Archive: n.Place.Archive,
	}
	switch n.Type() {
	case newc.Char, newc.Block:
		e.Device = fmt.Sprintf("%d,%d", n.RDev.Major, n.RDev.Minor)
	case newc.Regular:
		e.Digest = sums[n.Data]
	}
	return e
}

func readTree(src Source) (*initrd.Tree, error) {
	r, err := src.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return initrd.ReadTree(r, src.Limits)
}

// hashBodies hashes the bodies that count in tree.
func hashBodies(src Source, tree *initrd.Tree) (map[initrd.Place]store.Digest, error) {
	sums := map[initrd.Place]store.Digest{}
	for n := range tree.All() {
		if n.Type() == newc.Regular {
			sums[n.Data] = store.Digest{}
		}
	}
	err := bodies(src, tree, func(p initrd.Place, body io.Reader) error {
		if _, counts := sums[p]; !counts {
			return nil
		}
		d, _, err := store.SumReader(body)
		sums[p] = d
		return err
	})
	return sums, err
}

// bodies visits the bodies of all entries up to where a kernel would stop.
func bodies(src Source, tree *initrd.Tree, visit func(initrd.Place, io.Reader) error) error {
	r, err := src.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	return tree.Bodies(r, src.Limits, visit)
}

// find is the node of name, below symlinks if need be.
func find(tree *initrd.Tree, name string) *initrd.Node {
	at, err := tree.Resolve(name)
	if err != nil {
		return nil
	}
	return tree.Lookup(at)
}

// Find is the entry of name, hashed, below symlinks if need be; false where there is none.
func Find(src Source, name string) (Entry, bool, error) {
	tree, err := readTree(src)
	if err != nil {
		return Entry{}, false, err
	}
	n := find(tree, name)
	if n == nil {
		return Entry{}, false, nil
	}
	sums, err := hashBodies(src, tree)
	return entryOf(n, sums), true, err
}

// Cat writes the content of the file name, and says what a kernel would not unpack. Symlinks
// above it are followed, and it is none. A file that damage cuts short is an error, after
// what there is of it.
func Cat(src Source, name string, w io.Writer) ([]initrd.Problem, error) {
	tree, err := readTree(src)
	if err != nil {
		return nil, err
	}
	n := find(tree, name)
	switch {
	case n == nil && tree.Stopped() != nil:
		return nil, fmt.Errorf("the initramfs has no %s before it is damaged: %w", name, tree.Stopped())
	case n == nil:
		return nil, fmt.Errorf("the initramfs has no %s", name)
	case n.Type() == newc.Symlink:
		return nil, fmt.Errorf("%s is a symlink to %s", name, n.Target)
	case n.Type() != newc.Regular:
		return nil, fmt.Errorf("%s is no file", name)
	}
	var have int64
	err = bodies(src, tree, func(p initrd.Place, body io.Reader) error {
		if p != n.Data {
			return nil
		}
		have, err = io.Copy(w, body)
		return err
	})
	if stopped := tree.Stopped(); err == nil && stopped != nil && have < int64(n.Size) {
		return nil, fmt.Errorf("%s is cut off after %d of its %d bytes: %w", name, have, n.Size, stopped)
	}
	return tree.Problems, err
}

// EntryChange is an entry that differs.
type EntryChange struct {
	Path string `json:"path"`
	Kind Kind   `json:"kind"`
	What string `json:"what,omitempty"` // of a changed one: "content", "mode 0644 → 0755", …
	Old  *Entry `json:"old,omitempty"`
	New  *Entry `json:"new,omitempty"`
}

// CompareEntries says how new differs from old; both are hashed and sorted. Where an
// entry comes from makes no difference.
func CompareEntries(old, new []Entry) []EntryChange {
	changes := []EntryChange{}
	was := map[string]*Entry{}
	for n := range old {
		was[old[n].Path] = &old[n]
	}
	for n := range new {
		e := &new[n]
		before, known := was[e.Path]
		delete(was, e.Path)
		if !known {
			changes = append(changes, EntryChange{e.Path, Added, "", nil, e})
		} else if what := differences(*before, *e); what != "" {
			changes = append(changes, EntryChange{e.Path, Changed, what, before, e})
		}
	}
	for _, e := range was {
		changes = append(changes, EntryChange{e.Path, Removed, "", e, nil})
	}
	slices.SortFunc(changes, func(a, b EntryChange) int { return cmp.Compare(a.Path, b.Path) })
	return changes
}

// differences says in words how two entries of one path differ.
func differences(a, b Entry) string {
	var all []string
	add := func(what string, old, new any) {
		if old != new {
			all = append(all, fmt.Sprintf("%s %v → %v", what, old, new))
		}
	}
	add("type", a.Type, b.Type)
	add("mode", a.Mode, b.Mode)
	add("owner", fmt.Sprintf("%d:%d", a.UID, a.GID), fmt.Sprintf("%d:%d", b.UID, b.GID))
	add("target", a.Target, b.Target)
	add("device", a.Device, b.Device)
	if a.Digest != b.Digest {
		all = append(all, fmt.Sprintf("content (%d → %d bytes)", a.Size, b.Size))
	}
	return strings.Join(all, ", ")
}
