package layout

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"piimg/store"
)

// Write writes images as a tar archive.
func Write(ctx context.Context, s *store.Store, w io.Writer, images []store.Digest, o Options) error {
	e, err := collect(ctx, s, images)
	if err != nil {
		return err
	}
	t := &archive{tar.NewWriter(w)}
	if err := t.folders(); err != nil {
		return err
	}
	if err := e.write(ctx, t, o); err != nil {
		return err
	}
	return t.Close()
}

// archive is a tar archive in which nothing depends on who writes it, where and when.
type archive struct{ *tar.Writer }

func (a *archive) folders() error {
	for _, name := range []string{"blobs/", "blobs/sha256/"} {
		if err := a.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: time.Unix(0, 0)}); err != nil {
			return err
		}
	}
	return nil
}

func (a *archive) file(name string, size int64, r io.Reader) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0)}
	if err := a.WriteHeader(h); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if _, err := io.Copy(a.Writer, r); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// WriteFile writes images as a tar archive to a file, which appears, or replaces another, as a
// whole.
func WriteFile(ctx context.Context, s *store.Store, file string, images []store.Digest, o Options) error {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it is gone already where all went well
	defer f.Close()
	if err := Write(ctx, s, f, images, o); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	err = errors.Join(f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return syncFolder(filepath.Dir(file))
}

// WriteDir writes images into a folder, which must not be there yet or be empty, and appears
// as a whole.
func WriteDir(ctx context.Context, s *store.Store, dir string, images []store.Digest, o Options) error {
	dir = strings.TrimRight(dir, "/")
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty: %w", dir, fs.ErrExist)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	e, err := collect(ctx, s, images)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := e.write(ctx, folder(tmp), o); err != nil {
		return fmt.Errorf("write %s: %w", dir, err)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // which removes an empty one alone
		return fmt.Errorf("write %s: %w", dir, err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return fmt.Errorf("write %s: %w", dir, err)
	}
	return syncFolder(filepath.Dir(dir))
}

type folder string

func (dir folder) file(name string, _ int64, r io.Reader) error {
	path := filepath.Join(string(dir), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close()) // a stick may be pulled out as soon as this is done
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
