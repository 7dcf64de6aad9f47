package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"piimg/store/board"
	"piimg/store/serve"
)

func newTrail(a *app) *cobra.Command {
	var follow, asJSON bool
	var where sightings
	c := &cobra.Command{
		Use:   "trail BOARD",
		Short: "Show the last boots of a board: each file, how far it came, what went wrong",
		Long: `trail shows the last boots that the front end of this host has seen of a board: every file
with its result and the bytes that the board has taken, the furthest milestone, how often
the board has started over, and what probably went wrong, from a table of failures that
owners of boards have met. It reads the folder of piimg serve (--cache), or asks front ends
over HTTP (--from).

Results: ok, missing, probe (looked for and broken off, which is usual), aborted, error.` + "\n" + exitCodes,
		Example: `  piimg trail 91cdf03d
  piimg trail e4:5f:01:09:02:f7 --follow
  piimg trail 91cdf03d --from http://rack-a1:8080,http://rack-a2:8080`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := board.ParseID(args[0])
			if err != nil {
				return usageError{err}
			}
			if follow && asJSON {
				return usageError{errors.New("trail: --follow and --json do not go together")}
			}
			boots, err := a.boots(cmd.Context(), where, string(id))
			if err != nil && !(follow && errors.Is(err, fs.ErrNotExist)) {
				return err
			}
			if asJSON {
				return a.printJSON(boots)
			}
			p := &trailPrinter{app: a}
			for err := p.show(boots, !follow); err != nil || !follow; {
				return err
			}
			return a.followTrail(cmd.Context(), p, where, string(id))
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until interrupted")
	c.Flags().BoolVar(&asJSON, "json", false, "print the boots as JSON")
	where.flags(c)
	return c
}

func (a *app) followTrail(ctx context.Context, p *trailPrinter, where sightings, id string) error {
	tick := time.NewTicker(where.every())
	defer tick.Stop()
	silent := false // no front end has answered
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		boots, err := a.boots(ctx, where, id)
		switch {
		case err == nil || errors.Is(err, fs.ErrNotExist):
			silent = false
		case len(where.from) == 0:
			return err
		case !silent && ctx.Err() == nil:
			silent = true
			a.ui.warn("%v", err) // it may be started anew
		}
		if err := p.show(boots, false); err != nil {
			return err
		}
	}
}

// trailPrinter prints what it has not printed yet.
type trailPrinter struct {
	app     *app
	opened  time.Time       // of the boot that was printed last
	events  int             // of it
	said    int             // findings of it
	reached serve.Milestone // that was said of it
}

// show prints what is new in boots. At the end of each it says what is wrong.
func (p *trailPrinter) show(boots []serve.Boot, whole bool) error {
	for n, b := range boots {
		if b.Opened.Before(p.opened) {
			continue
		}
		if !b.Opened.Equal(p.opened) {
			p.opened, p.events, p.said, p.reached = b.Opened, 0, 0, serve.Nothing
			p.header(b)
		}
		events := slices.Clone(b.Events[min(max(p.events-b.Dropped, 0), len(b.Events)):])
		slices.SortStableFunc(events, func(x, y serve.Event) int { return x.Time.Compare(y.Time) }) // they came when they ended
		for _, e := range events {
			fmt.Fprintf(p.app.out, "  %8.3fs  %-8s %-36s %10s %7d ms  %s\n", e.Time.Sub(b.Opened).Seconds(), printable(string(e.Result)), printable(e.Name), size(e.Bytes), e.Duration.Milliseconds(), printable(e.Protocol))
		}
		p.events = b.Dropped + len(b.Events)
		if whole || n < len(boots)-1 || len(b.Diagnosis) > p.said || b.Milestone >= serve.Kernel && b.Milestone > p.reached {
			p.footer(b)
			p.said, p.reached = len(b.Diagnosis), b.Milestone
		}
	}
	return p.app.out.err
}

func (p *trailPrinter) header(b serve.Boot) {
	what := "nothing"
	if !b.Image.IsZero() {
		what = b.Image.Short()
		if b.Env != "" {
			what += " (" + printable(b.Env) + ")"
		}
	}
	if b.Front != "" {
		what += " from " + b.Front
	}
	fmt.Fprintf(p.app.out, "%s  board %s at %s gets %s\n", when(b.Opened), printable(b.Board), b.Address, what)
	if b.Reason != "" {
		fmt.Fprintf(p.app.out, "  because %s\n", printable(b.Reason))
	}
	if b.Warning != "" {
		fmt.Fprintf(p.app.out, "  but %s\n", printable(b.Warning))
	}
}

func (p *trailPrinter) footer(b serve.Boot) {
	fmt.Fprintf(p.app.out, "  reached %s after %s: %d files, %s", b.Milestone, b.Seen.Sub(b.Opened).Round(time.Millisecond), b.Files, size(b.Bytes))
	if b.Restarts > 0 {
		fmt.Fprintf(p.app.out, ", started over %d times", b.Restarts)
	}
	fmt.Fprintln(p.app.out)
	for _, f := range b.Diagnosis {
		fmt.Fprintf(p.app.out, "  probably: %s\n", printable(f.Text))
	}
}
