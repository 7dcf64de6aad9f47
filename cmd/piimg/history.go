package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"piimg/pipeline"
	"piimg/pipeline/inspect"
	"piimg/store"
	"piimg/store/env"
)

func newHistory(a *app) *cobra.Command {
	var asJSON bool
	var limit int
	c := &cobra.Command{
		Use:   "history ENV",
		Short: "Show what an environment ran, when, by whom and why, and what changed",
		Long: `history shows the steps of an environment, the newest first: what each made it run, who did
so, when and why, who signed it, and what is new in its image, by file and by the release of
the kernel. piimg diff ENV@3 ENV@4 says more about that.` + "\n" + exitCodes,
		Example: `  piimg history prod
  piimg history prod -n 5 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.openStore(cmd.Context())
			if err != nil {
				return err
			}
			steps, err := a.history(cmd.Context(), s, args[0], limit)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(steps)
			}
			return a.printHistory(steps)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the history as JSON, the newest step first")
	c.Flags().IntVarP(&limit, "limit", "n", 0, "show so many steps at most (default: all)")
	return c
}

// step is one step of a history.
type step struct {
	env.Entry
	Digest   store.Digest `json:"digest"`                // of the stored entry
	SignedBy []string     `json:"signed_by"`             // who may, and did
	Ignored  []string     `json:"not_counted,omitempty"` // why other signatures do not count
	Changed  *change      `json:"changed,omitempty"`     // since the step before; absent where that cannot be said
}

// change is how the image of a step differs from the one before.
type change struct {
	Kernel *inspect.Change `json:"kernel,omitempty"`
	Files  []changedFile   `json:"files"`
}

type changedFile struct {
	Path string       `json:"path"`
	Kind inspect.Kind `json:"kind"`
}

// history are the steps of an environment, the newest first.
func (a *app) history(ctx context.Context, s *store.Store, name string, limit int) ([]step, error) {
	entries, err := entries(ctx, s, name, limit)
	if err != nil {
		return nil, err
	}
	r, err := a.rules()
	if err != nil {
		a.ui.warn("who signed cannot be said: %v", err)
	}
	seen := sides{ctx, s, map[store.Digest]*brief{}}
	steps := []step{}
	for _, e := range entries {
		v := r.Signers(e, a.now())
		steps = append(steps, step{Entry: e, Digest: e.Digest, SignedBy: v.Names(), Ignored: v.Bad, Changed: seen.change(e.From, e.Image)})
	}
	return steps, ctx.Err()
}

// entries are the last limit entries of an environment, all where that is 0, the newest first.
func entries(ctx context.Context, s *store.Store, name string, limit int) ([]env.Entry, error) {
	if limit > 0 {
		return env.Recent(ctx, s, name, limit)
	}
	all, err := env.History(ctx, s, name)
	slices.Reverse(all)
	return all, err
}

// sides are the images of a history, each read once. One that is gone or damaged is nil.
type sides struct {
	ctx   context.Context
	store *store.Store
	known map[store.Digest]*brief
}

type brief struct {
	files  []store.File
	kernel string
}

func (s sides) get(d store.Digest) *brief {
	got, known := s.known[d]
	if known {
		return got
	}
	if i, err := s.store.Image(s.ctx, d); err == nil {
		if c, err := pipeline.ReadConfig(s.ctx, s.store, i); err == nil {
			got = &brief{i.Files, c.KernelRelease}
		}
	}
	s.known[d] = got
	return got
}

// change is nil where one of the images is not there.
func (s sides) change(from, to store.Digest) *change {
	if from.IsZero() {
		return nil
	}
	old, new := s.get(from), s.get(to)
	if old == nil || new == nil {
		return nil
	}
	c := &change{Files: []changedFile{}}
	if old.kernel != new.kernel {
		c.Kernel = &inspect.Change{Old: old.kernel, New: new.kernel}
	}
	for _, f := range inspect.CompareFiles(old.files, new.files) {
		c.Files = append(c.Files, changedFile{f.Path, f.Kind})
	}
	return c
}

// String is the change in a few words.
func (c *change) String() string {
	const few = 2
	switch {
	case c == nil:
		return ""
	case len(c.Files) == 0:
		return "no file"
	}
	var words []string
	if c.Kernel != nil {
		words = append(words, fmt.Sprintf("kernel %s → %s", c.Kernel.Old, c.Kernel.New))
	}
	if len(c.Files) > few {
		return strings.Join(append(words, fmt.Sprintf("%d files", len(c.Files))), ", ")
	}
	for _, f := range c.Files {
		word := f.Path
		if f.Kind != inspect.Changed {
			word += " " + string(f.Kind)
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

func (a *app) printHistory(steps []step) error {
	signed := slices.ContainsFunc(steps, func(s step) bool { return len(s.Sigs) > 0 })
	header := "STEP\tIMAGE\tACTION\tWHEN\tBY\tCHANGED\tREASON"
	if signed {
		header = strings.Replace(header, "BY", "BY\tSIGNED BY", 1)
	}
	return table(a.out, header, func(line func(string, ...any)) {
		for _, e := range steps {
			cells := []any{fmt.Sprintf("%s@%d", e.Env, e.Seq), e.Image.Short(), e.does(), when(e.Time), e.Actor}
			if signed {
				cells = append(cells, strings.Join(append(e.SignedBy, e.Ignored...), ", "))
			}
			cells = append(cells, e.Changed.String(), e.Reason)
			line(strings.Repeat("%s\t", len(cells)), cells...)
		}
	})
}

// does is what a step did.
func (s step) does() string {
	text := string(s.Action)
	if s.Source != nil {
		text += " from " + s.Source.String()
	}
	if s.Force {
		text += " (forced)"
	}
	return text
}
