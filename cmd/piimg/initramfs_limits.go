package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"piimg/recipes"
)

// limitFlag is what --limit says.
type limitFlag []string

func (f *limitFlag) bind(c *cobra.Command) {
	c.PersistentFlags().StringArrayVar((*[]string)(f), "limit", nil,
		"raise or lower a limit of what archives may ask for, as `NAME=NUMBER`: "+strings.Join(limitNames(), ", "))
}

func limitNames() []string {
	return slices.Sorted(maps.Keys((&recipes.Limits{}).ByName()))
}

// over puts the flag over the limits of a recipe.
func (f limitFlag) over(l recipes.Limits) (recipes.Limits, error) {
	for _, s := range f {
		name, number, _ := strings.Cut(s, "=")
		limit, known := l.ByName()[name]
		if !known {
			return l, hint(usageError{fmt.Errorf("--limit %s: there is no limit %q", s, name)}, "they are %s", strings.Join(limitNames(), ", "))
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < 1 || n > limit.Most {
			return l, usageError{fmt.Errorf("--limit %s: write a number from 1 to %d", s, limit.Most)}
		}
		*limit.To = n
	}
	return l, nil
}
