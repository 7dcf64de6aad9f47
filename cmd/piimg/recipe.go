package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"piimg/recipes"
)

func newRecipe(a *app) *cobra.Command {
	c := &cobra.Command{Use: "recipe", Short: "Look at recipes", Example: "  piimg recipe show recipes/quickstart.toml"}
	c.AddCommand(&cobra.Command{
		Use:   "show RECIPE",
		Short: "Print a recipe with everything that it extends and all defaults",
		Example: `  piimg recipe show recipes/quickstart.toml
  piimg recipe show recipes/quickstart.toml | diff - other.toml`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, _, err := a.loadRecipe(args[0])
			if err != nil {
				return err
			}
			return r.Show(a.out)
		},
	})
	c.AddCommand(newRecipeBoards(a))
	return c
}

func newRecipeBoards(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "boards",
		Short:   "List the board models that recipes can name",
		Example: "  piimg recipe boards",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			boards, err := recipes.Boards()
			if err != nil {
				return fmt.Errorf("read the board models: %w", err)
			}
			return table(a.out, "MODEL\tNAME\tETHERNET", func(line func(string, ...any)) {
				for _, b := range boards {
					ethernet := "yes"
					if !b.Ethernet {
						ethernet = "no"
					}
					line("%s\t%s\t%s", b.Model, b.Title, ethernet)
				}
			})
		},
	}
}
