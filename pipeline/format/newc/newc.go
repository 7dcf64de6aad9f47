// Package newc writes and reads cpio archives of the kind that the kernel unpacks as its
// initramfs: "newc" (070701), and 070702 when reading.
//
// The encoding of headers and trailer is github.com/cavaliergopher/cpio's. That library
// loses device numbers, keeps the target of a symlink apart from the body that it was
// read from, and changes the caller's header; this package makes up for it, and nothing
// outside sees the library. Checksummed archives are not written: one checksum would
// turn every later header of the process into 070702 there.
//
// Limits of the format: sizes, owners, times and inodes have 32 bits, names have up to
// 4095 bytes.
package newc

import (
	"fmt"
	"math"
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
}

// Device is a device number.
type Device struct{ Major, Minor uint32 }

// Type is the type bits of the mode.
func (e Entry) Type() uint32 { return e.Mode & TypeMask }

// HasBody says whether the kernel reads a body for e's type.
func (e Entry) HasBody() bool { return e.Type() == Regular || e.Type() == Symlink }

const (
	magicLen  = 6
	headerLen = 110
	trailer   = "TRAILER!!!"
	maxName   = 4096 // with its NUL, PATH_MAX of the kernel
)

func (e Entry) check() error {
	switch {
	case e.Name == "" || strings.HasPrefix(e.Name, "/"):
		return fmt.Errorf("entry %q: the name has to be relative", e.Name)
	case strings.ContainsRune(e.Name, 0):
		return fmt.Errorf("entry %q: NUL in the name", e.Name)
	case len(e.Name) >= maxName:
		return fmt.Errorf("entry %.40q…: name of %d bytes, the format takes %d", e.Name, len(e.Name), maxName-1)
	case e.Name == trailer:
		return fmt.Errorf("entry %q: the name ends an archive", e.Name)
	case e.Size < 0 || e.Size > math.MaxUint32:
		return fmt.Errorf("entry %q: size %d does not fit into 32 bits", e.Name, e.Size)
	case !e.HasBody() && e.Size != 0:
		return fmt.Errorf("entry %q: only files and symlinks have a body, mode is %o", e.Name, e.Mode)
	}
	return nil
}
