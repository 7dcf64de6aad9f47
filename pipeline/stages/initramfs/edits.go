package initramfs

import (
	"fmt"
	"strings"

	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/initrd/repack"
	"piimg/pipeline/format/newc"
	"piimg/recipes"
)

// rule is a chmod or chown, and what it matches.
type rule struct {
	key      string
	glob     string
	links    bool                // symlinks too
	apply    func(e *newc.Entry) // to what it matches
	edit     func(*repack.Edits) // asks for it
	top      []string            // paths of the layer
	folders  []*initrd.Node      // of the base
	rewrites string              // a path of the base that is no folder
}

// edits are what is to become of the base, nil where an archive behind it does all. What
// is to become of the layer is done.
func (s *surgery) edits() (*repack.Edits, error) {
	rules := s.rules()
	rewrites := s.Rewrites
	for _, r := range rules {
		s.match(r)
		switch {
		case len(r.top) == 0 && len(r.folders) == 0 && r.rewrites == "":
			return nil, s.job.At(r.key, fmt.Errorf("%s matches nothing, neither in the base nor in what is added", r.glob))
		case r.rewrites != "" && s.Mode == "append":
			return nil, s.job.At(r.key, fmt.Errorf(`changes %s of the base, which an archive behind it cannot, and mode is "append": take mode out`, r.rewrites))
		}
		rewrites = rewrites || r.rewrites != ""
	}
	if !rewrites {
		s.liftFolders(rules)
	}
	for _, r := range rules {
		for _, name := range r.top {
			i := s.top[name]
			r.apply(&i.Entry)
			s.top[name] = i
		}
	}
	if !rewrites {
		return nil, nil
	}
	return s.rewrite(rules), nil
}

func (s *surgery) rules() []*rule {
	var all []*rule
	for n, c := range s.Chmods {
		key := fmt.Sprintf("initramfs.chmod[%d]", n)
		all = append(all, &rule{key: key, glob: c.Glob, apply: chmod(c), edit: func(e *repack.Edits) {
			e.Chmod = append(e.Chmod, repack.Chmod{Label: key, Glob: c.Glob, Mode: c.Mode})
		}})
	}
	for n, c := range s.Chowns {
		key := fmt.Sprintf("initramfs.chown[%d]", n)
		all = append(all, &rule{key: key, glob: c.Glob, links: true, apply: chown(c), edit: func(e *repack.Edits) {
			e.Chown = append(e.Chown, repack.Chown{Label: key, Glob: c.Glob, UID: int64(c.UID), GID: int64(c.GID)})
		}})
	}
	return all
}

func chmod(c recipes.Chmod) func(*newc.Entry) {
	return func(e *newc.Entry) { e.Mode = e.Type() | c.Mode }
}

func chown(c recipes.Chown) func(*newc.Entry) {
	return func(e *newc.Entry) { e.UID, e.GID = c.UID, c.GID }
}

// match finds what r matches.
func (s *surgery) match(r *rule) {
	for name, i := range s.top {
		if initrd.Match(r.glob, name) && (r.links || i.Entry.Type() != newc.Symlink) {
			r.top = append(r.top, name)
		}
	}
	for n := range s.tree.All() {
		name, stays := s.afterwards(n.Path)
		if i, ok := s.top[name]; !stays || ok && !i.Weak {
			continue // it goes, or the layer has its own
		}
		switch {
		case !initrd.Match(r.glob, name) || !r.links && n.Type() == newc.Symlink:
		case n.Type() == newc.Dir:
			r.folders = append(r.folders, n)
		case r.rewrites == "":
			r.rewrites = name
		}
	}
}

// afterwards is the name that a file of the base has in the end, and whether it stays.
func (s *surgery) afterwards(name string) (string, bool) {
	for _, glob := range s.Remove {
		if initrd.Match(glob, name) {
			return "", false
		}
		for n, c := range name {
			if c == '/' && initrd.Match(glob, name[:n]) {
				return "", false
			}
		}
	}
	for _, r := range s.Renames {
		if rest, ok := strings.CutPrefix(name, r.From); ok && (rest == "" || rest[0] == '/') {
			return r.To + rest, true
		}
	}
	return name, true
}

// liftFolders makes folders of the base that rules match a part of the layer, with the
// mode and owner that they have in the base.
func (s *surgery) liftFolders(rules []*rule) {
	for _, r := range rules {
		for _, n := range r.folders {
			i, ok := s.top[n.Path]
			if ok && !i.Weak {
				continue
			}
			e := newc.Entry{Name: n.Path, Mode: n.Mode, UID: n.UID, GID: n.GID}
			s.top[n.Path] = item{repack.Add{Entry: e}, r.key, i.from}
		}
	}
	for _, r := range rules { // the layer has more now
		r.top = nil
		s.match(r)
	}
}

// rewrite is what the base has to be written anew with.
func (s *surgery) rewrite(rules []*rule) *repack.Edits {
	e := &repack.Edits{Add: s.top.adds()}
	for n, glob := range s.Remove {
		e.Remove = append(e.Remove, repack.Remove{Label: fmt.Sprintf("initramfs.remove[%d]", n), Glob: glob})
	}
	for n, r := range s.Renames {
		e.Rename = append(e.Rename, repack.Rename{Label: fmt.Sprintf("initramfs.rename[%d]", n), From: r.From, To: r.To})
	}
	for _, r := range rules {
		if len(r.folders) > 0 || r.rewrites != "" {
			r.edit(e)
		}
	}
	return e
}
