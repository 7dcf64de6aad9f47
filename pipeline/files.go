package pipeline

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"piimg/store"
)

// FS shows files of a store as a read-only file system. Content is verified while it is
// read. ctx is that of every read. Times are zero.
func FS(ctx context.Context, s *store.Store, files []store.File) fs.FS {
	t := &tree{ctx: ctx, store: s, files: map[string]store.File{}, dirs: map[string][]fs.DirEntry{".": nil}}
	for _, f := range files {
		t.files[f.Path] = f
		t.addTo(path.Dir(f.Path), fileInfo{f.Path, f.Size, fs.FileMode(f.Mode)})
	}
	for _, entries := range t.dirs {
		slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	}
	return t
}

type tree struct {
	ctx   context.Context
	store *store.Store
	files map[string]store.File
	dirs  map[string][]fs.DirEntry
}

// addTo adds an entry to the folder dir, which it makes if need be.
func (t *tree) addTo(dir string, info fileInfo) {
	_, known := t.dirs[dir]
	t.dirs[dir] = append(t.dirs[dir], fs.FileInfoToDirEntry(info))
	if !known {
		t.addTo(path.Dir(dir), fileInfo{dir, 0, fs.ModeDir | 0o755})
	}
}

func (t *tree) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if f, ok := t.files[name]; ok {
		return &openFile{tree: t, file: f}, nil
	}
	if entries, ok := t.dirs[name]; ok {
		return &openDir{fileInfo{name, 0, fs.ModeDir | 0o755}, entries}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// openFile opens the store at the first read, so that a Stat costs nothing.
type openFile struct {
	tree *tree
	file store.File
	r    io.ReadCloser
}

func (f *openFile) Stat() (fs.FileInfo, error) {
	return fileInfo{f.file.Path, f.file.Size, fs.FileMode(f.file.Mode)}, nil
}

// Stored is a file whose bytes are in a store, as its files are that [FS] shows.
type Stored interface {
	fs.File
	Stored() store.File
}

var _ Stored = (*openFile)(nil)

// Stored says which parts it has.
func (f *openFile) Stored() store.File { return f.file }

func (f *openFile) Read(p []byte) (int, error) {
	if f.r == nil {
		r, err := f.tree.store.OpenFile(f.tree.ctx, f.file)
		if err != nil {
			return 0, err
		}
		f.r = r
	}
	return f.r.Read(p)
}

func (f *openFile) Close() error {
	if f.r == nil {
		return nil
	}
	return f.r.Close()
}

type openDir struct {
	fileInfo
	left []fs.DirEntry
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.fileInfo, nil }
func (d *openDir) Close() error               { return nil }
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.path, Err: errors.New("is a directory")}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(d.left)
	} else if len(d.left) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.left))
	entries := d.left[:n:n]
	d.left = d.left[n:]
	return entries, nil
}

type fileInfo struct {
	path string
	size int64
	mode fs.FileMode
}

func (i fileInfo) Name() string       { return path.Base(i.path) }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) Sys() any           { return nil }
