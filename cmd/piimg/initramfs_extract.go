package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/initrd/overlay"
)

func newInitramfsExtract(a *app, l *limitFlag) *cobra.Command {
	return &cobra.Command{
		Use:   "extract FILE|IMAGE DIR [GLOB...]",
		Short: "Unpack an initramfs, or what globs pick of it, as an ordinary user",
		Long: `extract writes what a kernel would have after it has unpacked all archives into DIR, a new
or an empty folder. A glob that picks a folder picks all that is in it. Everything belongs
to the user who extracts it; owners, device nodes and modes that a checkout does not hold
stand in DIR/` + overlay.MetaFile + `, so that DIR as an overlay gives the same files back.` + "\n" + exitCodes,
		Example: `  piimg initramfs extract rootfs.cpio.gz root
  piimg initramfs extract prod overlay etc 'usr/lib/systemd/**/*.service'`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.extractInitramfs(cmd.Context(), args[0], args[1], args[2:], *l)
		},
	}
}

func (a *app) extractInitramfs(ctx context.Context, what, dir string, globs []string, l limitFlag) error {
	p := &picker{globs: globs, met: make([]bool, len(globs))}
	if err := p.check(); err != nil {
		return usageError{err}
	}
	src, limits, err := a.spoolInitramfs(ctx, what, l)
	if err != nil {
		return err
	}
	defer src.Close()
	read := func() io.Reader { return io.NewSectionReader(src, 0, 1<<62) }
	tree, err := initrd.ReadTree(read(), limits)
	if err != nil {
		return fmt.Errorf("extract %s: %w", what, err)
	}
	damage := a.warnOf(tree.Problems)
	if err := p.checkMet(tree); err != nil {
		return fmt.Errorf("extract %s: %w", what, err)
	}
	root, err := emptyFolder(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	done, err := overlay.Extract(root, tree, p.picks, func(visit func(initrd.Place, io.Reader) error) error {
		return tree.Bodies(read(), limits, visit)
	})
	if err != nil {
		return hint(fmt.Errorf("%s: %w", what, err), "remove %s before the next attempt", dir)
	}
	a.sayExtracted(dir, done)
	return damage
}

func (a *app) sayExtracted(dir string, x overlay.Extracted) {
	for _, name := range x.Left {
		a.ui.warn("%s is a socket, and was left out", printable(name))
	}
	note := ""
	if x.Rules > 0 {
		note = fmt.Sprintf("; %s says owners, modes and nodes of %d paths", overlay.MetaFile, x.Rules)
	}
	a.ui.say("%s: %d files with %s, %d folders, %d symlinks%s", dir, x.Files, size(x.Bytes), x.Folders, x.Symlinks, note)
}

// emptyFolder opens dir, which is made where it is not there.
func emptyFolder(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	in, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(in) > 0 {
		return nil, hint(fmt.Errorf("folder %s is not empty: %w", dir, fs.ErrExist), "name a new one")
	}
	return os.OpenRoot(dir)
}

// picker picks what globs match, and all below it; without globs everything.
type picker struct {
	globs []string
	met   []bool
}

func (p *picker) check() error {
	for n, glob := range p.globs {
		p.globs[n] = strings.TrimPrefix(glob, "/")
		if err := initrd.CheckGlob(p.globs[n]); err != nil {
			return err
		}
	}
	return nil
}

func (p *picker) picks(name string) bool {
	picked := len(p.globs) == 0
	for n, glob := range p.globs {
		for at := name; at != "."; at = path.Dir(at) {
			if initrd.Match(glob, at) {
				picked, p.met[n] = true, true
				break
			}
		}
	}
	return picked
}

// checkMet refuses globs that match nothing in the tree.
func (p *picker) checkMet(tree *initrd.Tree) error {
	for n := range tree.All() {
		p.picks(n.Path)
	}
	var errs []error
	for n, met := range p.met {
		if !met {
			errs = append(errs, fmt.Errorf("nothing matches %s", p.globs[n]))
		}
	}
	return errors.Join(errs...)
}
