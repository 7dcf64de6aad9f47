package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"piimg/store"
	"piimg/store/env"
)

func newPromote(a *app) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "promote IMAGE ENV",
		Short: "Make an environment run an image",
		Long: `promote appends a step to the history of an environment. Boards that are booting finish
with the image they began with; every later boot gets the new one. The image may be
named by digest or by another environment that runs it.` + "\n" + exitCodes,
		Example: `  piimg promote sha256:4f1c9a02 dev
  piimg promote dev prod --reason "kernel 6.12.47"`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.openStore(cmd.Context())
			if err != nil {
				return err
			}
			e, err := promote(cmd.Context(), a, s, args[0], args[1], reason)
			if err != nil {
				return err
			}
			return a.printStep(e)
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return c
}

func promote(ctx context.Context, a *app, s *store.Store, ref, name, reason string) (env.Entry, error) {
	if err := store.CheckEnv(name); err != nil {
		return env.Entry{}, usageError{err}
	}
	found, err := resolve(ctx, s, ref)
	if err != nil {
		return env.Entry{}, err
	}
	o := env.PromoteOptions{Env: name, Image: found.Image, Actor: a.actor(), Reason: reason, Now: a.now}
	if found.Env != "" {
		o.Source = &env.Source{Env: found.Env, Seq: found.Seq}
	}
	e, err := env.Promote(ctx, s, o)
	if err == nil && e.Seq == 1 && !e.Unchanged {
		a.ui.say("%s is a new environment", name)
	}
	return e, err
}

// resolve finds the image that ref names.
func resolve(ctx context.Context, s *store.Store, ref string) (env.Resolved, error) {
	found, err := env.Resolve(ctx, s, ref)
	if errors.Is(err, fs.ErrNotExist) {
		err = hint(err, "piimg ls lists images and the environments that run them, piimg history ENV what one ran")
	}
	return found, err
}

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
			s, err := a.openStore(cmd.Context())
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

// when is a time for people, in their time zone.
func when(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 MST") }

// printStep prints the step that an environment is at now.
func (a *app) printStep(e env.Entry) error {
	if e.Unchanged {
		a.ui.say("nothing to do: %s runs this image already", e.Env)
	}
	_, err := fmt.Fprintf(a.out, "%s@%d %s\n", e.Env, e.Seq, e.Image)
	return err
}

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
						action += fmt.Sprintf(" from %s@%d", e.Source.Env, e.Source.Seq)
					}
					line("%s@%d\t%s\t%s\t%s\t%s\t%s", e.Env, e.Seq, e.Image.Short(), action, when(e.Time), e.Actor, e.Reason)
				}
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the history as JSON, the newest step first")
	return c
}
