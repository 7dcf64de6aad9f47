package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"piimg/cmd/piimg/config"
	"piimg/store"
	"piimg/store/env"
)

// stepOptions are the flags of promote and rollback.
type stepOptions struct {
	reason  string
	from    string // store that has the image, where this one does not
	expect  string // step that has to be the head; "" for any
	expires config.Duration
	propose bool
}

func newPromote(a *app) *cobra.Command {
	var o stepOptions
	c := &cobra.Command{
		Use:   "promote IMAGE ENV",
		Short: "Make an environment run an image",
		Long: `promote appends a step to the history of an environment. Boards that are booting finish
with the image they began with; every later boot gets the new one. The image may be
named by digest or by another environment that runs it.

With --from-store the image is copied from another store first, as with piimg cp, and IMAGE
is what that store calls it. The step is written last and names that store; what is set up
for this store counts, such as its policy.

What the policy of the environment asks ([policy.ENV] in the configuration file) is checked
first, and the step is signed with your key where you have one. Where several have to sign,
--propose writes it down for them, and piimg approve makes the step.` + "\n" + exitCodes,
		Example: `  piimg promote sha256:4f1c9a02 dev
  piimg promote dev prod --reason "kernel 6.12.47"
  piimg promote staging prod --propose
  piimg promote staging prod --from-store 's3://images/factory?endpoint=https://s3.example.org'`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.openLogs(cmd.Context())
			if err != nil {
				return err
			}
			if o.propose {
				return a.proposePromotion(cmd.Context(), s, args[0], args[1], o)
			}
			e, err := promote(cmd.Context(), a, s, args[0], args[1], o)
			if err != nil {
				return err
			}
			return a.printStep(e)
		},
	}
	c.Flags().StringVar(&o.from, "from-store", "", "store that has the image, where this one does not")
	c.Flags().Var(&o.expires, "expires", "how long others may promote from this step, such as 30d; boards go on in any case")
	a.stepFlags(c, &o)
	return c
}

// stepFlags are the flags that promote and rollback have in common.
func (a *app) stepFlags(c *cobra.Command, o *stepOptions) {
	c.Flags().StringVar(&o.reason, "reason", "", "why, for the history")
	c.Flags().StringVar(&o.expect, "expect", "", "number of the step that has to be the head now, 0 for none: else somebody was faster")
	c.Flags().BoolVar(&o.propose, "propose", false, "write the step down for others to approve")
	a.keyFlag(c)
}

// head is the step that has to be the head, nil for any.
func (o stepOptions) head() (*int64, error) {
	if o.expect == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(o.expect, 10, 64)
	if err != nil || n < 0 {
		return nil, usageError{fmt.Errorf("--expect: %q is not the number of a step, nor 0", o.expect)}
	}
	return &n, nil
}

// promotion finds the image, fetches it if it is in another store, and asks for the rules.
func promotion(ctx context.Context, a *app, s *store.Store, ref, name string, o stepOptions) (env.PromoteOptions, error) {
	if err := store.CheckEnv(name); err != nil {
		return env.PromoteOptions{}, usageError{err}
	}
	expect, err := o.head()
	if err != nil {
		return env.PromoteOptions{}, err
	}
	rules, err := a.stepRules(ctx)
	if err != nil {
		return env.PromoteOptions{}, err
	}
	found, err := a.find(ctx, s, ref, o.from)
	if err != nil {
		return env.PromoteOptions{}, err
	}
	p := env.PromoteOptions{
		Env: name, Image: found.image, Source: found.source, From: found.store,
		Actor: a.actor(), Reason: o.reason, Expect: expect, Rules: rules, Now: a.now,
	}
	if o.expires > 0 {
		p.Expires = a.now().Add(time.Duration(o.expires))
	}
	if p.From != nil {
		err = a.bring(ctx, s, p)
	}
	return p, err
}

func promote(ctx context.Context, a *app, s *store.Store, ref, name string, o stepOptions) (env.Entry, error) {
	p, err := promotion(ctx, a, s, ref, name, o)
	if err != nil {
		return env.Entry{}, err
	}
	e, err := env.Promote(ctx, s, p)
	if err == nil && e.Seq == 1 && !e.Unchanged {
		a.ui.say("%s is a new environment", name)
	}
	return e, err
}

func (a *app) proposePromotion(ctx context.Context, s *store.Store, ref, name string, o stepOptions) error {
	p, err := promotion(ctx, a, s, ref, name, o)
	if err != nil {
		return err
	}
	proposal, err := env.Propose(ctx, s, p)
	if err != nil {
		return err
	}
	return a.printProposed(proposal, p.Rules)
}

// printProposed prints a new proposal, or the step that there is already.
func (a *app) printProposed(p env.Proposal, r env.Rules) error {
	if p.Unchanged {
		return a.printStep(p.Entry)
	}
	return a.printProposal(p, r)
}
