// Package untar unpacks a tar archive into a folder, as a user who is not root: owners,
// times and the setuid bits are lost, and nothing that the archive says leads out of the
// folder. Devices, FIFOs and sparse files are refused, since a folder of sources cannot
// hold them or should not.
package untar

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"piimg/pipeline/format/codec"
)

// Options say how. The zero value unpacks all of an archive as it is.
type Options struct {
	Strip int // leading elements of every path that are left out; what is no longer is skipped
}

// Unpack writes what the tar archive r holds into root. What is there already is an error
// unless both are folders. Files have mode 0644, or 0755 where their owner may execute them.
func Unpack(root *os.Root, r io.Reader, o Options) error {
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("tar: %w", err)
		}
		name, ok := o.name(h.Name)
		if !ok {
			continue
		}
		if err := o.entry(root, name, h, t); err != nil {
			return fmt.Errorf("unpack %s: %w", h.Name, err)
		}
	}
}

// name is the path of an entry below the root, and whether there is one.
func (o Options) name(s string) (string, bool) {
	s = strings.TrimPrefix(path.Clean("/"+s), "/")
	for range o.Strip {
		_, rest, ok := strings.Cut(s, "/")
		if !ok {
			return "", false
		}
		s = rest
	}
	return s, s != ""
}

func (o Options) entry(root *os.Root, name string, h *tar.Header, r io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return folder(root, name)
	case tar.TypeReg:
		return file(root, name, h.FileInfo().Mode(), r)
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		target, ok := o.name(h.Linkname)
		if !ok {
			return fmt.Errorf("is a link to %s, which is not unpacked", h.Linkname)
		}
		return root.Link(target, name)
	}
	return fmt.Errorf("is of type %q: only files, folders and links are unpacked", h.Typeflag)
}

// folder makes a folder. A symlink to one is as good: packages have /lib both ways.
func folder(root *os.Root, name string) error {
	err := root.Mkdir(name, 0o755)
	if info, serr := root.Stat(name); errors.Is(err, fs.ErrExist) && serr == nil && info.IsDir() {
		return nil
	}
	return err
}

func file(root *os.Root, name string, mode fs.FileMode, r io.Reader) error {
	perm := fs.FileMode(0o644)
	if mode&0o100 != 0 {
		perm = 0o755
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = root.Chmod(name, perm) // whatever the umask is
	}
	return err
}

// Decompress is the tar archive in r, which may be compressed in any way that package
// codec reads.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReader(r)
	head, err := b.Peek(262)
	if err == nil && string(head[257:262]) == "ustar" {
		return io.NopCloser(b), nil
	}
	z, _, err := codec.NewReader(b)
	return z, err
}
