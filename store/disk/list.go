package disk

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"piimg/store"
)

// List yields the objects below prefix. It reads one folder at a time, when it comes to it.
func (b *Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		l := &lister{ctx, b, after, yield}
		folder, start := path.Split(prefix)
		if folder != "" && store.CheckKey(strings.TrimSuffix(folder, "/")) != nil {
			folder, start = "", "/" // no key starts like that
		}
		l.walk(folder, start)
	}
}

type lister struct {
	ctx    context.Context
	bucket *Bucket
	after  string
	yield  func(store.Info, error) bool
}

// walk yields what is in folder, "" or a path that ends in a slash, as far as its name
// there starts with start, and says whether to go on.
func (l *lister) walk(folder, start string) bool {
	entries, err := l.read(folder, start)
	if err != nil {
		l.yield(store.Info{}, err)
		return false
	}
	for _, e := range entries {
		if !l.visit(folder+e.Name(), e) {
			return false
		}
	}
	return true
}

func (l *lister) visit(key string, e fs.DirEntry) bool {
	if err := l.ctx.Err(); err != nil {
		l.yield(store.Info{}, err)
		return false
	}
	switch {
	case store.CheckKey(key) != nil:
		return true // tmp, lost+found, an editor's backup: nothing of ours
	case e.IsDir():
		// All keys of a folder are before after if its name is and after is not in it.
		sub := key + "/"
		if sub < l.after && !strings.HasPrefix(l.after, sub) {
			return true
		}
		return l.walk(sub, "")
	case key <= l.after || !e.Type().IsRegular():
		return true
	}
	stat, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return true // deleted meanwhile
	}
	if err != nil {
		l.yield(store.Info{}, err)
		return false
	}
	return l.yield(info(key, stat), nil)
}

// read returns the entries of folder whose names start with start, in the order of
// their keys. This is not the order of the names: "a-b" is before "a/c", so a folder
// sorts as if its name ended in a slash.
func (l *lister) read(folder, start string) ([]fs.DirEntry, error) {
	if err := l.ctx.Err(); err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(l.bucket.dir, filepath.FromSlash(folder)))
	if errors.Is(absence(err), fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil || !stat.IsDir() {
		return nil, err
	}
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !strings.HasPrefix(e.Name(), start) })
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(sortName(a), sortName(b)) })
	return entries, nil
}

func sortName(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}
