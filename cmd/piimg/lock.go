package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"piimg/recipes"
)

func newLock(a *app) *cobra.Command {
	var update []string
	var offline bool
	c := &cobra.Command{
		Use:   "lock RECIPE",
		Short: "Pin the sources of a recipe by digest",
		Long: `lock fetches every source of a recipe that is not pinned yet, or whose declaration
changed, and writes versions and digests to the lock file beside the recipe. With
--update it pins the named sources anew, and with --update=all every one.

Commit the lock file with the recipe: builds refuse a source that differs.` + "\n" + exitCodes,
		Example: `  piimg lock recipes/quickstart.toml
  piimg lock --update kernel recipes/quickstart.toml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runLock(cmd.Context(), a, args[0], update, offline)
		},
	}
	c.Flags().StringSliceVar(&update, "update", nil, "pin these sources anew, or all")
	c.Flags().BoolVar(&offline, "offline", false, "use no network")
	return c
}

func runLock(ctx context.Context, a *app, file string, update []string, offline bool) error {
	w, err := a.workbench(nil, file, buildOptions{offline: offline})
	if err != nil {
		return err
	}
	names, err := w.toPin(update)
	if err != nil {
		return err
	}
	next, err := w.pipeline.Lock(ctx, w.recipe, w.lock, names)
	if err != nil {
		return err
	}
	lockFile := recipes.LockFile(file)
	if err := next.Write(lockFile); err != nil {
		return fmt.Errorf("write %s: %w", lockFile, err)
	}
	if len(names) == 0 {
		a.ui.say("nothing to do: all %d sources are pinned", len(next.Sources))
		return nil
	}
	return table(a.out, "SOURCE\tKIND\tDIGEST\tSIZE", func(line func(string, ...any)) {
		for _, name := range names {
			pin := next.Sources[name]
			line("%s\t%s\t%s\t%s", name, pin.Kind, pin.Digest.Short(), size(pin.Size))
		}
	})
}

// toPin are the sources that have no pin that fits, and those to update.
func (w *workbench) toPin(update []string) ([]string, error) {
	want := map[string]bool{}
	for _, name := range update {
		if name == "all" {
			for n := range w.recipe.Sources {
				want[n] = true
			}
			continue
		}
		if _, ok := w.recipe.Sources[name]; !ok {
			return nil, hint(fmt.Errorf("the recipe has no source %s", name), "it has %s", strings.Join(slices.Sorted(maps.Keys(w.recipe.Sources)), ", "))
		}
		want[name] = true
	}
	l := w.lock
	if l == nil {
		l = &recipes.Lock{}
	}
	for _, s := range l.Stale(w.recipe) {
		if s.Why != recipes.Superfluous {
			want[s.Source] = true
		}
	}
	return slices.Sorted(maps.Keys(want)), nil
}
