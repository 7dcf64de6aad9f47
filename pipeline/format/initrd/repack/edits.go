package repack

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"strings"

	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// Edits are what is to change. Every one carries a label, the place of the rule that asked
// for it, which its errors begin with. Paths have no leading slash; globs are those of
// [initrd.Match].
//
// Remove and Rename look at the names in the base, Chmod and Chown at the names after
// renaming. What is added keeps its own mode and owner.
type Edits struct {
	Add    []Add
	Remove []Remove
	Rename []Rename
	Chmod  []Chmod
	Chown  []Chown
}

// Add puts a file into the tree, in the place of what has its path. A folder that is there
// stays with all that is in it and gets the mode and owner of the new one. Folders above
// that are missing are made with mode 0755.
type Add struct {
	Label string
	Entry newc.Entry // Ino, Links, Dev and Time mean nothing
	// Open opens the body, of Entry.Size bytes: a file's content, a symlink's target. It
	// may be nil where there is none.
	Open func() (io.ReadCloser, error)
	// Weak folders only stand for what is in them: a folder that is there, or a symlink
	// to one, stays as it is.
	Weak bool
}

// StaysUnder says whether below, which was put at the same path before, stays: a folder
// that only stands for what is in it has nothing to say of another, or of a symlink to one.
func (a *Add) StaysUnder(below Add) bool {
	return a.Weak && (below.Entry.Type() == newc.Dir || below.Entry.Type() == newc.Symlink)
}

// Text is an Add.Open of bytes in memory.
func Text(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

// Remove removes what matches a glob, folders with all that is in them.
type Remove struct{ Label, Glob string }

// Rename gives a file another path, or a folder with all that is in it. Nothing may be
// there yet.
type Rename struct{ Label, From, To string }

// Chmod sets the permission bits, setuid, setgid and sticky included, of what matches a
// glob and is no symlink.
type Chmod struct {
	Label, Glob string
	Mode        uint32
}

// Chown sets the owner of what matches a glob; -1 leaves it as it is.
type Chown struct {
	Label, Glob string
	UID, GID    int64
}

// check refuses edits that mean nothing, before anything is written.
func (e Edits) check() error {
	for _, r := range e.Remove {
		if err := initrd.CheckGlob(r.Glob); err != nil {
			return &EditError{r.Label, err, ""}
		}
	}
	for _, r := range e.Rename {
		if err := checkRename(r); err != nil {
			return &EditError{r.Label, err, ""}
		}
	}
	for _, c := range e.Chmod {
		if err := initrd.CheckGlob(c.Glob); err != nil {
			return &EditError{c.Label, err, ""}
		}
		if c.Mode&^newc.PermMask != 0 {
			return wrong(c.Label, "mode %o has more than permission bits", c.Mode)
		}
	}
	for _, c := range e.Chown {
		if err := initrd.CheckGlob(c.Glob); err != nil {
			return &EditError{c.Label, err, ""}
		}
		if min(c.UID, c.GID) < -1 || max(c.UID, c.GID) > 1<<32-1 {
			return wrong(c.Label, "owner %d:%d does not fit into 32 bits", c.UID, c.GID)
		}
	}
	return e.checkAdds()
}

func (e Edits) checkAdds() error {
	labels := map[string]string{}
	for _, a := range e.Add {
		if err := checkPath(a.Entry.Name); err != nil {
			return &EditError{a.Label, err, ""}
		}
		if first, ok := labels[a.Entry.Name]; ok {
			return wrong(a.Label, "%s is added by %s already", a.Entry.Name, first)
		}
		labels[a.Entry.Name] = a.Label
		switch {
		case a.Entry.Size < 0 || a.Entry.Size > 1<<32-1:
			return wrong(a.Label, "%s: size %d does not fit into 32 bits", a.Entry.Name, a.Entry.Size)
		case a.Entry.Size > 0 && (!a.Entry.HasBody() || a.Open == nil):
			return wrong(a.Label, "%s: %d bytes without a body", a.Entry.Name, a.Entry.Size)
		}
	}
	return nil
}

func checkRename(r Rename) error {
	if err := checkPath(r.From); err != nil {
		return err
	}
	if err := checkPath(r.To); err != nil {
		return err
	}
	if below(r.To, r.From) {
		return fmt.Errorf("%s lies below %s", r.To, r.From)
	}
	return nil
}

// checkPath refuses what is no path of a tree's file.
func checkPath(name string) error {
	switch {
	case name == "" || name == "." || name != path.Clean(name) || strings.HasPrefix(name, "/") || strings.HasPrefix(name, "../") || name == "..":
		return fmt.Errorf("path %q has to be relative and clean", name)
	case len(name) > 4095:
		return fmt.Errorf("path %.40q… of %d bytes, the kernel takes 4095", name, len(name))
	case newc.LongElement(name) != "":
		e := newc.LongElement(name)
		return fmt.Errorf("path %.40q… has the element %.40q… of %d bytes, the kernel takes %d", name, e, len(e), newc.MaxElement)
	case strings.ContainsRune(name, 0) || name == newc.Trailer:
		return fmt.Errorf("path %q cannot stand in an archive", name)
	}
	return nil
}

// below says whether name is dir or in it.
func below(name, dir string) bool {
	return name == dir || strings.HasPrefix(name, dir) && name[len(dir)] == '/'
}

// EditError is an error about one of the edits.
type EditError struct {
	Label string
	Err   error
	Help  string // what to do about it; may be empty
}

func (e *EditError) Error() string { return e.Label + ": " + e.Err.Error() }
func (e *EditError) Unwrap() error { return e.Err }

// Hint says what to do, in one line; it may be empty.
func (e *EditError) Hint() string { return e.Help }

func wrong(label, format string, args ...any) error {
	return &EditError{label, fmt.Errorf(format, args...), ""}
}

func unmet(label, format string, args ...any) error {
	return &EditError{label, fmt.Errorf(format, args...), "piimg initramfs ls lists what is in an archive; paths have no leading slash"}
}
