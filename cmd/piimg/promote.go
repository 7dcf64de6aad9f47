package main

import (
	"context"

	"github.com/spf13/cobra"

	"piimg/store"
	"piimg/store/env"
)

func newPromote(a *app) *cobra.Command {
	var reason, from string
	c := &cobra.Command{
		Use:   "promote IMAGE ENV",
		Short: "Make an environment run an image",
		Long: `promote appends a step to the history of an environment. Boards that are booting finish
with the image they began with; every later boot gets the new one. The image may be
named by digest or by another environment that runs it.

With --from-store the image is copied from another store first, as with piimg cp, and IMAGE
is what that store calls it. The step is written last and names that store; what is set up
for this store counts, such as its policy.` + "\n" + exitCodes,
		Example: `  piimg promote sha256:4f1c9a02 dev
  piimg promote dev prod --reason "kernel 6.12.47"
  piimg promote staging prod --from-store 's3://images/factory?endpoint=https://s3.example.org'`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.openLogs(cmd.Context())
			if err != nil {
				return err
			}
			e, err := promote(cmd.Context(), a, s, args[0], args[1], reason, from)
			if err != nil {
				return err
			}
			return a.printStep(e)
		},
	}
	c.Flags().StringVar(&from, "from-store", "", "store that has the image, where this one does not")
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return c
}

func promote(ctx context.Context, a *app, s *store.Store, ref, name, reason, from string) (env.Entry, error) {
	if err := store.CheckEnv(name); err != nil {
		return env.Entry{}, usageError{err}
	}
	image, source, err := a.find(ctx, s, ref, from)
	if err != nil {
		return env.Entry{}, err
	}
	o := env.PromoteOptions{Env: name, Image: image, Source: source, Actor: a.actor(), Reason: reason, Now: a.now}
	e, err := env.Promote(ctx, s, o)
	if err == nil && e.Seq == 1 && !e.Unchanged {
		a.ui.say("%s is a new environment", name)
	}
	return e, err
}
