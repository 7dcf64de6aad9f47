package fat

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	sector    = 512 // bytes
	entrySize = 32  // bytes of one directory entry
)

// Kind is the width of a table's entries in bits: 12, 16 or 32.
type Kind int

// The kinds, by the number of clusters (Microsoft's FAT specification, 3.5): fewer than
// minFAT16 are FAT12, fewer than minFAT32 FAT16.
const (
	FAT12 Kind = 12
	FAT16 Kind = 16
	FAT32 Kind = 32

	minFAT16 = 4085
	minFAT32 = 65525

	// margin is how far we stay from these numbers: some readers count differently by
	// a few (the specification advises 16).
	margin = 16
)

// File is a file to write.
type File struct {
	Path string // with slashes; folders come into being as they are needed
	Size int64
	Open func() (io.ReadCloser, error)
}

// Options say what is written besides the files. The zero value is the smallest image
// with one table, as Raspberry Pi's rpi-make-boot-image makes them.
type Options struct {
	Size   int64  // of the image in bytes, a multiple of 512; 0: as small as it can be
	Slack  int64  // bytes that are left free at the end, at least
	Tables int    // copies of the table, 1 or 2; 0 is 1
	Blocks int    // sectors of a cluster, a power of 2; 0 is 1
	Label  string // of the volume, at most 11 upper-case characters; "BOOT" where it is empty
	Serial uint32 // of the volume
	Epoch  int64  // every time, in Unix seconds, from 1980 on
	Hidden uint32 // sectors before the image, where it is a partition
}

// Image is a file system that is laid out and can be written.
type Image struct {
	Kind     Kind
	Size     int64 // bytes
	Clusters int   // for content, in all
	Used     int   // of these, from the first on

	Options
	layout
	root *dir
	dirs []*dir // in the order in which they are written, the root first
}

// layout are the numbers of the boot sector.
type layout struct {
	reserved int // sectors before the tables
	table    int // sectors of one table
	rootSize int // sectors of the root folder of FAT12 and FAT16
	sectors  int // in all
}

// New lays out files.
func New(files []File, o Options) (*Image, error) {
	o.Tables, o.Blocks, o.Label = cmp.Or(o.Tables, 1), cmp.Or(o.Blocks, 1), cmp.Or(o.Label, "BOOT")
	if o.Size%sector != 0 || o.Tables > 2 || o.Blocks > 128 || o.Blocks&(o.Blocks-1) != 0 {
		return nil, fmt.Errorf("size %d, %d tables, clusters of %d sectors: no FAT has these", o.Size, o.Tables, o.Blocks)
	}
	if err := CheckLabel(o.Label); err != nil {
		return nil, err
	}
	i := &Image{Options: o, root: &dir{}}
	for _, f := range files {
		if err := i.root.add(f); err != nil {
			return nil, err
		}
	}
	if err := i.root.name(); err != nil {
		return nil, err
	}
	if err := i.fit(); err != nil {
		return nil, err
	}
	i.place()
	return i, nil
}

// CheckLabel says what is wrong with the label of a volume. An empty one is none.
func CheckLabel(label string) error {
	if len(label) > 11 || strings.ToUpper(label) != label || strings.ContainsFunc(label, func(r rune) bool { return r != ' ' && !shortRune(r) }) {
		return fmt.Errorf("label %q: at most 11 upper-case letters, digits and blanks", label)
	}
	return nil
}

// ErrFull: the files do not fit into the size that was asked for.
var ErrFull = errors.New("the files do not fit")

