package fat

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
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
