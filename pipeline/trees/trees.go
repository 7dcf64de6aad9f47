// Package trees keeps what is in an initramfs under the digest of its bytes: to find out
// means to decode all of it, which takes ten times as long as to hash it, and most edits
// are made to a base that was edited before.
package trees

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"piimg/pipeline/format/initrd"
)

// Cache is a folder of trees. Several processes may use it at once. It is never trusted:
// what is damaged is read anew, and what cannot be kept is not. The zero value keeps
// nothing.
type Cache struct {
	Dir string

	// Size is how many bytes may be kept; 64 MiB. What was kept first goes first.
	Size int64
}

// In is the cache that builds and edits share whose pipeline has the cache folder dir; "" keeps
// nothing.
func In(dir string) Cache {
	if dir == "" {
		return Cache{}
	}
	return Cache{Dir: filepath.Join(dir, "trees")}
}

// version changes with what a tree is or how it is encoded.
const version = "1"

// Read is [initrd.ReadTree] of base, of size bytes.
func (c Cache) Read(base io.ReaderAt, size int64, l initrd.Limits) (*initrd.Tree, error) {
	t, _, err := c.ReadHash(base, size, l)
	return t, err
}

// ReadHash is Read, and answers the hash as it is behind the bytes of base, to go on with.
func (c Cache) ReadHash(base io.ReaderAt, size int64, l initrd.Limits) (*initrd.Tree, hash.Hash, error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(base, 0, size)); err != nil {
		return nil, nil, err
	}
	name := c.name(h.Sum(nil), l)
	if c.Dir != "" {
		if t, ok := load(name); ok {
			return t, h, nil
		}
	}
	again := sha256.New()
	t, err := initrd.ReadTree(io.TeeReader(io.NewSectionReader(base, 0, size), again), l)
	if err == nil && c.Dir != "" && bytes.Equal(again.Sum(nil), h.Sum(nil)) { // nobody has changed it in between
		c.keep(name, t)
	}
	return t, h, err
}

// name is that of the file for what has a digest: other limits may give another answer.
func (c Cache) name(digest []byte, l initrd.Limits) string {
	of := sha256.Sum256(fmt.Appendf(nil, "%s %x %+v", version, digest, l.OrDefault()))
	return filepath.Join(c.Dir, fmt.Sprintf("%x", of))
}

// load reads a file: the digest of a tree, and the tree.
func load(name string) (*initrd.Tree, bool) {
	b, err := os.ReadFile(name)
	if err != nil || len(b) < sha256.Size {
		return nil, false
	}
	sum, b := b[:sha256.Size], b[sha256.Size:]
	if is := sha256.Sum256(b); !bytes.Equal(is[:], sum) {
		return nil, false
	}
	t := &initrd.Tree{}
	return t, t.UnmarshalBinary(b) == nil
}

func (c Cache) keep(name string, t *initrd.Tree) {
	b, err := t.MarshalBinary()
	if err != nil || int64(len(b)) > c.size()/4 {
		return
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return
	}
	tmp, err := os.CreateTemp(c.Dir, ".tree-")
	if err != nil {
		return
	}
	defer os.Remove(tmp.Name())
	sum := sha256.Sum256(b)
	_, err = tmp.Write(append(sum[:], b...))
	if cerr := tmp.Close(); err == nil && cerr == nil && os.Rename(tmp.Name(), name) == nil {
		c.trim()
	}
}

func (c Cache) size() int64 { return cmp.Or(c.Size, 64<<20) }

// trim removes the oldest files, until the rest is small enough.
func (c Cache) trim() {
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return
	}
	var files []fs.FileInfo
	var size int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			files, size = append(files, info), size+info.Size()
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, f := range files {
		if size <= c.size() {
			return
		}
		_ = os.Remove(filepath.Join(c.Dir, f.Name()))
		size -= f.Size()
	}
}
