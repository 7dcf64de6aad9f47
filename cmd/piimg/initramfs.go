package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"piimg/pipeline"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/inspect"
	"piimg/recipes"
	"piimg/store"
)

func newInitramfs(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "initramfs",
		Short: "Look into an initramfs, and change it",
		Long: `initramfs shows the root file system that a kernel makes of all archives of an initramfs:
later entries win, hard links share their content, entries without a parent are dropped.
What is looked at is a file, or the initramfs of an image of the store. Of a damaged one
they show what a kernel has by then, and end with 3.` + "\n" + exitCodes,
		Example: `  piimg initramfs ls prod 'etc/**'
  piimg initramfs cat rootfs.cpio.gz etc/os-release
  piimg initramfs diff prod staging
  piimg initramfs stat prod`,
	}
	var l limitFlag
	l.bind(c)
	c.AddCommand(newInitramfsLs(a, &l), newInitramfsCat(a, &l), newInitramfsDiff(a, &l), newInitramfsStat(a, &l), newInitramfsEdit(a, &l), newInitramfsExtract(a, &l))
	return c
}

func newInitramfsLs(a *app, l *limitFlag) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "ls FILE|IMAGE [GLOB]",
		Short: "List entries: type and mode, owner, size, archive, path",
		Example: `  piimg initramfs ls prod
  piimg initramfs ls rootfs.cpio.gz 'usr/bin/*'`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			entries, damage, err := a.entries(cmd.Context(), args[0], *l, asJSON)
			if err != nil {
				return err
			}
			if len(args) == 2 {
				if entries, err = matching(entries, args[1]); err != nil {
					return err
				}
			}
			if asJSON {
				return cmp.Or(a.printJSON(entries), damage)
			}
			for _, e := range entries {
				fmt.Fprintln(a.out, printable(e.Line()))
			}
			return damage
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the entries as JSON, with the digest of each file")
	return c
}

// matching are the entries that a glob stands for.
func matching(entries []inspect.Entry, glob string) ([]inspect.Entry, error) {
	glob = strings.TrimPrefix(glob, "/")
	if err := initrd.CheckGlob(glob); err != nil {
		return nil, usageError{err}
	}
	entries = slices.DeleteFunc(entries, func(e inspect.Entry) bool { return !initrd.Match(glob, e.Path) })
	if len(entries) == 0 {
		return nil, fmt.Errorf("nothing matches %s", glob)
	}
	return entries, nil
}

func newInitramfsCat(a *app, l *limitFlag) *cobra.Command {
	return &cobra.Command{
		Use:     "cat FILE|IMAGE PATH",
		Short:   "Print a file of an initramfs",
		Example: "  piimg initramfs cat prod etc/piimg-image",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			src, err := a.openInitramfs(cmd.Context(), args[0], *l)
			if err != nil {
				return err
			}
			problems, err := inspect.Cat(src, args[1], a.out)
			return cmp.Or(err, a.warnOf(problems))
		},
	}
}

func newInitramfsDiff(a *app, l *limitFlag) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "diff FILE|IMAGE FILE|IMAGE",
		Short:   "Show how two initramfs differ: entries, types, modes, owners, content",
		Example: "  piimg initramfs diff prod staging",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			old, damage, err := a.entries(cmd.Context(), args[0], *l, true)
			if err != nil {
				return err
			}
			new, more, err := a.entries(cmd.Context(), args[1], *l, true)
			if err != nil {
				return err
			}
			damage = cmp.Or(damage, more)
			changes := inspect.CompareEntries(old, new)
			switch {
			case asJSON:
				err = a.printJSON(changes)
			case len(changes) > 0:
				err = a.printEntryChanges(changes)
			case damage != nil:
				a.ui.say("no entry differs before the damage")
			default:
				a.ui.say("no entry differs")
			}
			return cmp.Or(err, damage)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the differences as JSON")
	return c
}

func (a *app) printEntryChanges(changes []inspect.EntryChange) error {
	return table(a.out, "CHANGE\tENTRY\tWHAT", func(line func(string, ...any)) {
		for _, c := range changes {
			line("%s\t%s\t%s", string(c.Kind), c.Path, c.What)
		}
	})
}

