package kmod

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// UnknownError: a pattern names no module.
type UnknownError struct {
	Pattern string
	Near    []string // names that look like it, the nearest first
	Modules int      // that there are
	Builtin int      // that are built into the kernel
}

func (e *UnknownError) Error() string {
	what := "module"
	if strings.ContainsAny(e.Pattern, `*?[/`) {
		what = "pattern"
	}
	return fmt.Sprintf("%s %q is none of the %d modules, nor of the %d that are built in", what, e.Pattern, e.Modules, e.Builtin)
}

// Hint names what may be meant.
func (e *UnknownError) Hint() string {
	if len(e.Near) == 0 {
		return "the names are those of the files below kernel/, without .ko"
	}
	return "did you mean " + strings.Join(e.Near, ", ") + "?"
}

func (t *Tree) unknown(pattern string) error {
	e := &UnknownError{Pattern: pattern, Modules: len(t.files), Builtin: len(t.builtin)}
	if !strings.Contains(pattern, "/") {
		all := slices.Concat(t.names(), slices.Sorted(maps.Keys(t.builtin)))
		e.Near = nearest(strings.Trim(normal(pattern), "*"), all)
	}
	return e
}

// nearest are up to three of names: those that hold word, then those with few changes.
func nearest(word string, names []string) []string {
	if word == "" {
		return nil
	}
	far := map[string]int{}
	for _, name := range names {
		d := distance(word, name)
		switch {
		case len(word) >= 3 && strings.Contains(name, word):
			far[name] = len(name) - len(word)
		case d <= (len(word)+2)/3:
			far[name] = d
		}
	}
	near := slices.SortedFunc(maps.Keys(far), func(a, b string) int {
		return cmp.Or(cmp.Compare(far[a], far[b]), cmp.Compare(a, b))
	})
	return near[:min(len(near), 3)]
}

// distance is the number of bytes to add, drop or change to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
