package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"piimg/store"
	"piimg/store/env"
)

func newLs(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "ls",
		Short:   "List the images in the store and which environments run them",
		Example: "  piimg ls",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			images, err := listImages(cmd.Context(), a)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(images)
			}
			return table(a.out, "IMAGE\tNAME\tPUBLISHED\tBY\tRUN BY", func(line func(string, ...any)) {
				for _, i := range images {
					by := strings.Join(i.Envs, ", ")
					if i.Yanked != "" {
						by = strings.TrimPrefix(by+" (yanked: "+i.Yanked+")", " ")
					}
					line("%s\t%s\t%s\t%s\t%s", i.Image.Short(), i.Name, when(i.Time), i.Actor, by)
				}
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the list as JSON")
	return c
}

// listed is one published image.
type listed struct {
	store.Record
	Envs   []string `json:"envs"`             // that run it now
	Yanked string   `json:"yanked,omitempty"` // why nobody may promote it; "" where they may
}

// listImages are the published images, the newest first.
func listImages(ctx context.Context, a *app) ([]listed, error) {
	s, err := a.openStore(ctx)
	if err != nil {
		return nil, err
	}
	runs := map[store.Digest][]string{}
	envs, err := env.List(ctx, s)
	if err != nil {
		return nil, err
	}
	for _, name := range envs {
		head, err := env.Head(ctx, s, name)
		if errors.Is(err, store.ErrCorrupt) {
			a.ui.warn("%v", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		runs[head.Image] = append(runs[head.Image], name)
	}
	yanked, err := a.yanked(ctx, s)
	if err != nil {
		return nil, err
	}
	images := []listed{}
	for r, err := range s.Images(ctx) {
		if ctx.Err() == nil && errors.Is(err, store.ErrCorrupt) {
			a.ui.warn("%v", err)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list images: %w", err)
		}
		images = append(images, listed{r, append([]string{}, runs[r.Image]...), yanked[r.Image].Reason})
	}
	slices.SortStableFunc(images, func(a, b listed) int {
		return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.Image.Hex(), b.Image.Hex()))
	})
	return images, nil
}
