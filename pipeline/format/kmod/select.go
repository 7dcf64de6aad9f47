package kmod

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
)

// Set is some modules of a tree with everything that they need.
type Set struct {
	Modules []*Module // in depmod's order
	Builtin []string  // patterns that name nothing but what is built into the kernel

	tree *Tree
}

// Select takes the modules that patterns name, what they depend on, and what they want
// before them where it exists. A pattern is a name or a pattern of names ("snd-*"), or,
// with a slash, the start of a path in whole folders ("kernel/fs/nfs", "kernel/net/*/sctp").
//
// A pattern that names neither a module nor what is built in is an [*UnknownError].
func (t *Tree) Select(patterns []string) (*Set, error) {
	s := &Set{tree: t}
	c := closure{tree: t, have: map[string]*Module{}}
	for _, p := range patterns {
		names, err := matching(p, t.names(), func(name string) []string { return t.files[name] })
		if err != nil {
			return nil, err
		}
		if len(names) == 0 {
			if err := t.mustBeBuiltin(p); err != nil {
				return nil, err
			}
			s.Builtin = append(s.Builtin, p)
		}
		for _, name := range names {
			if err := c.add(name); err != nil {
				return nil, err
			}
		}
	}
	s.Modules = slices.SortedFunc(maps.Values(c.have), t.compare)
	return s, nil
}

// matching are the names that a pattern stands for.
func matching(pattern string, names []string, files func(name string) []string) ([]string, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		if strings.Contains(pattern, "/") {
			return !slices.ContainsFunc(files(name), func(file string) bool { return below(pattern, file) })
		}
		ok, _ := path.Match(normal(pattern), name)
		return !ok
	}), nil
}

// below says whether the first folders of file, as many as pattern has, match it.
func below(pattern, file string) bool {
	want := strings.Split(strings.TrimSuffix(pattern, "/"), "/")
	have := strings.Split(plain(file), "/")
	if len(have) < len(want) {
		return false
	}
	ok, _ := path.Match(strings.Join(want, "/"), strings.Join(have[:len(want)], "/"))
	return ok
}

func (t *Tree) mustBeBuiltin(pattern string) error {
	names := slices.Sorted(maps.Keys(t.builtin))
	found, err := matching(pattern, names, func(name string) []string { return []string{t.builtin[name]} })
	if err == nil && len(found) == 0 {
		err = t.unknown(pattern)
	}
	return err
}

// compare sorts as depmod does: by modules.order, and then what is not listed there.
// Among the latter depmod's order is that of the disk; here it is that of the paths.
func (t *Tree) compare(a, b *Module) int {
	return cmp.Or(cmp.Compare(t.place(a), t.place(b)), cmp.Compare(a.Path, b.Path))
}

func (t *Tree) place(m *Module) int {
	if i, ok := t.order[m.Plain()]; ok {
		return i
	}
	return math.MaxInt
}

// closure grows by modules with all that they need.
type closure struct {
	tree *Tree
	have map[string]*Module
}

// add adds the module called name, which is in the tree.
func (c *closure) add(name string) error {
	todo := []string{name}
	for len(todo) > 0 {
		name, todo = todo[0], todo[1:]
		if c.have[name] != nil {
			continue
		}
		file, err := c.tree.file(name)
		if err != nil {
			return err
		}
		m, err := c.tree.read(file)
		if err != nil {
			return err
		}
		c.have[name] = m
		more, err := c.wants(m)
		if err != nil {
			return err
		}
		todo = append(todo, more...)
	}
	return nil
}

// wants are the modules of the tree that have to be there for m, or that it would like.
func (c *closure) wants(m *Module) ([]string, error) {
	var names []string
	for _, name := range m.Depends() {
		switch {
		case c.tree.files[name] != nil:
			names = append(names, name)
		case c.tree.builtin[name] == "":
			return nil, fmt.Errorf("%s needs module %s, which is not there", m.Path, name)
		}
	}
	for _, alias := range m.PreSoftdeps() {
		found, err := c.tree.resolve(alias)
		if err != nil {
			return nil, err
		}
		names = append(names, found...)
	}
	return names, nil
}

// resolve finds modules by name or by alias: none where it is built in, or does not exist.
func (t *Tree) resolve(alias string) ([]string, error) {
	if t.files[alias] != nil {
		return []string{alias}, nil
	}
	if t.builtin[alias] != "" {
		return nil, nil
	}
	builtin, err := t.builtinAliases()
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(builtin, func(b builtinAlias) bool { return normal(b.alias) == alias }) {
		return nil, nil
	}
	return t.provides(alias)
}
