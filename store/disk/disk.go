// Package disk is a bucket in a folder: an object's key is its path below it.
//
// An object is written to tmp/ on the same file system, checked, synced and then
// renamed or linked into place, and the folder that names it is synced, so that what is
// visible is whole and what was reported stays, through kill -9 and power cuts. This
// asks of the file system that rename(2) and link(2) are atomic and that fsync(2)
// means it: ext4, xfs, btrfs, zfs and tmpfs do; FAT has no links.
package disk

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"piimg/store"
)

// tmpName is the folder for unfinished objects. No key starts with it.
const tmpName = "tmp"

// abandoned is how long a temporary has to rest before a writer takes it for one that a
// dead process left behind. A live writer touches its file every few seconds, but the
// clocks of hosts that share a folder may be hours apart and a laptop may sleep over
// lunch. Too long costs some space for a day, too short fails somebody's write.
const abandoned = 24 * time.Hour

// Bucket is a folder. It is safe for concurrent use by any number of processes and
// holds nothing open.
type Bucket struct {
	dir    string
	synced sync.Map // folders whose names this process knows to be durable
	swept  sync.Once
	hooks  Hooks
}

// Hooks let tests look on while objects are written, fail a step, or end the process there.
// The zero value is what everybody else uses.
type Hooks struct {
	// Sync is called in the place of fsync(2), for files and for folders.
	Sync func(*os.File) error

	// Point is called at the named points of each write: "blob.tmp" with the temporary
	// just made, "blob.half", "blob.fsynced", "blob.linked" with the name just given and
	// "blob.dirsynced" of a Put, and the same with "log." of a Create. An error makes the
	// write fail there.
	Point func(point, key string) error
}

var _ store.Bucket = (*Bucket)(nil)

// Open returns the bucket in the folder dir. It changes nothing: the first write makes the
// folder if need be, and removes temporaries that a killed process has left there more than
// a day ago. A folder that may only be read can be opened, and then refuses to be written.
func Open(dir string) (*Bucket, error) { return OpenHooked(dir, Hooks{}) }

// OpenHooked is Open with hooks for tests.
func OpenHooked(dir string, h Hooks) (*Bucket, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if h.Sync == nil {
		h.Sync = (*os.File).Sync
	}
	// A path that leads through a file, or ends at one, never becomes a folder.
	if info, err := os.Stat(dir); err == nil && !info.IsDir() || errors.Is(err, syscall.ENOTDIR) {
		return nil, notFolder(dir)
	}
	return &Bucket{dir: dir, hooks: h}, nil
}

// sweep removes temporaries last written before limit. It does what it can: one that
// stays costs space and nothing else, which is no reason not to write.
func (b *Bucket) sweep(limit time.Time) (n int) {
	entries, err := os.ReadDir(filepath.Join(b.dir, tmpName))
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && info.ModTime().Before(limit) {
			if os.Remove(filepath.Join(b.dir, tmpName, e.Name())) == nil {
				n++
			}
		}
	}
	return n
}

// Put stores c under key.
func (b *Bucket) Put(ctx context.Context, key string, c store.Content) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	tmp, err := b.writeTemp(ctx, "blob", key, c)
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	defer os.Remove(tmp) // it is gone already where all went well
	if err := b.place("blob", tmp, key, os.Rename); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

// Create stores doc under key if no object is there.
func (b *Bucket) Create(ctx context.Context, key string, doc []byte) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	tmp, err := b.writeTemp(ctx, "log", key, store.Bytes(doc))
	if err != nil {
		return fmt.Errorf("create %s: %w", key, err)
	}
	defer os.Remove(tmp)
	// A link fails where a name is taken, in one step: O_EXCL on the final name would
	// show others a file that is still being written.
	err = b.place("log", tmp, key, os.Link)
	if errors.Is(err, fs.ErrExist) {
		err = b.compare(ctx, key, doc)
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", key, err)
	}
	return nil
}

// compare returns nil where the object that is there has the bytes doc.
func (b *Bucket) compare(ctx context.Context, key string, doc []byte) error {
	r, err := b.Get(ctx, key, 0, int64(len(doc))+1)
	if err != nil {
		return err
	}
	defer r.Close()
	have, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, doc) {
		return fmt.Errorf("another object is there: %w", store.ErrConflict)
	}
	// Who made it may have died before this.
	return b.syncFolder(filepath.Dir(b.path(key)))
}

// Get reads n bytes of an object from off on.
func (b *Bucket) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := check(ctx, key); err != nil {
		return nil, err
	}
	f, err := os.Open(b.path(key))
	if err != nil {
		return nil, absence(err)
	}
	stat, err := f.Stat()
	if err == nil {
		err = regular(stat, b.path(key))
	}
	if err == nil {
		n, err = info(key, stat).Range(off, n)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &reader{store.NewReader(ctx, io.NewSectionReader(f, off, n)), f}, nil
}

