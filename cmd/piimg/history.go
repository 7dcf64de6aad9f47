package main

import (
	"slices"

	"github.com/spf13/cobra"

	"piimg/store/env"
)

func newHistory(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "history ENV",
		Short:   "Show what an environment ran, when, by whom and why",
		Example: "  piimg history prod",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.openStore(cmd.Context())
			if err != nil {
				return err
			}
			steps, err := env.History(cmd.Context(), s, args[0])
			if err != nil {
				return err
			}
			slices.Reverse(steps)
			if asJSON {
				return a.printJSON(steps)
			}
			return table(a.out, "STEP\tIMAGE\tACTION\tWHEN\tBY\tREASON", func(line func(string, ...any)) {
				for _, e := range steps {
					action := string(e.Action)
					if e.Source != nil {
						action += " from " + e.Source.String()
					}
					line("%s@%d\t%s\t%s\t%s\t%s\t%s", e.Env, e.Seq, e.Image.Short(), action, when(e.Time), e.Actor, e.Reason)
				}
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the history as JSON, the newest step first")
	return c
}
