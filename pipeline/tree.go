package pipeline

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"sort"

	"piimg/store"
)

// TreeDigest is the digest of a file tree, and the number of bytes in it. It covers the
// sorted paths, the types, the execute bit and the content: neither umask nor checkout
// nor time matters. The digest of a [OneFile] is that of its bytes.
//
// The form that is hashed is one line for each path but the root: "dir PATH",
// "file 0644|0755 SHA256 PATH" or "link TARGET PATH", with PATH and TARGET quoted as Go
// strings. Other types are an error.
func TreeDigest(fsys fs.FS) (store.Digest, int64, error) {
	if one, ok := fsys.(OneFile); ok {
		d, n, _, err := hashFile(one.Dir, one.Name)
		return d, n, err
	}
	var lines []string
	var total int64
	err := fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		line, n, err := treeLine(fsys, path, d)
		total += n
		lines = append(lines, line)
		return err
	})
	if err != nil {
		return store.Digest{}, 0, err
	}
	sort.Strings(lines)
	h := sha256.New()
	for _, l := range lines {
		fmt.Fprintln(h, l)
	}
	return store.Digest(h.Sum(nil)), total, nil
}

func treeLine(fsys fs.FS, path string, d fs.DirEntry) (string, int64, error) {
	switch d.Type() {
	case fs.ModeDir:
		return fmt.Sprintf("dir %q", path), 0, nil
	case fs.ModeSymlink:
		target, err := fs.ReadLink(fsys, path)
		return fmt.Sprintf("link %q %q", target, path), 0, err
	case 0:
		sum, n, mode, err := hashFile(fsys, path)
		return fmt.Sprintf("file %04o %s %q", mode, sum.Hex(), path), n, err
	}
	return "", 0, fmt.Errorf("%s is a %s: only files, folders and symlinks can be part of an image", path, d.Type())
}

// hashFile is the digest, the size and the normal mode of a regular file.
func hashFile(fsys fs.FS, path string) (store.Digest, int64, uint32, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return store.Digest{}, 0, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return store.Digest{}, 0, 0, err
	}
	sum, n, err := store.SumReader(f)
	return sum, n, NormalMode(info.Mode()), err
}

// NormalMode is 0755 for what its owner may execute and else 0644: what a checkout keeps
// of a mode.
func NormalMode(m fs.FileMode) uint32 {
	if m&0o100 != 0 {
		return 0o755
	}
	return 0o644
}

// OneFile is the tree that has the file Name of Dir and nothing else.
type OneFile struct {
	Dir  fs.FS
	Name string
}

// Open opens the file, and "." for what only wants to know that there is a root.
func (o OneFile) Open(name string) (fs.File, error) {
	if name != "." && name != o.Name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return o.Dir.Open(name)
}

// ReadDir keeps fs.WalkDir and fs.Glob from the file's neighbours.
func (o OneFile) ReadDir(name string) ([]fs.DirEntry, error) {
	if name != "." {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	info, err := fs.Stat(o.Dir, o.Name)
	if err != nil {
		return nil, err
	}
	return []fs.DirEntry{fs.FileInfoToDirEntry(info)}, nil
}
