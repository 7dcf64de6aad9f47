package fat

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf16"
)

// dir is a folder while it is laid out.
type dir struct {
	entries []*entry // sorted by name
	parent  *dir
	cluster int // 0 for the root of FAT12 and FAT16
}

// entry is one name in a folder.
type entry struct {
	long    string
	short   [11]byte
	isShort bool // the short name says it all
	file    File
	dir     *dir // of a folder
	cluster int  // first one, 0 of an empty file
}

// maxFile is the largest size of a file in bytes.
const maxFile = 1<<32 - 1

func (d *dir) add(f File) error {
	if f.Size > maxFile || f.Size < 0 {
		return fmt.Errorf("%s: %d bytes are more than a FAT file system holds in a file", f.Path, f.Size)
	}
	name := path.Clean(f.Path)
	if name != f.Path || path.IsAbs(name) || name == "." || strings.HasPrefix(name, "..") {
		return fmt.Errorf("%q is no path in a file system", f.Path)
	}
	parts := strings.Split(name, "/")
	for n, part := range parts {
		if err := checkName(part); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		at, found := d.find(part)
		last := n == len(parts)-1
		if found {
			e := d.entries[at]
			if last || e.dir == nil || e.long != part {
				return fmt.Errorf("%s: there is %s already, and FAT takes them for one", f.Path, e.long)
			}
			d = e.dir
			continue
		}
		e := &entry{long: part, file: f}
		if !last {
			e.dir, e.file = &dir{parent: d}, File{}
		}
		d.entries = slices.Insert(d.entries, at, e)
		d = e.dir
	}
	return nil
}

// find is where a name is, or belongs: FAT knows no difference between upper and lower case.
func (d *dir) find(name string) (int, bool) {
	return slices.BinarySearchFunc(d.entries, strings.ToUpper(name), func(e *entry, upper string) int {
		return strings.Compare(strings.ToUpper(e.long), upper)
	})
}

func checkName(name string) error {
	switch {
	case name == "" || strings.ContainsAny(name, `"*:<>?\|`) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("%q has a character that no name has in a FAT file system", name)
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") || strings.HasPrefix(name, " "):
		return fmt.Errorf("%q begins or ends with a blank or a dot, which a FAT file system drops", name)
	case len(utf16.Encode([]rune(name))) > 255:
		return fmt.Errorf("%q is longer than 255 characters", name)
	}
	return nil
}

// walk calls f for d and every folder below, parents first.
func (d *dir) walk(f func(*dir)) {
	f(d)
	for _, e := range d.entries {
		if e.dir != nil {
			e.dir.walk(f)
		}
	}
}

// name gives every entry a short name, unique in its folder.
func (d *dir) name() error {
	taken := map[[11]byte]bool{}
	for _, e := range d.entries { // who has a short name keeps it
		if short, exact, ok := plainShort(e.long); ok {
			e.short, e.isShort = short, exact
			taken[short] = true
		}
	}
	for _, e := range d.entries {
		if e.short == [11]byte{} && !e.tail(taken) {
			return fmt.Errorf("%s: there is no short name left for it", e.long)
		}
		if e.dir != nil {
			if err := e.dir.name(); err != nil {
				return err
			}
		}
	}
	return nil
}

// shortRune says whether a short name may have r.
func shortRune(r rune) bool {
	return r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r < 0x80 && strings.ContainsRune("!#$%&'()-@^_`{}~", r)
}

// plainShort is the short name of a name that is one but for its case. exact says that
// there is nothing for a long name to add.
func plainShort(name string) (short [11]byte, exact, ok bool) {
	upper := strings.ToUpper(name)
	base, ext, _ := strings.Cut(upper, ".")
	good := func(s string) bool { return !strings.ContainsFunc(s, func(r rune) bool { return !shortRune(r) }) }
	if base == "" || len(base) > 8 || len(ext) > 3 || !good(base) || !good(ext) || strings.HasSuffix(upper, ".") {
		return short, false, false
	}
	return pack(base, ext), upper == name, true
}

func pack(base, ext string) (short [11]byte) {
	copy(short[:], "           ")
	copy(short[:8], base)
	copy(short[8:], ext)
	return short
}

// tail makes up a short name: LONGNA~1.TXT.
func (e *entry) tail(taken map[[11]byte]bool) bool {
	clean := func(s string) string {
		return strings.Map(func(r rune) rune {
			switch {
			case r == ' ' || r == '.':
				return -1
			case shortRune(r):
				return r
			}
			return '_'
		}, strings.ToUpper(s))
	}
	base, ext := e.long, ""
	if dot := strings.LastIndexByte(e.long, '.'); dot > 0 {
		base, ext = e.long[:dot], clean(e.long[dot+1:])
	}
	base, ext = clean(base), ext[:min(3, len(ext))]
	for n := 1; n < 1000000; n++ {
		number := fmt.Sprintf("~%d", n)
		short := pack(base[:min(len(base), 8-len(number))]+number, ext)
		if !taken[short] {
			e.short, taken[short] = short, true
			return true
		}
	}
	return false
}

// size is that of a folder's entries in bytes; folders but the root have two for
// themselves and their parents, and the root has one for the label.
func (d *dir) size(Kind) int64 {
	n := 2
	if d.parent == nil {
		n = 1
	}
	for _, e := range d.entries {
		n += 1 + e.longEntries()
	}
	return int64(n) * entrySize
}

// longEntries is how many entries the long name takes.
func (e *entry) longEntries() int {
	if e.isShort {
		return 0
	}
	return (len(utf16.Encode([]rune(e.long))) + 12) / 13
}
