package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"piimg/store"
	"piimg/store/board"
	"piimg/store/env"
)

func newBoard(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "board",
		Short: "Say which boards run what",
		Long: `A board is named by the last 8 hexadecimal digits of its serial number, or by its MAC
address. Boards that nobody has set run the default environment of piimg serve.`,
		Example: `  piimg board set 91cdf03d staging
  piimg board set 91cdf03d sha256:4f1c9a02    # this image, whatever environments run
  piimg board set e4:5f:01:09:02:f7 --local   # its own SD card
  piimg board set 91cdf03d --off              # out of service
  piimg board unset 91cdf03d
  piimg board describe 91cdf03d --label role=kiosk --var hostname=lobby
  piimg board import boards.csv
  piimg board ls`,
	}
	c.AddCommand(newBoardSet(a), newBoardUnset(a), newBoardLs(a), newBoardHistory(a), newBoardDescribe(a), newBoardImport(a))
	return c
}

func newBoardSet(a *app) *cobra.Command {
	var local, off, force bool
	var reason string
	c := &cobra.Command{
		Use:   "set BOARD [ENV|IMAGE]",
		Short: "Assign a board to an environment, to one image, or to its own disk",
		Example: `  piimg board set 91cdf03d prod
  piimg board set 91cdf03d --local --reason "disk test"`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if local && off || (local || off) == (len(args) == 2) {
				return hint(usageError{errors.New("board set: say what the board is to run: an environment, an image, --local or --off")}, "piimg board set %s prod", args[0])
			}
			return a.setBoard(cmd.Context(), args[0], reason, func(s *store.Store, o board.Options) (board.Options, error) {
				switch {
				case local:
					o.Mode = board.Local
					return o, nil
				case off:
					o.Mode = board.Off
					return o, nil
				}
				return assignment(cmd.Context(), s, args[1], force, o)
			})
		},
	}
	c.Flags().BoolVar(&local, "local", false, "the board boots from its own disk")
	c.Flags().BoolVar(&off, "off", false, "the board is out of service and gets nothing")
	c.Flags().BoolVar(&force, "force", false, "allow an environment that has never run an image")
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return c
}

func newBoardUnset(a *app) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:     "unset BOARD",
		Short:   "Let a board run what boards run that nobody has set",
		Example: "  piimg board unset 91cdf03d",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.setBoard(cmd.Context(), args[0], reason, func(_ *store.Store, o board.Options) (board.Options, error) {
				o.Mode = board.Unset
				return o, nil
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return c
}

// setBoard assigns a board to what choose says, and prints that.
func (a *app) setBoard(ctx context.Context, name, reason string, choose func(*store.Store, board.Options) (board.Options, error)) error {
	id, err := board.ParseID(name)
	if err != nil {
		return usageError{err}
	}
	s, err := a.openLogs(ctx)
	if err != nil {
		return err
	}
	rules, err := a.rules()
	if err != nil {
		return err
	}
	o, err := choose(s, board.Options{Actor: a.actor(), Reason: reason, Now: a.now, Trusted: rules.TrustedYank(a.now())})
	if err != nil {
		return err
	}
	if !o.Image.IsZero() { // front ends ask the same
		if err := rules.CheckImage(ctx, s, "*", o.Image, a.now()); err != nil {
			return fmt.Errorf("assign board %s: %w", id, err)
		}
	}
	set, err := board.Set(ctx, s, id, o)
	if err != nil {
		return err
	}
	a.forewarn(ctx, s, set)
	_, err = fmt.Fprintf(a.out, "%s %s\n", set.Board, target(set))
	return err
}

// assignment is what ref means for a board: an environment by its bare name, and else
// the image that it resolves to now. An environment that has never run anything is
// probably mistyped.
func assignment(ctx context.Context, s *store.Store, ref string, force bool, o board.Options) (board.Options, error) {
	o.Mode = board.Net
	if store.CheckEnv(ref) != nil {
		found, err := resolve(ctx, s, ref)
		o.Image = found.Image
		return o, err
	}
	o.Env = ref
	if _, err := env.Head(ctx, s, ref); err != nil && !force {
		return o, hint(err, "--force assigns the board to an environment that is still to come")
	}
	return o, nil
}

// target is what a board runs, for people.
func target(b board.Assignment) string {
	switch {
	case b.Mode != board.Net:
		return string(b.Mode)
	case b.Env != "":
		return b.Env
	}
	return b.Image.Short()
}

func newBoardLs(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "ls",
		Short:   "List the boards that have been set",
		Example: "  piimg board ls",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.openStore(cmd.Context())
			if err != nil {
				return err
			}
			known, err := board.Snapshot(cmd.Context(), s, nil)
			if known == nil || cmd.Context().Err() != nil {
				return err
			}
			boards := []board.Assignment{}
			for _, id := range slices.Sorted(maps.Keys(known)) {
				boards = append(boards, known[id])
			}
			show := a.printBoards
			if asJSON {
				show = func(all []board.Assignment) error { return a.printJSON(all) }
			}
			return cmp.Or(show(boards), err) // those that cannot be read are missing
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the list as JSON")
	return c
}

func newBoardHistory(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "history BOARD",
		Short:   "Show what a board was set to, when, by whom and why",
		Example: "  piimg board history 91cdf03d",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := board.ParseID(args[0])
			if err != nil {
				return usageError{err}
			}
			s, err := a.openStore(cmd.Context())
			if err != nil {
				return err
			}
			steps, err := board.History(cmd.Context(), s, id)
			if err != nil {
				return err
			}
			slices.Reverse(steps)
			if asJSON {
				return a.printJSON(steps)
			}
			return a.printBoards(steps)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the history as JSON, the newest step first")
	return c
}

func (a *app) printBoards(boards []board.Assignment) error {
	return table(a.out, "BOARD\tRUNS\tSET\tBY\tREASON", func(line func(string, ...any)) {
		for _, b := range boards {
			line("%s\t%s\t%s\t%s\t%s", b.Board, target(b), when(b.Time), b.Actor, b.Reason)
		}
	})
}