// fit finds the kind and the numbers that hold the files.
func (i *Image) fit() error {
	slack := int(i.clustersOf(i.Options.Slack))
	for _, kind := range []Kind{FAT12, FAT16, FAT32} {
		i.Kind = kind
		i.Used = i.needed()
		clusters := i.Used + slack
		if i.Options.Size > 0 {
			clusters = max(clusters, i.most(i.Options.Size))
		}
		clusters = clearOf(kind, clusters, i.Options.Size > 0)
		if kindOf(clusters) != kind {
			continue
		}
		if clusters < i.Used+slack {
			continue
		}
		i.Clusters, i.layout = clusters, i.numbers(clusters)
		i.Size = int64(i.sectors) * sector
		if i.Options.Size == 0 {
			return nil
		}
		if i.Size > i.Options.Size {
			return fmt.Errorf("%d bytes are needed, %d are there: %w", i.Size, i.Options.Size, ErrFull)
		}
		i.Size = i.Options.Size
		return nil
	}
	return fmt.Errorf("%d clusters: more than any FAT has: %w", i.Used, ErrFull)
}

func kindOf(clusters int) Kind {
	switch {
	case clusters < minFAT16:
		return FAT12
	case clusters < minFAT32:
		return FAT16
	}
	return FAT32
}

// clearOf moves a number of clusters away from where kinds change: down where the size is
// given, and up into the next kind else.
func clearOf(kind Kind, clusters int, down bool) int {
	if kind == FAT32 && !down {
		return max(clusters, minFAT32+margin)
	}
	for _, limit := range []int{minFAT16, minFAT32} {
		if clusters > limit-margin && clusters < limit+margin {
			if down {
				return limit - margin
			}
			return limit + margin
		}
	}
	return clusters
}

// needed are the clusters of all files and folders.
func (i *Image) needed() int {
	n := 0
	i.root.walk(func(d *dir) {
		if d != i.root || i.Kind == FAT32 {
			n += i.clustersOf(d.size(i.Kind))
		}
		for _, e := range d.entries {
			if e.dir == nil {
				n += i.clustersOf(e.file.Size)
			}
		}
	})
	return n
}

func (i *Image) clusterSize() int64 { return int64(i.Blocks) * sector }

func (i *Image) clustersOf(size int64) int {
	return int((size + i.clusterSize() - 1) / i.clusterSize())
}

// numbers are those of an image with so many clusters.
func (i *Image) numbers(clusters int) layout {
	l := layout{reserved: 1}
	switch i.Kind {
	case FAT32:
		l.reserved = 32
	default:
		const usual = 256 // entries, as rpi-make-boot-image has them
		l.rootSize = max(usual*entrySize, roundUp(int(i.root.size(i.Kind)), sector)) / sector
	}
	l.table = (((clusters+2)*int(i.Kind)+7)/8 + sector - 1) / sector
	l.sectors = l.reserved + i.Tables*l.table + l.rootSize + clusters*i.Blocks
	return l
}

// most is how many clusters an image of a size can have.
func (i *Image) most(size int64) int {
	low, high := 0, int(size/i.clusterSize())
	for low < high {
		n := (low + high + 1) / 2
		if int64(i.numbers(n).sectors)*sector <= size {
			low = n
		} else {
			high = n - 1
		}
	}
	return low
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

// place gives every folder and file its first cluster, folders first.
func (i *Image) place() {
	next := 2
	take := func(size int64) (first int) {
		n := i.clustersOf(size)
		if n == 0 {
			return 0
		}
		first, next = next, next+n
		return first
	}
	i.root.walk(func(d *dir) {
		i.dirs = append(i.dirs, d)
		if d != i.root || i.Kind == FAT32 {
			d.cluster = take(d.size(i.Kind))
		}
	})
	for _, d := range i.dirs {
		for _, e := range d.entries {
			if e.dir == nil {
				e.cluster = take(e.file.Size)
			} else {
				e.cluster = e.dir.cluster
			}
		}
	}
}

// extents are the runs of clusters in use, in order: the first cluster and how many.
func (i *Image) extents() [][2]int {
	var all [][2]int
	add := func(first int, size int64) {
		if first > 0 {
			all = append(all, [2]int{first, i.clustersOf(size)})
		}
	}
	for _, d := range i.dirs {
		add(d.cluster, d.size(i.Kind))
		for _, e := range d.entries {
			if e.dir == nil {
				add(e.cluster, e.file.Size)
			}
		}
	}
	slices.SortFunc(all, func(a, b [2]int) int { return a[0] - b[0] })
	return all
}
