package fat

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

func (f *FS) find(name string) (*node, bool) {
	n := f.root
	if name == "." {
		return n, true
	}
	for part := range strings.SplitSeq(name, "/") {
		i := slices.IndexFunc(n.entries, func(e *node) bool { return strings.EqualFold(e.name, part) })
		if i < 0 {
			return nil, false
		}
		n = n.entries[i]
	}
	return n, true
}

// Open opens a file, whose content is read at once, or a folder.
func (f *FS) Open(name string) (fs.File, error) {
	n, ok := f.find(name)
	switch {
	case !fs.ValidPath(name):
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	case !ok:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case n.folder:
		return &openDir{n, n.entries}, nil
	}
	b, err := f.content(n.first, n.size)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &openFile{n, bytes.NewReader(b)}, nil
}

// Name, Size and the others make a node the fs.FileInfo of itself.
func (n *node) Name() string       { return path.Base(n.name) }
func (n *node) Size() int64        { return n.size }
func (n *node) ModTime() time.Time { return n.mod }
func (n *node) IsDir() bool        { return n.folder }
func (n *node) Sys() any           { return nil }
func (n *node) Mode() fs.FileMode {
	if n.folder {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

type openFile struct {
	node *node
	*bytes.Reader
}

func (o *openFile) Stat() (fs.FileInfo, error) { return o.node, nil }
func (o *openFile) Close() error               { return nil }

type openDir struct {
	node *node
	left []*node
}

func (o *openDir) Stat() (fs.FileInfo, error) { return o.node, nil }
func (o *openDir) Close() error               { return nil }
func (o *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: o.node.name, Err: errors.New("is a folder")}
}

func (o *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(o.left) == 0 {
		return nil, io.EOF
	}
	if n <= 0 {
		n = len(o.left)
	}
	n = min(n, len(o.left))
	entries := make([]fs.DirEntry, n)
	for i, e := range o.left[:n] {
		entries[i] = fs.FileInfoToDirEntry(e)
	}
	o.left = o.left[n:]
	return entries, nil
}
