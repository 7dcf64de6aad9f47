package main

import (
	"context"

	"github.com/spf13/cobra"

	"piimg/store"
	"piimg/store/env"
)

func newRollback(a *app) *cobra.Command {
	var o stepOptions
	var to string
	var force bool
	c := &cobra.Command{
		Use:   "rollback ENV",
		Short: "Make an environment run what it ran before",
		Long: `rollback appends a step that names an older image: the one before, or any that the
environment has run (--to). A second rollback goes back one more.

One signature is enough for it, also where promotions need several, unless so many have never
approved the image. An image that the environment has never run, or that is not signed as its
policy asks, takes --force and --reason, and in a protected environment a second signature:
--propose. An image that was yanked is never gone back to.` + "\n" + exitCodes,
		Example: `  piimg rollback prod
  piimg rollback prod --to sha256:9a02b7c1 --reason "boards lose their clock"
  piimg rollback prod --to sha256:5ead42af --force --reason "the vendor's image" --propose`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.openLogs(cmd.Context())
			if err != nil {
				return err
			}
			back, err := a.back(cmd.Context(), s, args[0], to, force, o)
			if err != nil {
				return err
			}
			if o.propose {
				p, err := env.ProposeRollback(cmd.Context(), s, back)
				if err != nil {
					return err
				}
				return a.printProposed(p, back.Rules)
			}
			e, err := env.Rollback(cmd.Context(), s, back)
			if err != nil {
				return err
			}
			return a.printStep(e)
		},
	}
	c.Flags().StringVar(&to, "to", "", "image to go back to")
	c.Flags().BoolVar(&force, "force", false, "allow an image that the environment has never run or that is not signed (needs --reason)")
	a.stepFlags(c, &o)
	return c
}

// back finds the image and asks for the rules.
func (a *app) back(ctx context.Context, s *store.Store, name, to string, force bool, o stepOptions) (env.RollbackOptions, error) {
	expect, err := o.head()
	if err != nil {
		return env.RollbackOptions{}, err
	}
	rules, err := a.stepRules(ctx)
	if err != nil {
		return env.RollbackOptions{}, err
	}
	back := env.RollbackOptions{
		Env: name, Actor: a.actor(), Reason: o.reason, Force: force, Expect: expect, Rules: rules, Now: a.now,
	}
	if to != "" {
		found, err := resolve(ctx, s, to)
		if err != nil {
			return back, err
		}
		back.To = found.Image
	}
	return back, nil
}
