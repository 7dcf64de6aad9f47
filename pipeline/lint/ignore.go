package lint

import (
	"maps"
	"slices"
)

// Ignore marks the findings of the rules that why has a reason for, by id. It returns the
// rules among them that found nothing, sorted: there is no reason to ignore them any more.
func Ignore(findings []Finding, why map[string]string) (idle []string) {
	left := maps.Clone(why)
	for n := range findings {
		f := &findings[n]
		f.Ignored = why[f.Rule]
		delete(left, f.Rule)
	}
	return slices.Sorted(maps.Keys(left))
}
