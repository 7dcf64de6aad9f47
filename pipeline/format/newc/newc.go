// Package newc writes and reads cpio archives of the kind that the kernel unpacks as its
// initramfs: "newc" (070701), and 070702, which adds a checksum to each file
// (Documentation/driver-api/early-userspace/buffer-format.rst).
//
// Names, padding and trailer are github.com/cavaliergopher/cpio's when writing. That
// library loses device numbers, keeps the target of a symlink apart from the body that it
// was read from, changes the caller's header, and one checksum turns every later header of
// the process into 070702; so headers are encoded here, and nothing outside sees the
// library. Reading is done here too: see [Reader].
//
// Limits of the format: sizes, owners, times and inodes have 32 bits, names have up to
// 4095 bytes, and their elements in the kernel up to 255.
package newc

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// File types of [Entry.Mode], as in stat(2).
const (
	TypeMask = 0o170000
	Socket   = 0o140000
	Symlink  = 0o120000
	Regular  = 0o100000
	Block    = 0o060000
	Dir      = 0o040000
	Char     = 0o020000
	FIFO     = 0o010000
	PermMask = 0o007777
)

// Entry is the header of one file in an archive.
type Entry struct {
	Name  string // without a leading slash
	Ino   uint32 // 0: the Writer counts
	Mode  uint32 // type and permission bits
	UID   uint32
	GID   uint32
	Links uint32 // 0: 1, and 2 for a folder
	Time  uint32 // Unix seconds
	Size  int64  // of the body; the length of the target for a symlink
	Dev   Device // that the file lay on
	RDev  Device // that a node stands for

	Summed bool   // 070702: Sum is meant
	Sum    uint32 // of all bytes of a file's body
}

// Device is a device number.
type Device struct{ Major, Minor uint32 }

// Type is the type bits of the mode.
func (e Entry) Type() uint32 { return e.Mode & TypeMask }

// HasBody says whether the kernel reads a body for e's type.
func (e Entry) HasBody() bool { return e.Type() == Regular || e.Type() == Symlink }

// SameInode says whether the kernel takes e and f for names of one inode
// (find_link in init/initramfs.c).
func (e Entry) SameInode(f Entry) bool {
	return e.Links >= 2 && f.Links >= 2 && e.Ino == f.Ino && e.Dev == f.Dev && e.Type() == f.Type()
}

// Trailer is the name of the entry that ends an archive.
const Trailer = "TRAILER!!!"

// HeaderLen is the length in bytes of a header without its name.
const HeaderLen = 110

const (
	magicLen = 6
	maxName  = 4096 // with its NUL, PATH_MAX of the kernel
)

// MaxElement is how many bytes one element of a name, between two slashes, has at most:
// NAME_MAX of the kernel.
const MaxElement = 255

// LongElement is the first element of name that no file system of the kernel takes, and ""
// where there is none.
func LongElement(name string) string {
	for element := range strings.SplitSeq(name, "/") {
		if len(element) > MaxElement {
			return element
		}
	}
	return ""
}

func (e Entry) check() error {
	switch {
	case e.Name == "" || strings.HasPrefix(e.Name, "/"):
		return fmt.Errorf("entry %q: the name has to be relative", e.Name)
	case slices.Contains(strings.Split(e.Name, "/"), ".."):
		return fmt.Errorf("entry %q: the name leads upwards", e.Name)
	case strings.ContainsRune(e.Name, 0):
		return fmt.Errorf("entry %q: NUL in the name", e.Name)
	case len(e.Name) >= maxName:
		return fmt.Errorf("entry %.40q…: name of %d bytes, the format takes %d", e.Name, len(e.Name), maxName-1)
	case LongElement(e.Name) != "":
		return fmt.Errorf("entry %.40q…: the element %.40q… of its name has %d bytes, the kernel takes %d",
			e.Name, LongElement(e.Name), len(LongElement(e.Name)), MaxElement)
	case e.Name == Trailer:
		return fmt.Errorf("entry %q: the name ends an archive", e.Name)
	case e.Size < 0 || e.Size > math.MaxUint32:
		return fmt.Errorf("entry %q: size %d does not fit into 32 bits", e.Name, e.Size)
	case !e.HasBody() && e.Size != 0:
		return fmt.Errorf("entry %q: only files and symlinks have a body, mode is %o", e.Name, e.Mode)
	}
	return nil
}
