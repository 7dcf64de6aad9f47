package main

import (
	"github.com/spf13/cobra"

	"piimg/store/env"
)

func newRollback(a *app) *cobra.Command {
	var to, reason string
	var force bool
	c := &cobra.Command{
		Use:   "rollback ENV",
		Short: "Make an environment run what it ran before",
		Long: `rollback appends a step that names an older image: the one before, or any that the
environment has run (--to). A second rollback goes back one more.` + "\n" + exitCodes,
		Example: `  piimg rollback prod
  piimg rollback prod --to sha256:9a02b7c1 --reason "boards lose their clock"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.openLogs(cmd.Context())
			if err != nil {
				return err
			}
			o := env.RollbackOptions{Env: args[0], Actor: a.actor(), Reason: reason, Force: force, Now: a.now}
			if to != "" {
				found, err := resolve(cmd.Context(), s, to)
				if err != nil {
					return err
				}
				o.To = found.Image
			}
			e, err := env.Rollback(cmd.Context(), s, o)
			if err != nil {
				return err
			}
			return a.printStep(e)
		},
	}
	c.Flags().StringVar(&to, "to", "", "image to go back to")
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	c.Flags().BoolVar(&force, "force", false, "allow an image that the environment has never run (needs --reason)")
	return c
}
