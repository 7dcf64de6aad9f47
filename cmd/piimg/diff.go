package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"piimg/pipeline"
	"piimg/pipeline/inspect"
	"piimg/store"
)

func newDiff(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "diff IMAGE IMAGE",
		Short: "Show how two images differ",
		Long: `diff shows what the second image has that the first has not: files, the kernel's release,
lines of config.txt and cmdline.txt, nodes and properties of device trees, entries of the
initramfs, and what a front end and a board would newly download. Where one initramfs is
damaged, what stands behind the damage is not compared, and diff ends with 3.` + "\n" + exitCodes,
		Example: `  piimg diff prod staging
  piimg diff prod~1 prod`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.openStore(cmd.Context())
			if err != nil {
				return err
			}
			old, err := side(cmd.Context(), s, args[0])
			if err != nil {
				return err
			}
			new, err := side(cmd.Context(), s, args[1])
			if err != nil {
				return err
			}
			d, err := inspect.Compare(old, new)
			if err != nil {
				return err
			}
			show := a.printDiff
			if asJSON {
				show = func(d *inspect.Diff) error { return a.printJSON(d) }
			}
			if err := show(d); err != nil || len(d.Damage) == 0 {
				return err
			}
			for _, text := range d.Damage {
				a.ui.warn("%s", printable(text))
			}
			return errFindings
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the differences as JSON")
	return c
}

// side is the image that ref names, ready to be compared.
func side(ctx context.Context, s *store.Store, ref string) (inspect.Side, error) {
	i, c, err := readImage(ctx, s, ref)
	if err != nil {
		return inspect.Side{}, err
	}
	side := inspect.Side{Name: ref, Kernel: c.KernelRelease, List: i.Files, Files: pipeline.FS(ctx, s, i.Files)}
	r, err := recipeOf(c)
	if err == nil && r.Initramfs != nil {
		side.Initramfs, side.Limits = r.Initramfs.Name, r.Initramfs.Limits.Format()
	}
	return side, err
}

func (a *app) printDiff(d *inspect.Diff) error {
	if d.Kernel != nil {
		fmt.Fprintf(a.out, "kernel %s → %s\n\n", d.Kernel.Old, d.Kernel.New)
	}
	if len(d.Files) == 0 {
		a.ui.say("no file differs")
		return nil
	}
	err := table(a.out, "CHANGE\tSIZE\tFILE", func(line func(string, ...any)) {
		for _, f := range d.Files {
			line("%s\t%s\t%s", f.Kind, sizes(f), f.Path)
		}
	})
	if err != nil {
		return err
	}
	for _, t := range d.Texts {
		fmt.Fprintf(a.out, "\n%s\n%s", t.Path, t.Diff)
	}
	for _, t := range d.Trees {
		fmt.Fprintf(a.out, "\n%s\n", t.Path)
		for _, n := range t.Nodes {
			fmt.Fprintf(a.out, "  %s\n", describe(n))
		}
	}
	if len(d.Entries) > 0 {
		fmt.Fprintln(a.out)
		if err := a.printEntryChanges(d.Entries); err != nil {
			return err
		}
	}
	fmt.Fprintf(a.out, "\nnew for a front end: %s; new for a board: %s\n", size(d.Fetch), size(d.Boot))
	return nil
}

func sizes(f inspect.FileChange) string {
	switch f.Kind {
	case inspect.Added:
		return size(f.New.Size)
	case inspect.Removed:
		return size(f.Old.Size)
	case inspect.Mode:
		return fmt.Sprintf("%04o → %04o", f.Old.Mode, f.New.Mode)
	}
	return size(f.Old.Size) + " → " + size(f.New.Size)
}

// describe is a change of a device tree in one line.
func describe(n inspect.NodeChange) string {
	what := n.Node
	if n.Property != "" {
		what += " " + n.Property
	}
	switch n.Kind {
	case inspect.Added:
		return fmt.Sprintf("+ %s %s", what, n.New)
	case inspect.Removed:
		return fmt.Sprintf("- %s %s", what, n.Old)
	}
	return fmt.Sprintf("  %s %s → %s", what, n.Old, n.New)
}
