package main

import (
	"github.com/spf13/cobra"
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
