package main

import (
	"context"
	"errors"
	"fmt"
	"time"

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
  piimg board ls`,
	}
	c.AddCommand(newBoardSet(a), newBoardLs(a))
	return c
}

func newBoardSet(a *app) *cobra.Command {
	var local bool
	var reason string
	c := &cobra.Command{
		Use:   "set BOARD [ENV|IMAGE]",
		Short: "Assign a board to an environment, to one image, or to its own disk",
		Example: `  piimg board set 91cdf03d prod
  piimg board set 91cdf03d --local --reason "disk test"`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if local == (len(args) == 2) {
				return hint(usageError{errors.New("board set: say what the board is to run: an environment, an image or --local")}, "piimg board set %s prod", args[0])
			}
			id, err := board.ParseID(args[0])
			if err != nil {
				return usageError{err}
			}
			s, err := a.openStore(cmd.Context())
			if err != nil {
				return err
			}
			o := board.Options{Mode: board.Local, Actor: a.actor(), Reason: reason, Now: a.now}
			if !local {
				if o, err = assignment(cmd.Context(), s, args[1], o); err != nil {
					return err
				}
			}
			set, err := board.Set(cmd.Context(), s, id, o)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s %s\n", set.Board, target(set))
			return nil
		},
	}
	c.Flags().BoolVar(&local, "local", false, "the board boots from its own disk")
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return c
}

// assignment is what ref means for a board: an environment by its bare name, and else
// the image that it resolves to now.
func assignment(ctx context.Context, s *store.Store, ref string, o board.Options) (board.Options, error) {
	o.Mode = board.Net
	if store.CheckEnv(ref) == nil {
		o.Env = ref
		return o, nil
	}
	found, err := env.Resolve(ctx, s, ref)
	o.Image = found.Image
	return o, err
}

// target is what a board runs, for people.
func target(b board.Assignment) string {
	switch {
	case b.Mode == board.Local:
		return "local"
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
			ids, err := board.List(cmd.Context(), s)
			if err != nil {
				return err
			}
			boards := []board.Assignment{}
			for _, id := range ids {
				b, err := board.Get(cmd.Context(), s, id)
				if err != nil {
					return err
				}
				boards = append(boards, b)
			}
			if asJSON {
				return a.printJSON(boards)
			}
			return table(a.out, "BOARD\tRUNS\tSET\tBY\tREASON", func(line func(string, ...any)) {
				for _, b := range boards {
					line("%s\t%s\t%s\t%s\t%s", b.Board, target(b), b.Time.Local().Format(time.DateTime), b.Actor, b.Reason)
				}
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the list as JSON")
	return c
}