type reader struct {
	io.Reader
	io.Closer
}

// Stat describes an object.
func (b *Bucket) Stat(ctx context.Context, key string) (store.Info, error) {
	if err := check(ctx, key); err != nil {
		return store.Info{}, err
	}
	stat, err := os.Stat(b.path(key))
	if err == nil {
		err = regular(stat, b.path(key))
	}
	if err != nil {
		return store.Info{}, absence(err)
	}
	return info(key, stat), nil
}

// Delete removes an object. A power cut may undo it, which costs its space.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	// Not os.Remove, which would take an empty folder as well.
	err := syscall.Unlink(b.path(key))
	switch {
	case err == nil, errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR):
		return nil
	}
	return fmt.Errorf("delete %s: %w", key, err)
}

// writeTemp writes c, which is for key, to a new temporary, syncs it and returns its path.
// Where it fails, nothing is left.
func (b *Bucket) writeTemp(ctx context.Context, kind, key string, c store.Content) (string, error) {
	b.swept.Do(func() { b.sweep(time.Now().Add(-abandoned)) })
	if err := b.makeFolder(filepath.Join(b.dir, tmpName)); err != nil {
		return "", err
	}
	name := filepath.Join(b.dir, tmpName, kind+"-"+rand.Text())
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", b.forget(err)
	}
	// Both are called; the first error is the cause.
	err = cmp.Or(b.fill(ctx, f, kind, key, c), f.Close())
	if err != nil {
		os.Remove(name)
		return "", err
	}
	return name, nil
}

func (b *Bucket) fill(ctx context.Context, f *os.File, kind, key string, c store.Content) error {
	if err := b.point(kind+".tmp", key); err != nil {
		return err
	}
	if err := c.CopyTo(ctx, b.halfway(f, kind, key, c.Size)); err != nil {
		return err
	}
	if err := f.Chmod(0o444); err != nil {
		return err
	}
	// After a sync that failed the kernel may call the lost pages clean: a second
	// try would lie, so the file is given up.
	if err := b.hooks.Sync(f); err != nil {
		return err
	}
	return b.point(kind+".fsynced", key)
}

// place gives the temporary its name, with os.Rename or os.Link, and makes it durable.
func (b *Bucket) place(kind, tmp, key string, move func(from, to string) error) error {
	folder := filepath.Dir(b.path(key))
	if err := b.makeFolder(folder); err != nil {
		return err
	}
	if err := move(tmp, b.path(key)); err != nil {
		return b.forget(err)
	}
	if err := b.point(kind+".linked", key); err != nil {
		return err
	}
	if err := b.syncFolder(folder); err != nil {
		return err
	}
	return b.point(kind+".dirsynced", key)
}

func (b *Bucket) path(key string) string { return filepath.Join(b.dir, filepath.FromSlash(key)) }

// point calls the hook of the tests.
func (b *Bucket) point(name, key string) error {
	if b.hooks.Point == nil {
		return nil
	}
	return b.hooks.Point(name, key)
}

// halfway is w, with the point "<kind>.half" when half of size bytes have gone through.
func (b *Bucket) halfway(w io.Writer, kind, key string, size int64) io.Writer {
	if b.hooks.Point == nil {
		return w
	}
	return &halfWriter{w: w, left: size / 2, point: func() error { return b.point(kind+".half", key) }}
}

type halfWriter struct {
	w     io.Writer
	left  int64
	point func() error
}

func (h *halfWriter) Write(p []byte) (int, error) {
	if h.point == nil || int64(len(p)) < h.left {
		h.left -= int64(len(p))
		return h.w.Write(p)
	}
	n, err := h.w.Write(p[:h.left])
	if err == nil {
		err = h.point()
	}
	if err != nil {
		return n, err
	}
	h.point = nil
	m, err := h.w.Write(p[n:])
	return n + m, err
}

// regular refuses what is no object, such as the folder of other keys.
func regular(stat fs.FileInfo, path string) error {
	if stat.Mode().IsRegular() {
		return nil
	}
	return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

// absence makes a path that leads through a file an absent one.
func absence(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) && errors.Is(p.Err, syscall.ENOTDIR) {
		return &fs.PathError{Op: p.Op, Path: p.Path, Err: fs.ErrNotExist}
	}
	return err
}

func info(key string, stat fs.FileInfo) store.Info {
	return store.Info{Key: key, Size: stat.Size(), Time: stat.ModTime()}
}

func check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return store.CheckKey(key)
}
