package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"piimg/store"
	"piimg/store/env"
)

func newApprove(a *app) *cobra.Command {
	var list, asJSON bool
	c := &cobra.Command{
		Use:   "approve ENV [PROPOSAL]",
		Short: "Sign a proposed step of an environment",
		Long: `approve adds your signature to a step that somebody has proposed (piimg promote --propose),
after asking your own configuration file whether it may be. The signature that was the last
one needed makes the step, with all of them in it. A proposal is for the head that there was:
once the environment has moved on it is void, and has to be made anew.

Where several are proposed, name one by the first digits that --list shows.` + "\n" + exitCodes,
		Example: `  piimg approve prod --list
  piimg approve prod
  piimg approve prod 5ead42af`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := store.CheckEnv(args[0]); err != nil {
				return usageError{err}
			}
			s, err := a.openLogs(cmd.Context())
			if err != nil {
				return err
			}
			if list || asJSON {
				return a.listProposals(cmd.Context(), s, args[0], asJSON)
			}
			return a.approve(cmd.Context(), s, args[0], strings.TrimPrefix(append(args, "")[1], "sha256:"))
		},
	}
	c.Flags().BoolVar(&list, "list", false, "show what is proposed, and sign nothing")
	c.Flags().BoolVar(&asJSON, "json", false, "show it as JSON")
	a.keyFlag(c)
	return c
}

func (a *app) approve(ctx context.Context, s *store.Store, name, prefix string) error {
	r, err := a.rules()
	if err != nil {
		return err
	}
	if r.Signer, err = a.mustSign(ctx); err != nil {
		return err
	}
	if r.Trust == nil {
		return hint(errors.New("signatures are off, and so there is nothing to approve: no trust file is configured"), "trust in [sign] of the configuration file names it")
	}
	p, err := a.proposal(ctx, s, r, name, prefix)
	if err != nil {
		return err
	}
	a.ui.say("%s by %s: %s", proposed(p.Entry), printable(p.Actor), cmp.Or(printable(p.Reason), "no reason is given"))
	p, e, err := env.Approve(ctx, s, env.ApproveOptions{Env: name, ID: p.ID, Actor: a.actor(), Rules: r, Now: a.now})
	if err != nil {
		return err
	}
	if e.Seq > 0 {
		return a.printStep(e)
	}
	return a.printProposal(p, r)
}

// proposed says what a proposal would do.
func proposed(e env.Entry) string {
	what := fmt.Sprintf("%s %s, step %d of %s", e.Action, e.Image.Short(), e.Seq, e.Env)
	if e.Source != nil {
		what += ", from " + e.Source.String()
	}
	if e.Force {
		what += ", forced"
	}
	return what
}

// proposal is the one whose digits start with prefix.
func (a *app) proposal(ctx context.Context, s *store.Store, r env.Rules, name, prefix string) (env.Proposal, error) {
	all, err := env.Proposals(ctx, s, name, r, a.now())
	if err != nil {
		return env.Proposal{}, err
	}
	var fit []env.Proposal
	for _, p := range all {
		if strings.HasPrefix(p.ID.Hex(), prefix) {
			fit = append(fit, p)
		}
	}
	switch {
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) == 0:
		return env.Proposal{}, hint(fmt.Errorf("no such step of %s is proposed", name),
			"piimg approve %s --list shows what is; one that was may be void, because %s has moved on", name, name)
	}
	var ids []string
	for _, p := range fit {
		ids = append(ids, p.ID.Hex()[:12])
	}
	return env.Proposal{}, hint(fmt.Errorf("%d steps of %s are proposed: %s", len(fit), name, strings.Join(ids, ", ")), "say which: piimg approve %s %s", name, ids[0])
}

// printProposal prints a proposal that waits for more signatures.
func (a *app) printProposal(p env.Proposal, r env.Rules) error {
	v := r.Signers(p.Entry, a.now())
	a.ui.say("proposed, not done: %s has %d of %d signatures (%s); others sign with piimg approve %s",
		p.Env, len(v.Keys), p.Need, strings.Join(v.Names(), ", "), p.Env)
	_, err := fmt.Fprintf(a.out, "%s@%d %s proposed %s\n", p.Env, p.Seq, p.Image, p.ID.Hex()[:12])
	return err
}

// waiting is a proposal for --json.
type waiting struct {
	env.Entry
	ID       string   `json:"id"`
	Need     int      `json:"need"`
	SignedBy []string `json:"signed_by"`
}

func (a *app) listProposals(ctx context.Context, s *store.Store, name string, asJSON bool) error {
	r, err := a.rules()
	if err != nil {
		return err
	}
	all, err := env.Proposals(ctx, s, name, r, a.now())
	if err != nil {
		return err
	}
	list := []waiting{}
	for _, p := range all {
		list = append(list, waiting{p.Entry, p.ID.Hex(), p.Need, r.Signers(p.Entry, a.now()).Names()})
	}
	if asJSON {
		return a.printJSON(list)
	}
	return table(a.out, "PROPOSAL\tWHAT\tBY\tSIGNED\tREASON", func(line func(string, ...any)) {
		for _, p := range list {
			line("%s\t%s\t%s\t%d of %d: %s\t%s", p.ID[:12], proposed(p.Entry), p.Actor, len(p.SignedBy), p.Need, strings.Join(p.SignedBy, ", "), p.Reason)
		}
	})
}
