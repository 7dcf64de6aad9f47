package repack

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"strings"

	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// through gives what is added below symlinks the paths that a kernel would give it, so that
// folders that are missing there are made: it makes nothing of a file whose folder is a
// symlink to nothing, or to what only comes later. The names as they were said go into
// s.said.
func (s *settler) through() error {
	links, err := s.symlinks()
	if err != nil || len(links) == 0 {
		return err
	}
	all := s.edits.Add
	s.edits.Add, s.added = nil, map[string]int{}
	for _, a := range all {
		if err := s.place(links, a); err != nil {
			return err
		}
	}
	return nil
}

// place adds a at the path that its own leads to.
func (s *settler) place(links map[string]string, a Add) error {
	name := a.Entry.Name
	to, err := follow(links, name)
	if err == nil {
		err = checkPath(to)
	}
	if err != nil {
		return &EditError{a.Label, fmt.Errorf("%s: %w", name, err), ""}
	}
	a.Entry.Name = to
	i, taken := s.added[to]
	switch {
	case !taken:
		s.added[to] = len(s.edits.Add)
		s.edits.Add = append(s.edits.Add, a)
	case a.Weak:
		return nil
	case s.edits.Add[i].Weak:
		s.edits.Add[i] = a
	default:
		return wrong(a.Label, "%s is %s, by way of a symlink, and %s adds that: say one of them", name, to, s.edits.Add[i].Label)
	}
	if to != name {
		s.said[to] = name
	}
	return nil
}

// symlinks are those that the result has, with their targets.
func (s *settler) symlinks() (map[string]string, error) {
	links := map[string]string{}
	for n := range s.base.All() {
		if n.Type() != newc.Symlink {
			continue
		}
		name, stays := s.afterwards(n.Path)
		if i, ok := s.added[name]; stays && (!ok || s.edits.Add[i].Weak) {
			links[name] = n.Target
		}
	}
	for _, a := range s.edits.Add {
		if a.Entry.Type() != newc.Symlink || a.Open == nil {
			continue
		}
		target, err := a.target()
		if err != nil {
			return nil, &EditError{a.Label, err, ""}
		}
		links[a.Entry.Name] = target
	}
	return links, nil
}

func (a *Add) target() (string, error) {
	r, err := a.Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, a.Entry.Size))
	return string(b), err
}

const maxLinks = 40 // MAXSYMLINKS of the kernel

// follow is the path that name has once the symlinks above its last element are followed.
// Nothing leads out of the root.
func follow(links map[string]string, name string) (string, error) {
	dir, last := path.Split(name)
	at, rest, followed := ".", strings.Trim(dir, "/"), 0
	for rest != "" {
		var element string
		element, rest, _ = strings.Cut(rest, "/")
		next := initrd.Clean(path.Join(at, element))
		target, ok := links[next]
		if !ok {
			at = next
			continue
		}
		if followed++; followed > maxLinks {
			return "", fmt.Errorf("more than %d symlinks are above it", maxLinks)
		}
		if strings.HasPrefix(target, "/") {
			at = "."
		}
		rest = strings.Trim(target+"/"+rest, "/")
	}
	return path.Join(at, cmp.Or(last, ".")), nil
}
