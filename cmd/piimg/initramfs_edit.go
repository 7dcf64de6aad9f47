package main

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/initrd/overlay"
	"piimg/pipeline/format/initrd/repack"
	"piimg/pipeline/trees"
	"piimg/recipes"
)

// editFlags are what initramfs edit is asked for.
type editFlags struct {
	output, mode, compression, level  string
	recompress, normalize             bool
	epoch                             int64
	overlays, adds, symlinks, folders []string
	removes, renames, chmods, chowns  []string
}

func newInitramfsEdit(a *app, l *limitFlag) *cobra.Command {
	var f editFlags
	c := &cobra.Command{
		Use:   "edit FILE|IMAGE --output FILE [flags]",
		Short: "Write an initramfs with files added, removed, renamed and changed",
		Long: `edit changes an initramfs in one pass, as an ordinary user and without unpacking it: device
nodes, hard links, owners and times of the base stay. Paths have no leading slash; in globs
* ? and [] stand for anything within one element of a path, ** for any number of elements.

Where one more archive behind the base does it, the base's bytes stay and that archive is
appended; an overlay that was appended before takes in the new files. What removes, renames
or changes files of the base writes it anew. Removing and renaming come first, then files
are added, then modes and owners are set. An edit that matches nothing is an error. The same
input and the same edits give the same bytes; the times of new files are --epoch. Without
any edit --compression writes everything in that format.

An overlay is a folder that is laid over the root; what a checkout cannot hold, owners,
modes and nodes, stands in its file ` + overlay.MetaFile + `.` + "\n" + exitCodes,
		Example: `  piimg initramfs edit rootfs.cpio.gz -o new.cpio.gz --overlay overlay --chmod 0600:etc/shadow
  piimg initramfs edit prod -o slim.cpio.gz --remove 'usr/share/doc/**' --rename sbin/init.new:sbin/init
  piimg initramfs edit rootfs.cpio.gz -o rootfs.cpio.zst --compression zstd --normalize`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.editInitramfs(cmd.Context(), args[0], f, *l) },
	}
	fl := c.Flags()
	fl.StringVarP(&f.output, "output", "o", "", `file to write, "-" for stdout`)
	fl.StringArrayVar(&f.overlays, "overlay", nil, "lay the folder `DIR` over the root")
	fl.StringArrayVar(&f.adds, "add", nil, "add a file, as `FILE:PATH`, mode 0644 or 0755")
	fl.StringArrayVar(&f.symlinks, "symlink", nil, "add a symlink, as `TARGET:PATH`")
	fl.StringArrayVar(&f.folders, "mkdir", nil, "add the folder `PATH`, mode 0755")
	fl.StringArrayVar(&f.removes, "remove", nil, "remove what matches `GLOB`, folders with all that is in them")
	fl.StringArrayVar(&f.renames, "rename", nil, "rename a file or folder, as `FROM:TO`")
	fl.StringArrayVar(&f.chmods, "chmod", nil, "set the mode of what matches, as `MODE:GLOB`")
	fl.StringArrayVar(&f.chowns, "chown", nil, "set the owner of what matches, as `UID:GID:GLOB`")
	fl.StringVar(&f.mode, "mode", "auto", "auto, append or repack")
	fl.StringVar(&f.compression, "compression", "", "gzip, zstd or none, of what is written anew (default: as it is)")
	fl.StringVar(&f.level, "level", "auto", "auto, fast, default or best")
	fl.BoolVar(&f.recompress, "recompress", false, "compress all of the base anew")
	fl.BoolVar(&f.normalize, "normalize", false, "make one sorted archive, with inodes and times of its own")
	fl.Int64Var(&f.epoch, "epoch", sourceDateEpoch(), "time of new files, Unix seconds; SOURCE_DATE_EPOCH where that is set")
	_ = c.MarkFlagRequired("output")
	return c
}

func sourceDateEpoch() int64 {
	if v, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return v
	}
	return recipes.DefaultEpoch
}

func (a *app) editInitramfs(ctx context.Context, what string, f editFlags, l limitFlag) error {
	o, err := f.options()
	if err != nil {
		return usageError{err}
	}
	edits, err := f.edits()
	if err != nil {
		return err
	}
	base, err := a.editBase(ctx, what, l, &o)
	if err != nil {
		return err
	}
	defer base.Close()
	write, err := f.plan(base, edits, o)
	if err != nil {
		return fmt.Errorf("edit %s: %w", what, err)
	}
	var stats repack.Stats
	digest, err := a.writeTo(f.output, func(w *output) (err error) {
		stats, err = write(ctx, w)
		return err
	})
	if err != nil {
		return fmt.Errorf("edit %s: %w", what, err)
	}
	a.ui.say("%s: %s in %s, %d added, %d removed, %d changed, %s of the base's bytes kept",
		digest.Short(), size(stats.Written), archives(stats.Archives), stats.Added, stats.Removed, stats.Changed, size(stats.Reused))
	return nil
}

