package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/term"

	"piimg/pipeline"
	"piimg/store"
	"piimg/store/board"
)

// bootFiles is one image with what it takes to write its files somewhere.
type bootFiles struct {
	store  *store.Store
	image  *store.Image
	config pipeline.Config
}

// exportFiles writes the boot files of one image, in the form that to says, and prints
// the image's digest.
func (a *app) exportFiles(ctx context.Context, to exportTo, ref string) error {
	s, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	b := bootFiles{store: s}
	if b.image, b.config, err = readImage(ctx, s, ref); err != nil {
		return err
	}
	a.warnOfTemplates(ctx, s, b.image.Digest)
	switch {
	case to.dir != "":
		err = b.writeDir(ctx, to.dir)
	case to.tar == "-":
		if f, ok := a.out.w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return hint(usageError{errors.New("an archive is not for a terminal")}, "piimg export %s --tar FILE.tar", ref)
		}
		return b.writeTar(ctx, a.out)
	case to.tar != "":
		err = replaceFile(to.tar, func(w io.Writer) error { return b.writeTar(ctx, w) })
	case to.tftproot != "":
		err = a.writeTFTPRoot(ctx, b, to)
	case to.sdcard != "":
		err = a.writeSDCard(ctx, b, to)
	}
	if err != nil {
		return fmt.Errorf("export %s: %w", ref, err)
	}
	fmt.Fprintln(a.out, b.image.Digest)
	return nil
}

// writeDir writes the files into a new or an empty folder.
func (b bootFiles) writeDir(ctx context.Context, dir string) error {
	if left, err := os.ReadDir(dir); err == nil && len(left) > 0 {
		return hint(fmt.Errorf("%s is not empty", dir), "name a new folder: files of another image would stay among these")
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), ".piimg-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := b.fill(ctx, tmp); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(tmp, dir)
}

// fill writes the files into an empty folder.
func (b bootFiles) fill(ctx context.Context, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range b.image.Files {
		if err := b.fillFile(ctx, root, f); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return nil
}

func (b bootFiles) fillFile(ctx context.Context, root *os.Root, f store.File) error {
	if err := root.MkdirAll(path.Dir(f.Path), 0o755); err != nil {
		return err
	}
	in, err := b.store.OpenFile(ctx, f)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := root.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(f.Mode))
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	when := time.Unix(b.config.Epoch, 0)
	return root.Chtimes(f.Path, when, when)
}

// writeTar writes the files as an archive: everything is root's and of the image's epoch.
func (b bootFiles) writeTar(ctx context.Context, w io.Writer) error {
	t := tar.NewWriter(w)
	when := time.Unix(b.config.Epoch, 0).UTC()
	made := map[string]bool{".": true}
	for _, f := range b.image.Files {
		if err := tarFolders(t, path.Dir(f.Path), when, made); err != nil {
			return err
		}
		h := tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Size: f.Size, Mode: int64(f.Mode), ModTime: when, Format: tar.FormatPAX}
		if err := t.WriteHeader(&h); err != nil {
			return err
		}
		in, err := b.store.OpenFile(ctx, f)
		if err != nil {
			return err
		}
		_, err = io.Copy(t, in)
		in.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return t.Close()
}

func tarFolders(t *tar.Writer, dir string, when time.Time, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := tarFolders(t, path.Dir(dir), when, made); err != nil {
		return err
	}
	made[dir] = true
	return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: when, Format: tar.FormatPAX})
}

// writeTFTPRoot writes the files below the folder that has the digest in its name, unless
// they are there, and lets the boards' names lead to it.
func (a *app) writeTFTPRoot(ctx context.Context, b bootFiles, to exportTo) error {
	var ids []board.ID
	for _, name := range to.boards {
		id, err := board.ParseID(name)
		if err != nil {
			return usageError{fmt.Errorf("board %q: %w", name, err)}
		}
		ids = append(ids, id)
	}
	target := filepath.Join("images", b.image.Digest.Hex())
	dir := filepath.Join(to.tftproot, target)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) { // it comes into being as a whole
		err = b.writeDir(ctx, dir)
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	for _, id := range ids {
		if err := relink(target, filepath.Join(to.tftproot, string(id))); err != nil {
			return err
		}
	}
	if len(ids) == 0 {
		a.ui.say("%s has the files; --board lets a board's name lead there", dir)
	}
	return nil
}

// relink makes name a symbolic link to target, in one step. What is there and is no link
// is left alone.
func relink(target, name string) error {
	if info, err := os.Lstat(name); err == nil && info.Mode().Type() != fs.ModeSymlink {
		return hint(fmt.Errorf("%s is there and is no symbolic link", name), "move it away: piimg replaces links only")
	}
	tmp := fmt.Sprintf("%s.piimg-%d", name, os.Getpid())
	if err := os.Symlink(target, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, name); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return nil
}
