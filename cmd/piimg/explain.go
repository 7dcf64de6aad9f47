package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"piimg/pipeline"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/inspect"
	"piimg/recipes"
	"piimg/store"
)

func newExplain(a *app) *cobra.Command {
	var asJSON bool
	var recipe string
	c := &cobra.Command{
		Use:   "explain IMAGE PATH",
		Short: "Say where a file of an image comes from",
		Long: `explain says which stage made a file, which key of the recipe asked for it, and which file
of which source it was. The file is a boot file, or an entry of the initramfs. With the
recipe that the image was made from it says the lines, too.` + "\n" + exitCodes,
		Example: `  piimg explain prod start4.elf
  piimg explain prod etc/motd --recipe recipes/pi4.toml`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.openStore(cmd.Context())
			if err != nil {
				return err
			}
			e, err := explain(cmd.Context(), s, args[0], args[1], recipe)
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
	c.Flags().StringVar(&recipe, "recipe", "", "the `FILE` that the image was made from, for the lines in it")
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
	Edits  []string     `json:"edits,omitempty"`        // keys of the rules that have renamed or changed it

	Lines map[string]string `json:"lines,omitempty"` // places in the recipe by key, where the recipe was given
}

// explain looks name up among the boot files and then in the initramfs.
func explain(ctx context.Context, s *store.Store, ref, name, recipe string) (explanation, error) {
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
	if recipe != "" {
		err = e.place(recipe, c)
	}
	return e, err
}

func (e *explanation) inInitramfs(ctx context.Context, s *store.Store, i *store.Image, c pipeline.Config) error {
	archive, err := initramfsName(c)
	if err != nil {
		return err
	}
	if _, ok := i.File(archive); !ok {
		return hint(fmt.Errorf("image %s has no file %s", i.Digest.Short(), e.Path), "piimg show %s lists its files", i.Digest.Short())
	}
	src, err := initramfsOf(ctx, s, i, c, nil)
	if err != nil {
		return err
	}
	entry, found, err := inspect.Find(src, e.Path)
	if err != nil {
		return err
	}
	if found {
		e.Path, e.In, e.Digest = entry.Path, archive, entry.Digest
		return e.edited(c)
	}
	return hint(fmt.Errorf("image %s has no file %s, and its initramfs no such entry", i.Digest.Short(), e.Path),
		"piimg show %s lists its files, piimg initramfs ls %s the entries", i.Digest.Short(), i.Digest.Short())
}

// edited says which edits of the recipe an entry is the result of.
func (e *explanation) edited(c pipeline.Config) error {
	r, err := recipeOf(c)
	if err != nil {
		return err
	}
	origin, ok := c.Origins[e.In+"!"+e.Path]
	if e.Origin = origin; !ok {
		e.Origin, e.Base = c.Origins[e.In], true
		for n, m := range r.Initramfs.Renames {
			if below, in := strings.CutPrefix(e.Path+"/", m.To+"/"); in {
				e.From += "!" + strings.TrimSuffix(m.From+"/"+below, "/")
				e.edit("initramfs.rename", n)
				break
			}
		}
	}
	for n, m := range r.Initramfs.Chmods {
		if initrd.Match(m.Glob, e.Path) {
			e.edit("initramfs.chmod", n)
		}
	}
	for n, m := range r.Initramfs.Chowns {
		if initrd.Match(m.Glob, e.Path) {
			e.edit("initramfs.chown", n)
		}
	}
	return nil
}

func (e *explanation) edit(table string, n int) {
	e.Edits = append(e.Edits, fmt.Sprintf("%s[%d]", table, n))
}

// place finds the lines of the keys in the recipe's file, if that still is what the image
// was made from.
func (e *explanation) place(file string, c pipeline.Config) error {
	r, err := recipes.LoadOptions{Epoch: &c.Epoch}.Load(file)
	if err != nil {
		return err
	}
	l, err := recipes.LoadLock(recipes.LockFile(file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if r.Digest(l) != c.RecipeDigest {
		return hint(fmt.Errorf("%s is not what the image was made from", file), "take the recipe and the lock file of that time, or leave --recipe out")
	}
	e.Lines = map[string]string{}
	for _, key := range append(e.Edits, e.Key) {
		if key != "" {
			e.Lines[key] = r.Pos(key).String()
		}
	}
	return nil
}

// at is a key with its place.
func (e *explanation) at(key string) string {
	if place := e.Lines[key]; place != "" {
		return key + " at " + place
	}
	return key
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
	line("key", e.at(e.Key))
	line("from", e.From)
	if !e.Source.IsZero() {
		line("source", e.Source.String())
	}
	for _, key := range e.Edits {
		line("changed", "by "+e.at(key))
	}
	if e.Base {
		line("note", "the entry came with the base archive")
	}
}
