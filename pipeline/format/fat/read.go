package fat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
)

// FS shows a FAT file system. Names are found as FAT finds them, in upper or lower case.
// Times are UTC. Concurrent use is fine where the reader's is.
type FS struct {
	Kind     Kind
	Clusters int    // for content, in all
	Size     int64  // in bytes, as the boot sector says
	Label    string // of the boot sector

	r       io.ReaderAt
	table   []byte
	data    int64 // offset of the first cluster
	cluster int64 // bytes
	root    *node
}

// node is a file or folder that was read.
type node struct {
	name    string
	folder  bool
	size    int64
	first   int // cluster
	mod     time.Time
	entries []*node // of a folder
}

// ErrFormat: what is there is no FAT file system, or a damaged one.
var ErrFormat = errors.New("not a FAT file system")

// Limits of what is read: a table of 64 MiB is that of 8 GiB in the smallest clusters, and
// nothing that piimg looks into has so many files.
const (
	maxTable   = 64 << 20
	maxEntries = 1 << 16
	maxDepth   = 32
)

// Open reads the boot sector, the table and all folders of an image of size bytes.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	b := make([]byte, sector)
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	f, rootAt, rootSize, err := parseBoot(b)
	if err != nil {
		return nil, err
	}
	if f.Size > size {
		return nil, fmt.Errorf("%w: it says it has %d bytes, and there are %d", ErrFormat, f.Size, size)
	}
	f.r = r
	tableAt := int64(le.Uint16(b[14:])) * sector
	if _, err := r.ReadAt(f.table, tableAt); err != nil {
		return nil, fmt.Errorf("%w: table: %w", ErrFormat, err)
	}
	f.root = &node{name: ".", folder: true, first: rootAt}
	w := &walker{fs: f, seen: map[int]bool{}}
	var raw []byte
	if rootAt == 0 {
		raw = make([]byte, rootSize)
		_, err = r.ReadAt(raw, f.data-int64(rootSize))
	} else {
		raw, err = f.content(rootAt, -1)
	}
	if err == nil {
		err = w.read(f.root, raw, 0)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// parseBoot reads the boot sector: rootAt is the root's cluster, or 0 with the size of a
// root that lies before the clusters.
func parseBoot(b []byte) (f *FS, rootAt, rootSize int, err error) {
	bytesPer, blocks := int(le.Uint16(b[11:])), int64(b[13])
	reserved, tables := int64(le.Uint16(b[14:])), int64(b[16])
	rootSize = int(le.Uint16(b[17:])) * entrySize
	sectors, table := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if sectors == 0 {
		sectors = int64(le.Uint32(b[32:]))
	}
	tail := b[36:]
	if table == 0 {
		table, rootAt, tail = int64(le.Uint32(b[36:])), int(le.Uint32(b[44:])), b[64:]
	}
	data := reserved + tables*table + int64(rootSize+sector-1)/sector
	switch {
	case b[510] != 0x55 || b[511] != 0xaa:
		return nil, 0, 0, fmt.Errorf("%w: its first sector has no signature", ErrFormat)
	case bytesPer != sector || blocks == 0 || blocks&(blocks-1) != 0 || reserved == 0 || tables == 0 || table == 0 || sectors <= data:
		return nil, 0, 0, fmt.Errorf("%w: the numbers in its first sector make no sense", ErrFormat)
	case table*sector > maxTable:
		return nil, 0, 0, fmt.Errorf("%w: a table of %d bytes", ErrFormat, table*sector)
	}
	f = &FS{
		Clusters: int((sectors - data) / blocks), Size: sectors * sector, Label: strings.TrimRight(string(tail[7:18]), " "),
		table: make([]byte, table*sector), data: data * sector, cluster: blocks * sector,
	}
	f.Kind = kindOf(f.Clusters)
	if (f.Kind == FAT32) != (rootAt != 0) {
		return nil, 0, 0, fmt.Errorf("%w: %d clusters are FAT%d, and its first sector is another's", ErrFormat, f.Clusters, f.Kind)
	}
	return f, rootAt, rootSize, nil
}

// next is the cluster behind c, and whether there is one.
func (f *FS) next(c int) (int, bool, error) {
	var n, end int
	switch at := c * int(f.Kind) / 8; {
	case at+int(f.Kind)/8 >= len(f.table):
		return 0, false, fmt.Errorf("%w: cluster %d has no place in the table", ErrFormat, c)
	case f.Kind == FAT12:
		n, end = int(le.Uint16(f.table[at:])), 0xff8
		if c%2 == 1 {
			n >>= 4
		}
		n &= 0xfff
	case f.Kind == FAT16:
		n, end = int(le.Uint16(f.table[at:])), 0xfff8
	default:
		n, end = int(le.Uint32(f.table[at:])&0x0fffffff), 0x0ffffff8
	}
	if n >= end {
		return 0, false, nil
	}
	if n < 2 || n >= f.Clusters+2 {
		return 0, false, fmt.Errorf("%w: behind cluster %d comes %d", ErrFormat, c, n)
	}
	return n, true, nil
}

// chain are the clusters from first on.
func (f *FS) chain(first int) ([]int, error) {
	if first < 2 || first >= f.Clusters+2 {
		return nil, fmt.Errorf("%w: cluster %d of %d", ErrFormat, first, f.Clusters)
	}
	all := []int{first}
	for c := first; ; {
		n, more, err := f.next(c)
		if err != nil || !more {
			return all, err
		}
		if len(all) > f.Clusters {
			return nil, fmt.Errorf("%w: the clusters from %d on go round in a circle", ErrFormat, first)
		}
		all, c = append(all, n), n
	}
}

// content reads size bytes from a cluster on, all of them where size is negative.
func (f *FS) content(first int, size int64) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	chain, err := f.chain(first)
	if err != nil {
		return nil, err
	}
	if size < 0 {
		size = int64(len(chain)) * f.cluster
		if size > maxEntries*entrySize {
			return nil, fmt.Errorf("%w: a folder of %d bytes", ErrFormat, size)
		}
	}
	if size > int64(len(chain))*f.cluster {
		return nil, fmt.Errorf("%w: %d bytes in %d clusters", ErrFormat, size, len(chain))
	}
	b := make([]byte, size)
	for n, c := range chain {
		from := int64(n) * f.cluster
		if from >= size {
			break
		}
		to := min(from+f.cluster, size)
		if _, err := f.r.ReadAt(b[from:to], f.data+int64(c-2)*f.cluster); err != nil {
			return nil, fmt.Errorf("%w: cluster %d: %w", ErrFormat, c, err)
		}
	}
	return b, nil
}

