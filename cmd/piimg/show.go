package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"piimg/pipeline"
	"piimg/store"
)

func newShow(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show IMAGE",
		Short: "Show the files of an image and what it was made from",
		Long: `show prints what an image holds. Files that are stored in parts, such as an initramfs of
a base and an overlay, are shown with their parts.` + "\n" + exitCodes,
		Example: `  piimg show prod
  piimg show prod~1
  piimg show 4f1c9a02 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.openStore(cmd.Context())
			if err != nil {
				return err
			}
			i, c, err := readImage(cmd.Context(), s, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(shown{i.Digest, c, i.Files})
			}
			return a.printImage(i, c)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the image as JSON")
	return c
}

// shown is an image for --json.
type shown struct {
	Image  store.Digest    `json:"image"`
	Config pipeline.Config `json:"config"`
	Files  []store.File    `json:"files"`
}

// readImage reads the image that ref names.
func readImage(ctx context.Context, s *store.Store, ref string) (*store.Image, pipeline.Config, error) {
	found, err := resolve(ctx, s, ref)
	if err != nil {
		return nil, pipeline.Config{}, err
	}
	i, err := s.Image(ctx, found.Image)
	if err != nil {
		return nil, pipeline.Config{}, err
	}
	c, err := pipeline.ReadConfig(ctx, s, i)
	return i, c, err
}

func (a *app) printImage(i *store.Image, c pipeline.Config) error {
	fmt.Fprintf(a.out, "image    %s\nname     %s\nboards   %s\nkernel   %s\nrecipe   %s\n",
		i.Digest, c.Name, strings.Join(c.Boards, " "), c.KernelRelease, c.RecipeDigest)
	for _, name := range slices.Sorted(maps.Keys(c.Inputs)) {
		fmt.Fprintf(a.out, "source   %s %s\n", c.Inputs[name].Short(), name)
	}
	r, err := recipeOf(c)
	if err != nil {
		return err
	}
	if o := r.Output; o != nil && o.SDCardImg {
		fmt.Fprintf(a.out, "card     %s\n", cardText(*o))
	}
	for _, rule := range slices.Sorted(maps.Keys(r.Ignored())) {
		fmt.Fprintf(a.out, "ignored  %s %s\n", printable(rule), printable(r.Ignored()[rule]))
	}
	fmt.Fprintln(a.out)
	return table(a.out, "SIZE\tDIGEST\tFILE", func(line func(string, ...any)) {
		var total int64
		for _, f := range i.Files {
			total += f.Size
			line("%s\t%s\t%s", size(f.Size), f.Digest.Short(), f.Path)
			if len(f.Parts) == 1 {
				continue
			}
			for n, p := range f.Parts {
				line("%s\t%s\t  part %d", size(p.Size), p.Digest.Short(), n)
			}
		}
		line("%s\t\t%d files", size(total), len(i.Files))
	})
}
