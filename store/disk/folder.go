package disk

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// makeFolder makes dir, which is the bucket's or below it, and its parents, and syncs their
// names the first time this process comes by: a folder that is there may be the work
// of a process that died before it could.
func (b *Bucket) makeFolder(dir string) error {
	if _, ok := b.synced.Load(dir); ok {
		return nil
	}
	if dir == b.dir {
		err := b.makeFolders(dir)
		if err == nil {
			b.synced.Store(dir, true)
		}
		return err
	}
	if err := b.makeFolder(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := b.syncFolder(filepath.Dir(dir)); err != nil {
		return err
	}
	b.synced.Store(dir, true)
	return nil
}

// forget makes the next write look for its folders again where err says that one is
// gone, and returns err.
func (b *Bucket) forget(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		b.synced.Clear()
	}
	return err
}

func notFolder(dir string) error {
	return &fs.PathError{Op: "open", Path: dir, Err: errors.New("not a folder")}
}

// makeFolders is os.MkdirAll with the names of the folders that it makes synced.
func (b *Bucket) makeFolders(dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		return notFolder(dir)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := b.makeFolders(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return b.syncFolder(parent)
}

// syncFolder makes the names in dir durable.
func (b *Bucket) syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return cmp.Or(b.hooks.Sync(f), f.Close())
}
