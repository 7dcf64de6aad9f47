// Package inspect says what is in images and how two of them differ, in the terms of an
// operator: files, the kernel's release, lines of config.txt, nodes of a device tree.
package inspect

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"piimg/pipeline/format/initrd"
	"piimg/store"
)

// Side is one of two images.
type Side struct {
	Name      string        // for people
	Kernel    string        // release; "" where it is not known
	Initramfs string        // path of the initramfs; "" without one
	Limits    initrd.Limits // of it
	List      []store.File
	Files     fs.FS // content of List
}

// Diff is what differs. Its zero value says nothing does.
type Diff struct {
	Kernel  *Change       `json:"kernel,omitempty"` // the release
	Files   []FileChange  `json:"files"`            // sorted by path
	Texts   []TextChange  `json:"texts"`            // of changed text files
	Trees   []TreeChange  `json:"trees"`            // of changed device trees
	Entries []EntryChange `json:"entries"`          // of the initramfs, where both sides have one
	Damage  []string      `json:"damage,omitempty"` // of either initramfs: what stands behind it is not compared
	Fetch   int64         `json:"fetch"`            // bytes of blobs that a front end with the first lacks for the second
	Boot    int64         `json:"boot"`             // bytes of all changed and added files: what is new to a board
}

// Change is a value on both sides.
type Change struct {
	Old string `json:"old"`
	New string `json:"new"`
}

// Kind is how a file differs.
type Kind string

// The kinds of changes.
const (
	Added   Kind = "added"
	Removed Kind = "removed"
	Changed Kind = "changed"
	Mode    Kind = "mode" // and nothing else
)

// FileChange is a file that differs. Old is zero where it was added, New where it was removed.
type FileChange struct {
	Path string     `json:"path"`
	Kind Kind       `json:"kind"`
	Old  store.File `json:"old,omitzero"`
	New  store.File `json:"new,omitzero"`
}

// TextChange is a changed text file as a unified diff.
type TextChange struct {
	Path string `json:"path"`
	Diff string `json:"diff"`
}

// maxText is the size in bytes up to which a .txt file is shown as text.
const maxText = 64 << 10

// Compare says how new differs from old. It reads the files that differ and that it can
// say something about; the error is that of reading them.
func Compare(old, new Side) (*Diff, error) {
	d := &Diff{Texts: []TextChange{}, Trees: []TreeChange{}, Entries: []EntryChange{}}
	if old.Kernel != new.Kernel {
		d.Kernel = &Change{old.Kernel, new.Kernel}
	}
	d.Files = CompareFiles(old.List, new.List)
	d.Fetch = newBytes(old.List, new.List)
	if err := d.compareInitramfs(old, new); err != nil {
		return nil, fmt.Errorf("compare the initramfs: %w", err)
	}
	for _, c := range d.Files {
		if c.Kind == Removed || c.Kind == Mode {
			continue
		}
		d.Boot += c.New.Size
		if err := d.look(c, old, new); err != nil {
			return nil, fmt.Errorf("compare %s: %w", c.Path, err)
		}
	}
	return d, nil
}

// CompareFiles says which files differ, by path. It reads none of them.
func CompareFiles(old, new []store.File) []FileChange {
	changes := []FileChange{}
	was := map[string]store.File{}
	for _, f := range old {
		was[f.Path] = f
	}
	for _, f := range new {
		before, known := was[f.Path]
		delete(was, f.Path)
		switch {
		case !known:
			changes = append(changes, FileChange{f.Path, Added, store.File{}, f})
		case before.Digest != f.Digest:
			changes = append(changes, FileChange{f.Path, Changed, before, f})
		case before.Mode != f.Mode:
			changes = append(changes, FileChange{f.Path, Mode, before, f})
		}
	}
	for _, f := range was {
		changes = append(changes, FileChange{f.Path, Removed, f, store.File{}})
	}
	slices.SortFunc(changes, func(a, b FileChange) int { return cmp.Compare(a.Path, b.Path) })
	return changes
}

// newBytes is the size of the parts of new that old does not have, each once.
func newBytes(old, new []store.File) (n int64) {
	have := map[store.Digest]bool{}
	for _, f := range old {
		for _, p := range f.Parts {
			have[p.Digest] = true
		}
	}
	for _, f := range new {
		for _, p := range f.Parts {
			if !have[p.Digest] {
				have[p.Digest] = true
				n += p.Size
			}
		}
	}
	return n
}

// look looks into a changed file.
func (d *Diff) look(c FileChange, old, new Side) error {
	if c.Kind != Changed {
		return nil
	}
	switch {
	case path.Ext(c.Path) == ".txt" && max(c.Old.Size, c.New.Size) <= maxText:
		a, b, err := both(c.Path, old, new)
		if err != nil {
			return err
		}
		d.Texts = append(d.Texts, TextChange{c.Path, unified(old.Name, a, new.Name, b)})
	case path.Ext(c.Path) == ".dtb" || path.Ext(c.Path) == ".dtbo":
		a, b, err := both(c.Path, old, new)
		if err != nil {
			return err
		}
		if t, ok := compareTrees(c.Path, a, b); ok {
			d.Trees = append(d.Trees, t)
		}
	}
	return nil
}

// compareInitramfs compares the entries, whatever the two files are called: the name goes
// with the compression.
func (d *Diff) compareInitramfs(old, new Side) error {
	if digestOf(old) == digestOf(new) || digestOf(old).IsZero() || digestOf(new).IsZero() {
		return nil
	}
	a, err := d.entries(old)
	if err != nil {
		return err
	}
	b, err := d.entries(new)
	if err != nil {
		return err
	}
	d.Entries = CompareEntries(a, b)
	return nil
}

// digestOf is that of a side's initramfs, zero where it has none.
func digestOf(s Side) store.Digest {
	for _, f := range s.List {
		if f.Path == s.Initramfs {
			return f.Digest
		}
	}
	return store.Digest{}
}

// entries are those of the initramfs of a side, hashed.
func (d *Diff) entries(s Side) ([]Entry, error) {
	e, problems, err := Entries(Source{func() (io.ReadCloser, error) { return s.Files.Open(s.Initramfs) }, s.Limits}, true)
	for _, p := range problems {
		if p.Stop || p.Cut {
			d.Damage = append(d.Damage, s.Name+": "+p.String())
		}
	}
	return e, err
}

func both(name string, old, new Side) (a, b []byte, err error) {
	if a, err = fs.ReadFile(old.Files, name); err != nil {
		return nil, nil, err
	}
	b, err = fs.ReadFile(new.Files, name)
	return a, b, err
}

// unified is a unified diff without the first line, which only names the tool.
func unified(oldName string, old []byte, newName string, new []byte) string {
	text := string(diff.Diff(oldName, old, newName, new))
	_, text, _ = strings.Cut(text, "\n")
	return text
}
