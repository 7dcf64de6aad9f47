package repack

import (
	"slices"
	"strings"

	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// Settled are edits of a certain base, ready to be made. Only Add is left of them where
// [Append] or [WriteOverlay] can make them.
type Settled struct {
	Edits
	// Rewrites is the label of the first edit that changes something of the base that no
	// archive behind it can, and "" where there is none.
	Rewrites string
	Needs    string // what that edit changes
	// Said are the paths that additions were asked for with, by those that they get
	// because symlinks are above them. Others are not in it.
	Said map[string]string
}

// Settle applies Chmod and Chown to what is added, as to what is there, and finds out which
// edits need the base to be written anew. Modes and owners of folders do not: a kernel
// takes those of the last entry. What is added below a symlink, of the base or added too,
// gets the path that this leads to. Edits that match nothing are errors.
func (e Edits) Settle(base *initrd.Tree) (Settled, error) {
	if err := e.check(); err != nil {
		return Settled{}, err
	}
	s := &settler{edits: e, base: base, added: map[string]int{}, said: map[string]string{}}
	e.Add = slices.Clone(e.Add)
	s.edits.Add = e.Add
	for n, a := range e.Add {
		s.added[a.Entry.Name] = n
	}
	if err := s.through(); err != nil {
		return Settled{}, err
	}
	rules := s.rules()
	for _, r := range rules {
		if s.match(r); len(r.added) == 0 && len(r.folders) == 0 && r.other == "" {
			return Settled{}, unmet(r.label, "%s %q matches nothing, neither in the base nor in what is added", r.kind, r.glob)
		}
	}
	label, needs := s.rewrites(rules)
	if label == "" {
		s.liftFolders(rules)
	}
	for _, r := range rules {
		for _, n := range r.added {
			r.apply(&s.edits.Add[n].Entry)
		}
	}
	out := Settled{Edits: Edits{Add: s.edits.Add, Remove: e.Remove, Rename: e.Rename}, Rewrites: label, Needs: needs, Said: s.said}
	if label == "" {
		return out, nil
	}
	for _, r := range rules {
		if len(r.folders) > 0 || r.other != "" {
			r.keep(&out.Edits)
		}
	}
	return out, nil
}

type settler struct {
	edits Edits
	base  *initrd.Tree
	added map[string]int    // path → index in edits.Add
	said  map[string]string // path → as it was said
}

// rule is a chmod or chown, and what it matches.
type rule struct {
	kind, label, glob string
	links             bool              // symlinks too
	apply             func(*newc.Entry) // to what it matches
	keep              func(*Edits)
	added             []int          // indices of edits.Add
	folders           []*initrd.Node // of the base
	other             string         // a path of the base that is no folder
}

func (s *settler) rules() []*rule {
	var all []*rule
	for _, c := range s.edits.Chmod {
		all = append(all, &rule{kind: "chmod", label: c.Label, glob: c.Glob,
			apply: func(e *newc.Entry) { e.Mode = e.Type() | c.Mode },
			keep:  func(e *Edits) { e.Chmod = append(e.Chmod, c) },
		})
	}
	for _, c := range s.edits.Chown {
		m := &members{}
		m.own(c)
		all = append(all, &rule{kind: "chown", label: c.Label, glob: c.Glob, links: true,
			apply: func(e *newc.Entry) { m.apply(e) },
			keep:  func(e *Edits) { e.Chown = append(e.Chown, c) },
		})
	}
	return all
}

func (s *settler) match(r *rule) {
	for n, a := range s.edits.Add {
		said := s.said[a.Entry.Name]
		if (initrd.Match(r.glob, a.Entry.Name) || said != "" && initrd.Match(r.glob, said)) && (r.links || a.Entry.Type() != newc.Symlink) {
			r.added = append(r.added, n)
		}
	}
	for n := range s.base.All() {
		name, stays := s.afterwards(n.Path)
		if i, ok := s.added[name]; !stays || ok && !s.edits.Add[i].Weak {
			continue // it goes, or something else takes its place
		}
		switch {
		case !initrd.Match(r.glob, name) || !r.links && n.Type() == newc.Symlink:
		case n.Type() == newc.Dir:
			r.folders = append(r.folders, n)
		case r.other == "":
			r.other = name
		}
	}
}

// afterwards is the name that a file of the base has in the end, and whether it stays.
func (s *settler) afterwards(name string) (string, bool) {
	for _, r := range s.edits.Remove {
		if matchesOrAbove(r.Glob, name) {
			return "", false
		}
	}
	for _, r := range s.edits.Rename {
		if below(name, r.From) {
			return r.To + name[len(r.From):], true
		}
	}
	return name, true
}

// matchesOrAbove says whether a glob stands for name or a folder above it.
func matchesOrAbove(glob, name string) bool {
	for at := name; ; {
		if initrd.Match(glob, at) {
			return true
		}
		i := strings.LastIndexByte(at, '/')
		if i < 0 {
			return false
		}
		at = at[:i]
	}
}

// rewrites is the first edit that no archive behind the base can make, and what it changes.
func (s *settler) rewrites(rules []*rule) (label, what string) {
	for _, r := range s.edits.Remove {
		return r.Label, r.Glob
	}
	for _, r := range s.edits.Rename {
		return r.Label, r.From
	}
	for _, r := range rules {
		if r.other != "" {
			return r.label, r.other
		}
	}
	return "", ""
}

// liftFolders adds the folders of the base that rules match, as they are there.
func (s *settler) liftFolders(rules []*rule) {
	for _, r := range rules {
		for _, n := range r.folders {
			a := Add{Label: r.label, Entry: newc.Entry{Name: n.Path, Mode: n.Mode, UID: n.UID, GID: n.GID}}
			i, ok := s.added[n.Path]
			switch {
			case !ok:
				s.added[n.Path] = len(s.edits.Add)
				s.edits.Add = append(s.edits.Add, a)
			case s.edits.Add[i].Weak:
				s.edits.Add[i] = a
			}
		}
	}
	for _, r := range rules { // more is added now
		r.added = nil
		s.match(r)
	}
}