func newInitramfsStat(a *app, l *limitFlag) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "stat FILE|IMAGE",
		Short:   "Count what is in an initramfs, and say what a kernel would not unpack",
		Example: "  piimg initramfs stat rootfs.cpio.gz",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			src, err := a.openInitramfs(cmd.Context(), args[0], *l)
			if err != nil {
				return err
			}
			s, err := inspect.Count(src)
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(s)
			} else {
				a.printStat(s)
			}
			if err == nil && len(s.Problems) > 0 {
				return errFindings
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the numbers as JSON")
	return c
}

func (a *app) printStat(s inspect.Stat) {
	fmt.Fprintf(a.out, "archives  %d\nentries   %d in the archives, %d in the tree\ncontent   %s in files\n", s.Archives, s.Entries, s.Names, size(s.Content))
	for n, m := range s.Members {
		fmt.Fprintf(a.out, "archive   %d at byte %d, %s\n", n+1, m.Offset, cmp.Or(strings.TrimPrefix(m.Format, "none"), "not compressed"))
	}
	for _, p := range s.Problems {
		fmt.Fprintln(a.out, "problem  ", printable(p))
	}
}

// entries are the entries of what names a file or an image, and errFindings beside them
// where it is damaged. Problems are warnings.
func (a *app) entries(ctx context.Context, what string, l limitFlag, hash bool) (entries []inspect.Entry, damage, err error) {
	src, err := a.openInitramfs(ctx, what, l)
	if err != nil {
		return nil, nil, err
	}
	entries, problems, err := inspect.Entries(src, hash)
	damage = a.warnOf(problems)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", what, err)
	}
	return entries, damage, nil
}

// warnOf warns of what a kernel makes less of than it looks. Where it stops there, or
// an archive was cut off, the answer is errFindings: what comes behind is not shown.
func (a *app) warnOf(problems []initrd.Problem) error {
	var damage error
	for _, p := range problems {
		a.ui.warn("%s", printable(p.String()))
		if p.Stop || p.Cut {
			damage = errFindings
		}
	}
	return damage
}

// openInitramfs is a file, or the initramfs of an image.
func (a *app) openInitramfs(ctx context.Context, what string, l limitFlag) (inspect.Source, error) {
	limits, err := l.over(recipes.Limits{})
	if err != nil {
		return inspect.Source{}, err
	}
	if _, err := os.Stat(what); err == nil {
		return inspect.Source{Open: func() (io.ReadCloser, error) { return os.Open(what) }, Limits: limits.Format()}, nil
	}
	s, err := a.openStore(ctx)
	if err != nil {
		return inspect.Source{}, fmt.Errorf("%s is no file, and no image: %w", what, err)
	}
	i, c, err := readImage(ctx, s, what)
	var usage usageError
	if errors.As(err, &usage) || errors.Is(err, fs.ErrNotExist) {
		return inspect.Source{}, hint(fmt.Errorf("%s is neither a file nor an image", what), "piimg ls lists images")
	}
	if err != nil {
		return inspect.Source{}, err
	}
	return initramfsOf(ctx, s, i, c, l)
}

// initramfsOf is the initramfs of an image, as its recipe calls it, with the limits that it
// sets.
func initramfsOf(ctx context.Context, s *store.Store, i *store.Image, c pipeline.Config, l limitFlag) (inspect.Source, error) {
	r, err := recipeOf(c)
	if err != nil {
		return inspect.Source{}, err
	}
	if r.Initramfs == nil {
		return inspect.Source{}, fmt.Errorf("image %s has no initramfs", i.Digest.Short())
	}
	f, ok := i.File(r.Initramfs.Name)
	if !ok {
		return inspect.Source{}, fmt.Errorf("image %s has no %s", i.Digest.Short(), r.Initramfs.Name)
	}
	limits, err := l.over(r.Initramfs.Limits)
	return inspect.Source{Open: func() (io.ReadCloser, error) { return s.OpenFile(ctx, f) }, Limits: limits.Format()}, err
}

// initramfsName is what the recipe of an image calls its initramfs, "" without one.
func initramfsName(c pipeline.Config) (string, error) {
	r, err := recipeOf(c)
	if err != nil || r.Initramfs == nil {
		return "", err
	}
	return r.Initramfs.Name, nil
}

// recipeOf is the recipe that an image was made from.
func recipeOf(c pipeline.Config) (*recipes.Recipe, error) {
	var r recipes.Recipe
	if err := json.Unmarshal(c.Recipe, &r); err != nil {
		return nil, fmt.Errorf("recipe of %s: %w", c.Name, err)
	}
	return &r, nil
}
