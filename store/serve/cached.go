package serve

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"piimg/store"
)

// Cached is the content that front ends keep in a folder: [Config].Dir, or the one above
// that has such a folder for each store. It changes nothing there, and may be used while a
// front end runs. Like [Source] it does not check what it gives.
type Cached struct{ dirs []string }

// OpenCached finds the content in dir. The error wraps io/fs.ErrNotExist where no front end
// has kept anything there.
func OpenCached(dir string) (Cached, error) {
	var c Cached
	for _, above := range []string{"", "*"} {
		found, err := filepath.Glob(filepath.Join(escaped(dir), above, "blobs", "sha256"))
		if err != nil {
			return Cached{}, err
		}
		c.dirs = append(c.dirs, found...)
	}
	if len(c.dirs) == 0 {
		return Cached{}, fmt.Errorf("%s is no cache of a front end: there is no blobs/sha256 in it: %w", dir, fs.ErrNotExist)
	}
	return c, nil
}

// escaped is dir as a pattern that matches only itself.
func escaped(dir string) string {
	var p []byte
	for _, c := range []byte(dir) {
		if c == '*' || c == '?' || c == '[' || c == '\\' {
			p = append(p, '\\')
		}
		p = append(p, c)
	}
	return string(p)
}

// Find is the size of the copy of d, and io/fs.ErrNotExist where there is none.
func (c Cached) Find(_ context.Context, d store.Digest) (store.Blob, error) {
	_, info, err := c.find(d)
	if err != nil {
		return store.Blob{}, err
	}
	return store.Blob{Digest: d, Size: info.Size()}, nil
}

// Open reads the copy of b.
func (c Cached) Open(ctx context.Context, b store.Blob) (io.ReadCloser, error) {
	path, _, err := c.find(b.Digest)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{store.NewReader(ctx, f), f}, nil
}

func (c Cached) find(d store.Digest) (string, fs.FileInfo, error) {
	for _, dir := range c.dirs {
		path := filepath.Join(dir, d.Hex())
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, info, nil
		}
	}
	return "", nil, fmt.Errorf("blob %s: %w", d.Short(), fs.ErrNotExist)
}
