package layout

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"piimg/store"
)

// file is one of a layout that is read.
type file struct {
	size int64
	open func() (io.ReadCloser, error)
}

// files are those of a layout, by their paths. Others may lie beside them: they are not
// looked at.
type files map[string]file

func (all files) has(name string) bool {
	_, ok := all[name]
	return ok
}

// wanted says whether name is that of a file of a layout, or that of a blob.
func wanted(name string) bool {
	if name == versionFile || name == indexFile {
		return true
	}
	d, err := store.ParseHex(path.Base(name))
	return err == nil && store.BlobKey(d) == name
}

// readFolder finds the files in a folder. Symbolic links are not followed.
func readFolder(root *os.Root) (files, error) {
	all := files{}
	names := []string{versionFile, indexFile}
	dir, err := root.Open("blobs/sha256")
	if err != nil {
		return nil, fmt.Errorf("%w: it has no blobs: %w", store.ErrCorrupt, err)
	}
	defer dir.Close()
	blobs, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	for _, name := range blobs {
		names = append(names, "blobs/sha256/"+name)
	}
	for _, name := range names {
		info, err := root.Lstat(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err != nil || !info.Mode().IsRegular() || !wanted(name) {
			continue
		}
		all[name] = file{info.Size(), func() (io.ReadCloser, error) { return root.Open(name) }}
	}
	return all, nil
}

// most is how many entries an archive may have.
const most = 1_000_000

// readArchive finds the files in a tar archive, by reading its headers alone: nothing is
// unpacked, so nothing in it can grow, and a path in it leads nowhere.
func readArchive(ctx context.Context, f *os.File) (files, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := packed(f); err != nil {
		return nil, err
	}
	all := files{}
	t := tar.NewReader(f) // which seeks over content
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h, err := t.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: it is no whole tar archive: %w", store.ErrCorrupt, err)
		}
		if n == most {
			return nil, fmt.Errorf("%w: it has more than %d entries", store.ErrCorrupt, most)
		}
		if err := all.add(f, info.Size(), h); err != nil {
			return nil, err
		}
	}
}

// packed says that a file is compressed, as archives often are.
func packed(f *os.File) error {
	start := make([]byte, 4)
	if _, err := f.ReadAt(start, 0); err != nil && err != io.EOF {
		return err
	}
	for _, magic := range []string{"\x1f\x8b", "\x28\xb5\x2f\xfd", "\xfd7zX", "BZh"} {
		if bytes.HasPrefix(start, []byte(magic)) {
			return errors.New("it is compressed: decompress it first, for what it holds mostly is already")
		}
	}
	return nil
}

// add adds the entry h of the archive f, whose content begins where f stands.
func (all files) add(f *os.File, end int64, h *tar.Header) error {
	name := strings.TrimPrefix(h.Name, "./")
	if name == "" || h.Typeflag == tar.TypeDir && fs.ValidPath(strings.TrimSuffix(name, "/")) {
		return nil
	}
	start, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	switch {
	case !fs.ValidPath(name) || strings.Contains(name, `\`):
		return fmt.Errorf("%w: entry %q leads out of the layout", store.ErrCorrupt, h.Name)
	case h.Typeflag != tar.TypeReg || sparse(h):
		return fmt.Errorf("%w: entry %q is no plain file", store.ErrCorrupt, h.Name)
	case all.has(name):
		return fmt.Errorf("%w: entry %q comes twice", store.ErrCorrupt, h.Name)
	case h.Size > end-start:
		return fmt.Errorf("%w: it ends within entry %q", store.ErrCorrupt, h.Name)
	case wanted(name):
		all[name] = file{h.Size, func() (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(f, start, h.Size)), nil
		}}
	}
	return nil
}

// sparse says whether an entry says that it has more content than the archive holds.
func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}