// editBase is what is edited.
type editBase struct {
	*os.File
	size int64
	tree *initrd.Tree
	hash hash.Hash // behind all of its bytes
}

// editBase opens and reads what names a file or an image, and completes o.
func (a *app) editBase(ctx context.Context, what string, l limitFlag, o *repack.Options) (*editBase, error) {
	kept, _, _ := a.buildDirs() // without a home nothing is kept
	known := trees.In(kept)
	file, limits, err := a.spoolInitramfs(ctx, what, l)
	if err != nil {
		return nil, err
	}
	o.Limits, o.ReadTree = limits, known.Read
	b := &editBase{File: file}
	if b.size, err = file.Seek(0, io.SeekEnd); err == nil {
		b.tree, b.hash, err = known.ReadHash(file, b.size, limits)
	}
	if err == nil {
		err = b.tree.Damage()
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("edit %s: %w", what, err)
	}
	return b, nil
}

func archives(n int) string {
	if n == 1 {
		return "1 archive"
	}
	return fmt.Sprintf("%d archives", n)
}

// writer writes an edited initramfs.
type writer func(ctx context.Context, w *output) (repack.Stats, error)

// plan decides how the edits are made.
func (f editFlags) plan(base *editBase, edits repack.Edits, o repack.Options) (writer, error) {
	settled, err := edits.Settle(base.tree)
	if err != nil {
		return nil, err
	}
	rewrites := f.mode == "repack" || f.recompress || f.normalize || len(settled.Add) == 0 && f.compression != "" && f.mode == "auto"
	switch {
	case f.mode == "append" && settled.Rewrites != "":
		return nil, hint(usageError{fmt.Errorf("%s changes %s of the base, which an archive behind it cannot", settled.Rewrites, settled.Needs)}, "leave --mode out, or say --mode repack: the base is then written anew")
	case f.mode == "append" && rewrites:
		return nil, usageError{errors.New("--recompress and --normalize write the base anew, and --mode is append")}
	case f.normalize:
		return func(ctx context.Context, w *output) (repack.Stats, error) {
			return repack.Normalize(ctx, base, base.size, settled.Edits, func() (repack.Scratch, error) { return scratch() }, w, o)
		}, nil
	case rewrites || settled.Rewrites != "":
		return func(ctx context.Context, w *output) (repack.Stats, error) {
			return repack.Repack(ctx, base, base.size, settled.Edits, w, o)
		}, nil
	case len(settled.Add) == 0:
		return func(ctx context.Context, w *output) (repack.Stats, error) {
			return repack.Append(ctx, base, base.size, base.tree, nil, w, o)
		}, nil
	}
	return func(ctx context.Context, w *output) (repack.Stats, error) {
		return base.append(ctx, settled.Add, w, o)
	}, nil
}

// append is [repack.Append] to a file.
func (b *editBase) append(ctx context.Context, adds []repack.Add, w *output, o repack.Options) (repack.Stats, error) {
	seam, err := repack.FindSeam(b, b.size, b.tree, o)
	if err != nil {
		return repack.Stats{}, err
	}
	if seam.At == b.size {
		err = w.begin(b.File, b.size, b.hash)
	} else {
		_, err = io.Copy(w, io.NewSectionReader(b, 0, seam.At))
	}
	if err != nil {
		return repack.Stats{}, err
	}
	return seam.Append(ctx, w, adds, o)
}

// scratch is an empty file without a name.
func scratch() (*os.File, error) {
	f, err := os.CreateTemp("", "piimg-")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// spoolInitramfs is a file, or the initramfs of an image, to be read from anywhere, and
// what it may ask for.
func (a *app) spoolInitramfs(ctx context.Context, what string, l limitFlag) (*os.File, initrd.Limits, error) {
	src, err := a.openInitramfs(ctx, what, l)
	if err != nil {
		return nil, initrd.Limits{}, err
	}
	r, err := src.Open()
	if err != nil {
		return nil, initrd.Limits{}, err
	}
	if f, ok := r.(*os.File); ok {
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s is no file", what)
		}
		return f, src.Limits, err
	}
	defer r.Close()
	f, err := scratch()
	if err != nil {
		return nil, src.Limits, err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return nil, src.Limits, fmt.Errorf("read the initramfs of %s: %w", what, err)
	}
	return f, src.Limits, nil
}
