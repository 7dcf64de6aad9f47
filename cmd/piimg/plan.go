package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"piimg/recipes"
)

func newPlan(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "plan RECIPE",
		Short: "Say which steps a build would run, and why",
		Long: `plan shows the steps of a recipe in the order in which they run: unchanged, or what has
changed since each was last built in this store. It runs nothing.` + "\n" + exitCodes,
		Example: "  piimg plan recipes/quickstart.toml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, w, err := a.bench(cmd.Context(), args[0], buildOptions{})
			if err != nil {
				return err
			}
			p, err := w.plan(cmd.Context())
			if err != nil {
				return err
			}
			verdicts, err := p.Explain(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(verdicts)
			}
			return table(a.out, "STEP\tSTATE\tWHY", func(line func(string, ...any)) {
				for _, v := range verdicts {
					state := "run"
					if v.Hit {
						state = "done"
					}
					line("%s\t%s\t%s", v.Step, state, v.Why)
				}
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the plan as JSON")
	return c
}

func newRecipe(a *app) *cobra.Command {
	c := &cobra.Command{Use: "recipe", Short: "Look at recipes"}
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
