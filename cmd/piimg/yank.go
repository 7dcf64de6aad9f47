package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"piimg/store"
	"piimg/store/board"
	"piimg/store/env"
	"piimg/store/yank"
)

func newYank(a *app) *cobra.Command {
	var reason string
	var undo bool
	c := &cobra.Command{
		Use:   "yank IMAGE",
		Short: "Put a bad image on the list of those that nobody may promote",
		Long: `yank puts an image on a list that every promotion, rollback and assignment of a board asks
first, --force or not. It names the environments and boards that run it, and says how to
get them off it: nothing is taken from boards, which would not boot at all then. A front
end that sees an environment go to a yanked image stays with the one before.

The list is that of one store. A full digest may be that of an image that is not there yet.` + "\n" + exitCodes,
		Example: `  piimg yank sha256:4f1c9a02 --reason "eats SD cards"
  piimg yank sha256:4f1c9a02 --undo --reason "it was the cable"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.openLogs(cmd.Context())
			if err != nil {
				return err
			}
			if reason == "" {
				return hint(usageError{errors.New("yank: say why: --reason is not given")}, "piimg yank %s --reason …", args[0])
			}
			return a.yank(cmd.Context(), s, args[0], reason, undo)
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why; those who are refused read it")
	c.Flags().BoolVar(&undo, "undo", false, "take the image off the list")
	a.keyFlag(c)
	return c
}

func (a *app) yank(ctx context.Context, s *store.Store, ref, reason string, undo bool) error {
	image, err := store.ParseDigest(ref) // which need not be in this store, and may come
	if err != nil {
		found, err := resolve(ctx, s, ref)
		if err != nil {
			return err
		}
		image = found.Image
	}
	r, err := a.stepRules(ctx)
	if err != nil {
		return err
	}
	e, err := yank.Set(ctx, s, yank.Options{
		Image: image, GiveBack: undo, Actor: a.actor(), Reason: reason, Now: a.now,
		Sign: r.Sign, Trusted: r.TrustedYank(a.now()),
	})
	if err != nil {
		return err
	}
	if e.Unchanged {
		a.ui.say("nothing to do: it is so already")
	}
	if _, err = fmt.Fprintf(a.out, "%s %s\n", map[bool]string{false: "yanked", true: "given back"}[undo], image); err != nil || undo {
		return err
	}
	return a.sayWhoRuns(ctx, s, image)
}

// sayWhoRuns names the environments and boards that run an image.
func (a *app) sayWhoRuns(ctx context.Context, s *store.Store, image store.Digest) error {
	envs, err := env.List(ctx, s)
	if err != nil {
		return err
	}
	runs := map[string]bool{}
	for _, name := range envs {
		head, err := env.Head(ctx, s, name)
		if err != nil {
			a.ui.warn("what %s runs cannot be said: %v", name, err)
		} else if head.Image == image {
			runs[name] = true
			a.ui.warn("%s runs it: piimg rollback %s", name, name)
		}
	}
	boards, err := board.List(ctx, s)
	if err != nil {
		return err
	}
	for _, id := range boards {
		b, err := board.Get(ctx, s, id)
		switch {
		case err != nil:
			a.ui.warn("what board %s runs cannot be said: %v", id, err)
		case b.Mode == board.Net && b.Image == image:
			a.ui.warn("board %s is set to it: piimg board set %s ENV", id, id)
		case b.Mode == board.Net && runs[b.Env]:
			a.ui.warn("board %s runs it with %s", id, b.Env)
		}
	}
	return nil
}

// yanked is the list of yanked images.
func (a *app) yanked(ctx context.Context, s *store.Store) (map[store.Digest]yank.Entry, error) {
	r, err := a.rules()
	if err != nil {
		return nil, err
	}
	list, _, err := yank.Read(ctx, s, r.TrustedYank(a.now()))
	if errors.Is(err, store.ErrCorrupt) {
		a.ui.warn("%v", err)
		return nil, nil
	}
	return list, err
}
