package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"piimg/pipeline"
	"piimg/pipeline/inspect"
	"piimg/store"
)

func newExplain(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "explain IMAGE PATH",
		Short: "Say where a file of an image comes from",
		Long: `explain says which stage made a file, which key of the recipe asked for it, and which file
of which source it was. The file is a boot file, or an entry of the initramfs.` + "\n" + exitCodes,
		Example: `  piimg explain prod start4.elf
  piimg explain prod etc/motd`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.openStore(cmd.Context())
			if err != nil {
				return err
			}
			e, err := explain(cmd.Context(), s, args[0], args[1])
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(e)
			}
			a.printExplanation(e)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	return c
}

// explanation is where a file comes from.
type explanation struct {
	Path   string       `json:"path"`
	In     string       `json:"in,omitempty"` // the archive that it is an entry of
	Digest store.Digest `json:"digest,omitzero"`
	store.Origin
	Source store.Digest `json:"source_digest,omitzero"` // of the source that From is in
	Base   bool         `json:"base,omitempty"`         // the entry came with the base: Origin is that of the base
}

// explain looks name up among the boot files and then in the initramfs.
func explain(ctx context.Context, s *store.Store, ref, name string) (explanation, error) {
	i, c, err := readImage(ctx, s, ref)
	if err != nil {
		return explanation{}, err
	}
	e := explanation{Path: strings.TrimPrefix(name, "/")}
	if f, ok := i.File(e.Path); ok {
		e.Digest, e.Origin = f.Digest, c.Origins[f.Path]
	} else if err := e.inInitramfs(ctx, s, i, c); err != nil {
		return explanation{}, err
	}
	if source, _, ok := strings.Cut(e.From, ":"); ok {
		e.Source = c.Inputs[source]
	}
	return e, nil
}

func (e *explanation) inInitramfs(ctx context.Context, s *store.Store, i *store.Image, c pipeline.Config) error {
	archive, err := initramfsName(c)
	if err != nil {
		return err
	}
	f, ok := i.File(archive)
	if !ok {
		return hint(fmt.Errorf("image %s has no file %s", i.Digest.Short(), e.Path), "piimg show %s lists its files", i.Digest.Short())
	}
	entries, _, err := inspect.Entries(opener(ctx, s, f), true)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Path != e.Path {
			continue
		}
		e.In, e.Digest = archive, entry.Digest
		e.Origin, ok = c.Origins[archive+"!"+e.Path]
		if !ok {
			e.Origin, e.Base = c.Origins[archive], true
		}
		return nil
	}
	return hint(fmt.Errorf("image %s has no file %s, and its initramfs no such entry", i.Digest.Short(), e.Path),
		"piimg show %s lists its files, piimg initramfs ls %s the entries", i.Digest.Short(), i.Digest.Short())
}

func (a *app) printExplanation(e explanation) {
	line := func(what, value string) {
		if value != "" {
			fmt.Fprintf(a.out, "%-7s %s\n", what, printable(value))
		}
	}
	line("file", e.Path)
	line("in", e.In)
	if !e.Digest.IsZero() {
		line("digest", e.Digest.String())
	}
	line("stage", e.Stage)
	line("key", e.Key)
	line("from", e.From)
	if !e.Source.IsZero() {
		line("source", e.Source.String())
	}
	if e.Base {
		line("note", "the entry came with the base archive")
	}
}
