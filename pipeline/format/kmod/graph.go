package kmod

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// vertex is a module among those that it is installed with.
type vertex struct {
	*Module
	index int       // in depmod's order
	rank  int       // a module has a lower rank than all that it needs
	deps  []*vertex // that it needs directly
	users int       // that need it directly and have no rank yet
}

// graph finds out which module needs which: by symbols, as depmod does, since that decides
// the order too. owners are the modules by the symbols that they export.
func graph(modules []*Module) (all []*vertex, owners map[string]*vertex, err error) {
	owners = map[string]*vertex{}
	for i, m := range modules {
		v := &vertex{Module: m, index: i}
		all = append(all, v)
		for _, symbol := range m.Exports {
			owners[symbol] = v
		}
	}
	for _, v := range all {
		for _, symbol := range v.Needs {
			if dep := owners[symbol]; dep != nil && !slices.Contains(v.deps, dep) {
				v.deps = append(v.deps, dep)
				dep.users++
			}
		}
	}
	return all, owners, rank(all)
}

// rank sorts topologically, by a stack of modules that nobody needs (any more).
func rank(all []*vertex) error {
	var stack []*vertex
	for _, v := range all {
		if v.users == 0 {
			stack = append(stack, v)
		}
	}
	ranked := 0
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		v.rank = ranked
		ranked++
		for _, dep := range v.deps {
			dep.users--
			if dep.users == 0 {
				stack = append(stack, dep)
			}
		}
	}
	if ranked == len(all) {
		return nil
	}
	var names []string
	for _, v := range all {
		if v.users > 0 {
			names = append(names, v.Name())
		}
	}
	return fmt.Errorf("modules need each other in a circle: %s", strings.Join(names, ", "))
}

// needed are all modules that v needs, directly or not, in the order in which they have to
// be unloaded.
func (v *vertex) needed() []*vertex {
	seen := map[*vertex]bool{}
	var all []*vertex
	var visit func(*vertex)
	visit = func(v *vertex) {
		for _, dep := range v.deps {
			if !seen[dep] {
				seen[dep] = true
				all = append(all, dep)
				visit(dep)
			}
		}
	}
	visit(v)
	slices.SortFunc(all, func(a, b *vertex) int { return cmp.Compare(a.rank, b.rank) })
	return all
}
