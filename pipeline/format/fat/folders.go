package fat

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
)

// walker reads folders.
type walker struct {
	fs    *FS
	seen  map[int]bool // clusters of folders
	count int
}

func (w *walker) read(d *node, raw []byte, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: folders in folders, more than %d deep", ErrFormat, maxDepth)
	}
	var long []byte
	for ; len(raw) >= entrySize && raw[0] != 0; raw = raw[entrySize:] {
		e := raw[:entrySize]
		switch {
		case e[0] == 0xe5: // removed
			long = nil
			continue
		case e[11]&0x3f == attrLong:
			long = append(slices.Clone(e), long...)
			continue
		case e[11]&attrLabel != 0 || e[0] == '.':
			long = nil
			continue
		}
		if w.count++; w.count > maxEntries {
			return fmt.Errorf("%w: more than %d files", ErrFormat, maxEntries)
		}
		n := w.node(e, long)
		long = nil
		if !fs.ValidPath(n.name) || strings.Contains(n.name, "/") || n.name == "." {
			return fmt.Errorf("%w: a file is called %q", ErrFormat, n.name)
		}
		d.entries = append(d.entries, n)
		if n.folder {
			if err := w.folder(n, depth); err != nil {
				return err
			}
		}
	}
	slices.SortFunc(d.entries, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	return nil
}

func (w *walker) folder(n *node, depth int) error {
	if w.seen[n.first] {
		return fmt.Errorf("%w: folder %s is in itself, or there twice", ErrFormat, n.name)
	}
	w.seen[n.first] = true
	raw, err := w.fs.content(n.first, -1)
	if err != nil {
		return fmt.Errorf("folder %s: %w", n.name, err)
	}
	return w.read(n, raw, depth+1)
}

func (w *walker) node(e, long []byte) *node {
	date, clock := int(le.Uint16(e[24:])), int(le.Uint16(e[22:]))
	n := &node{
		name: shortName(e), folder: e[11]&attrDir != 0, size: int64(le.Uint32(e[28:])), first: int(le.Uint16(e[26:])),
		mod: time.Date(1980+date>>9, time.Month(date>>5&15), date&31, clock>>11, clock>>5&63, clock&31*2, 0, time.UTC),
	}
	if w.fs.Kind == FAT32 {
		n.first |= int(le.Uint16(e[20:])) << 16
	}
	if name := joinLong(long, checksum([11]byte(e[:11]))); name != "" {
		n.name = name
	}
	return n
}

// shortName is a short name as people see it; two bits of Windows NT say what of it is in
// lower case.
func shortName(e []byte) string {
	base, ext := strings.TrimRight(string(e[:8]), " "), strings.TrimRight(string(e[8:11]), " ")
	if e[12]&0x08 != 0 {
		base = strings.ToLower(base)
	}
	if e[12]&0x10 != 0 {
		ext = strings.ToLower(ext)
	}
	if ext != "" {
		base += "." + ext
	}
	return strings.ToValidUTF8(base, "?")
}

// joinLong is the name that long entries hold, the first of them first; "" where they are
// of another short name.
func joinLong(long []byte, sum byte) string {
	var units []uint16
	for ; len(long) >= entrySize; long = long[entrySize:] {
		if long[13] != sum {
			return ""
		}
		for _, at := range longOffsets {
			units = append(units, le.Uint16(long[at:]))
		}
	}
	if end := slices.Index(units, 0); end >= 0 {
		units = units[:end]
	}
	return string(utf16.Decode(units))
}
