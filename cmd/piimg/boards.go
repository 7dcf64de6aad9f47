package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"piimg/store"
	"piimg/store/board"
	"piimg/store/serve"
)

// boardLine is one board for people and programs.
type boardLine struct {
	Board     string          `json:"board"`
	Known     bool            `json:"known"` // somebody has set or described it
	Runs      string          `json:"runs"`
	Front     string          `json:"front,omitempty"` // that has seen it, where several were asked
	Address   netip.Addr      `json:"address,omitzero"`
	Image     store.Digest    `json:"image,omitzero"` // of its latest boot
	Seen      time.Time       `json:"seen,omitzero"`
	Milestone string          `json:"milestone,omitempty"`
	Restarts  int             `json:"restarts,omitempty"`
	Diagnosis []serve.Finding `json:"diagnosis,omitempty"`
	Reason    string          `json:"reason,omitempty"`
	Warning   string          `json:"warning,omitempty"`
}

func newBoards(a *app) *cobra.Command {
	var unknown, asJSON, asCSV bool
	var where sightings
	c := &cobra.Command{
		Use:   "boards",
		Short: "List all boards: what they are set to, and how their latest boot went",
		Long: `boards lists the boards that the store knows and those that a front end of this host has
seen. With --unknown it lists those that nobody has set or described, which are to be
adopted: piimg board set or piimg board describe does that, or for many of them piimg board
import with the list that --csv prints, filled in.

What was seen comes from the folder of piimg serve (--cache), which has the last boots of
each board, or over HTTP from any number of front ends (--from), of which the one counts that
has seen the board last.` + "\n" + exitCodes,
		Example: `  piimg boards
  piimg boards --from http://rack-a1:8080,http://rack-a2:8080
  piimg boards --unknown
  piimg boards --unknown --csv > rack-a1.csv
  piimg board describe 91cdf03d --label rack=a1   # adopt one`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			lines, err := a.boardLines(cmd.Context(), where)
			if err != nil {
				return err
			}
			if unknown {
				lines = slices.DeleteFunc(lines, func(l boardLine) bool { return l.Known })
			}
			switch {
			case asJSON:
				return a.printJSON(lines)
			case asCSV:
				return a.printBoardList(lines)
			}
			return a.printBoardLines(lines)
		},
	}
	c.Flags().BoolVar(&unknown, "unknown", false, "only those that nobody has set or described")
	c.Flags().BoolVar(&asJSON, "json", false, "print the list as JSON")
	c.Flags().BoolVar(&asCSV, "csv", false, "print a list to fill in, for piimg board import")
	c.MarkFlagsMutuallyExclusive("json", "csv")
	where.flags(c)
	return c
}

// boardLines joins what the store knows with what was seen. A store that is away does not
// hide what was seen.
func (a *app) boardLines(ctx context.Context, where sightings) ([]boardLine, error) {
	lines := map[string]boardLine{}
	known, err := a.registered(ctx)
	if err != nil {
		a.ui.warn("what boards are set to is not known: %v", err)
	}
	for id, b := range known {
		lines[string(id)] = boardLine{Board: string(id), Known: b.Mode != board.Unset || !b.Details.IsZero(), Runs: target(b)}
	}
	seen, err := a.latest(ctx, where)
	if err != nil && (where.cache != "" || !errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	names := board.Names(known)
	for id, last := range seen {
		id = cmp.Or(string(names[board.ID(id)]), id)
		l, ok := lines[id]
		if !ok {
			l = boardLine{Board: id, Runs: string(board.Unset)}
		}
		if l.Seen.After(last.Seen) {
			continue // under another name
		}
		l.Address, l.Image, l.Seen, l.Milestone = last.Address, last.Image, last.Seen, last.Milestone.String()
		l.Restarts, l.Reason, l.Warning = last.Restarts, last.Reason, last.Warning
		l.Diagnosis, l.Front = last.Diagnosis, last.Front
		lines[id] = l
	}
	all := []boardLine{}
	for _, l := range lines {
		all = append(all, l)
	}
	slices.SortFunc(all, func(x, y boardLine) int { return cmp.Compare(x.Board, y.Board) })
	return all, nil
}

func (a *app) registered(ctx context.Context) (map[board.ID]board.Assignment, error) {
	s, err := a.openStore(ctx)
	if err != nil {
		return nil, err
	}
	return board.Snapshot(ctx, s, nil)
}

// printBoardList prints a list of boards as piimg board import reads it, with columns to fill in.
func (a *app) printBoardList(lines []boardLine) error {
	w := csv.NewWriter(a.out)
	rows := [][]string{{"board", "env", "label:rack", "var:hostname"}}
	for _, l := range lines {
		rows = append(rows, []string{l.Board, "", "", ""})
	}
	return w.WriteAll(rows)
}

func (a *app) printBoardLines(lines []boardLine) error {
	return table(a.out, "BOARD\tRUNS\tADDRESS\tIMAGE\tSEEN\tREACHED\tWHAT IS WRONG", func(line func(string, ...any)) {
		for _, l := range lines {
			address, image, seen := "", "", ""
			if l.Address.IsValid() {
				address, seen = l.Address.String(), when(l.Seen)
			}
			if !l.Image.IsZero() {
				image = l.Image.Short()
			}
			wrong := cmp.Or(l.Reason, l.Warning)
			if len(l.Diagnosis) > 0 {
				wrong = l.Diagnosis[0].Text
			}
			runs := l.Runs
			if !l.Known {
				runs = "unknown"
			}
			line("%s\t%s\t%s\t%s\t%s\t%s\t%s", l.Board, runs, address, image, seen, l.Milestone, wrong)
		}
	})
}