// LastCluster says whether a file or folder lies in the last cluster, which bootloaders
// before January 2024 could not read.
func (f *FS) LastCluster() bool {
	last := f.Clusters + 1
	switch at := last * int(f.Kind) / 8; {
	case at+int(f.Kind)/8 > len(f.table):
		return false
	case f.Kind == FAT12:
		n := int(f.table[at])
		if at+1 < len(f.table) {
			n |= int(f.table[at+1]) << 8
		}
		if last%2 == 1 {
			n >>= 4
		}
		return n&0xfff != 0
	case f.Kind == FAT16:
		return le.Uint16(f.table[at:]) != 0
	default:
		return le.Uint32(f.table[at:])&0x0fffffff != 0
	}
}

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

func (f *FS) find(name string) (*node, bool) {
	n := f.root
	if name == "." {
		return n, true
	}
	for part := range strings.SplitSeq(name, "/") {
		i := slices.IndexFunc(n.entries, func(e *node) bool { return strings.EqualFold(e.name, part) })
		if i < 0 {
			return nil, false
		}
		n = n.entries[i]
	}
	return n, true
}

// Open opens a file, whose content is read at once, or a folder.
func (f *FS) Open(name string) (fs.File, error) {
	n, ok := f.find(name)
	switch {
	case !fs.ValidPath(name):
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	case !ok:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case n.folder:
		return &openDir{n, n.entries}, nil
	}
	b, err := f.content(n.first, n.size)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &openFile{n, bytes.NewReader(b)}, nil
}

// Name, Size and the others make a node the fs.FileInfo of itself.
func (n *node) Name() string       { return path.Base(n.name) }
func (n *node) Size() int64        { return n.size }
func (n *node) ModTime() time.Time { return n.mod }
func (n *node) IsDir() bool        { return n.folder }
func (n *node) Sys() any           { return nil }
func (n *node) Mode() fs.FileMode {
	if n.folder {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

type openFile struct {
	node *node
	*bytes.Reader
}

func (o *openFile) Stat() (fs.FileInfo, error) { return o.node, nil }
func (o *openFile) Close() error               { return nil }

type openDir struct {
	node *node
	left []*node
}

func (o *openDir) Stat() (fs.FileInfo, error) { return o.node, nil }
func (o *openDir) Close() error               { return nil }
func (o *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: o.node.name, Err: errors.New("is a folder")}
}

func (o *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(o.left) == 0 {
		return nil, io.EOF
	}
	if n <= 0 {
		n = len(o.left)
	}
	n = min(n, len(o.left))
	entries := make([]fs.DirEntry, n)
	for i, e := range o.left[:n] {
		entries[i] = fs.FileInfoToDirEntry(e)
	}
	o.left = o.left[n:]
	return entries, nil
}
