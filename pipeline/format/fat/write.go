package fat

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"
	"unicode/utf16"
)

// WriteTo writes the image. Each file has to have the size that it was laid out with.
func (i *Image) WriteTo(w io.Writer) (int64, error) {
	out := &counter{w: bufio.NewWriterSize(w, 1<<20)}
	for _, write := range []func(*counter) error{i.writeReserved, i.writeTables, i.writeRoot, i.writeDirs, i.writeFiles} {
		if err := write(out); err != nil {
			return out.n, err
		}
	}
	if err := out.pad(i.Size); err != nil {
		return out.n, err
	}
	return out.n, out.w.Flush()
}

// counter knows how far it has written.
type counter struct {
	w *bufio.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// pad writes zeros up to the offset to.
func (c *counter) pad(to int64) error {
	if to < c.n {
		return fmt.Errorf("at byte %d, and wanted to be at %d", c.n, to)
	}
	zeros := make([]byte, 1<<16)
	for c.n < to {
		if _, err := c.Write(zeros[:min(int64(len(zeros)), to-c.n)]); err != nil {
			return err
		}
	}
	return nil
}

var le = binary.LittleEndian

// bootSector is the first sector (FAT specification, 3.1 to 3.3).
func (i *Image) bootSector() []byte {
	b := make([]byte, sector)
	copy(b, "\xeb\x58\x90MSWIN4.1")
	le.PutUint16(b[11:], sector)
	b[13] = byte(i.Blocks)
	le.PutUint16(b[14:], uint16(i.reserved))
	b[16] = byte(i.Tables)
	le.PutUint16(b[17:], uint16(i.rootSize*sector/entrySize))
	if i.sectors < 1<<16 && i.Kind != FAT32 {
		le.PutUint16(b[19:], uint16(i.sectors))
	} else {
		le.PutUint32(b[32:], uint32(i.sectors))
	}
	b[21] = 0xf8 // a fixed disk
	le.PutUint16(b[24:], 32)
	le.PutUint16(b[26:], 64)
	le.PutUint32(b[28:], i.Hidden)
	tail := b[36:]
	if i.Kind == FAT32 {
		le.PutUint32(b[36:], uint32(i.table))
		le.PutUint32(b[44:], uint32(i.root.cluster))
		le.PutUint16(b[48:], 1) // FSInfo
		le.PutUint16(b[50:], backup)
		tail = b[64:]
	} else {
		b[1] = 0x3c
		le.PutUint16(b[22:], uint16(i.table))
	}
	tail[0], tail[2] = 0x80, 0x29
	le.PutUint32(tail[3:], i.Serial)
	copy(tail[7:], fmt.Sprintf("%-11s", i.Label))
	copy(tail[18:], fmt.Sprintf("FAT%-5d", i.Kind))
	b[510], b[511] = 0x55, 0xaa
	return b
}

// backup is the sector of FAT32's second boot sector.
const backup = 6

// info is FAT32's FSInfo: how many clusters are free, and where to look for one.
func (i *Image) info() []byte {
	b := make([]byte, sector)
	copy(b, "RRaA")
	copy(b[484:], "rrAa")
	le.PutUint32(b[488:], uint32(i.Clusters-i.Used))
	le.PutUint32(b[492:], uint32(i.Used+2))
	b[510], b[511] = 0x55, 0xaa
	return b
}

func (i *Image) writeReserved(out *counter) error {
	if _, err := out.Write(i.bootSector()); err != nil {
		return err
	}
	if i.Kind == FAT32 {
		if _, err := out.Write(i.info()); err != nil {
			return err
		}
		if err := out.pad(backup * sector); err != nil {
			return err
		}
		if _, err := out.Write(append(i.bootSector(), i.info()...)); err != nil {
			return err
		}
	}
	return out.pad(int64(i.reserved) * sector)
}

// tableBytes is one table: every file is one run of clusters.
func (i *Image) tableBytes() []byte {
	b := make([]byte, i.table*sector)
	end := map[Kind]int{FAT12: 0xfff, FAT16: 0xffff, FAT32: 0x0fffffff}[i.Kind]
	i.set(b, 0, end&^0xff|0xf8)
	i.set(b, 1, end)
	for _, run := range i.extents() {
		first, n := run[0], run[1]
		for c := first; c < first+n-1; c++ {
			i.set(b, c, c+1)
		}
		i.set(b, first+n-1, end)
	}
	return b
}

func (i *Image) set(table []byte, cluster, value int) {
	switch i.Kind {
	case FAT12:
		at := cluster * 3 / 2
		if cluster%2 == 0 {
			table[at] = byte(value)
			table[at+1] = table[at+1]&0xf0 | byte(value>>8)
		} else {
			table[at] = table[at]&0x0f | byte(value<<4)
			table[at+1] = byte(value >> 4)
		}
	case FAT16:
		le.PutUint16(table[2*cluster:], uint16(value))
	case FAT32:
		le.PutUint32(table[4*cluster:], uint32(value))
	}
}

func (i *Image) writeTables(out *counter) error {
	table := i.tableBytes()
	for range i.Tables {
		if _, err := out.Write(table); err != nil {
			return err
		}
	}
	return nil
}

// writeRoot writes the root of FAT12 and FAT16, which lies before the clusters.
func (i *Image) writeRoot(out *counter) error {
	if i.Kind == FAT32 {
		return nil
	}
	if _, err := out.Write(i.dirBytes(i.root)); err != nil {
		return err
	}
	return out.pad(i.dataStart())
}

// dataStart is the offset of the first cluster in bytes.
func (i *Image) dataStart() int64 {
	return int64(i.reserved+i.Tables*i.table+i.rootSize) * sector
}

// offset is that of a cluster.
func (i *Image) offset(cluster int) int64 { return i.dataStart() + int64(cluster-2)*i.clusterSize() }

func (i *Image) writeDirs(out *counter) error {
	for _, d := range i.dirs {
		if d.cluster == 0 {
			continue
		}
		if err := out.pad(i.offset(d.cluster)); err != nil {
			return err
		}
		if _, err := out.Write(i.dirBytes(d)); err != nil {
			return err
		}
	}
	return nil
}

func (i *Image) writeFiles(out *counter) error {
	for _, d := range i.dirs {
		for _, e := range d.entries {
			if e.dir != nil || e.cluster == 0 {
				continue
			}
			if err := out.pad(i.offset(e.cluster)); err != nil {
				return err
			}
			if err := copyFile(out, e.file); err != nil {
				return fmt.Errorf("%s: %w", e.file.Path, err)
			}
		}
	}
	return nil
}

func copyFile(out io.Writer, f File) error {
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	n, err := io.Copy(out, io.LimitReader(in, f.Size+1))
	if err == nil && n != f.Size {
		return fmt.Errorf("is not of the %d bytes that it was said to be", f.Size)
	}
	return err
}

// Attributes of directory entries.
const (
	attrLabel   = 0x08
	attrDir     = 0x10
	attrArchive = 0x20
	attrLong    = 0x0f
)

// dirBytes are the entries of a folder.
func (i *Image) dirBytes(d *dir) []byte {
	var b []byte
	if d.parent == nil {
		label := [11]byte{}
		copy(label[:], fmt.Sprintf("%-11s", i.Label))
		b = append(b, i.shortEntry(label, attrLabel, 0, 0)...)
	} else {
		up := d.parent.cluster
		if d.parent.parent == nil {
			up = 0 // the root is cluster 0 there, wherever it lies
		}
		b = append(b, i.shortEntry(pack(".", ""), attrDir, d.cluster, 0)...)
		b = append(b, i.shortEntry(pack("..", ""), attrDir, up, 0)...)
	}
	for _, e := range d.entries {
		b = append(b, e.longName()...)
		if e.dir != nil {
			b = append(b, i.shortEntry(e.short, attrDir, e.cluster, 0)...)
		} else {
			b = append(b, i.shortEntry(e.short, attrArchive, e.cluster, e.file.Size)...)
		}
	}
	return b
}

func (i *Image) shortEntry(name [11]byte, attr byte, cluster int, size int64) []byte {
	b := make([]byte, entrySize)
	copy(b, name[:])
	b[11] = attr
	date, clock := dosTime(i.Epoch)
	le.PutUint16(b[14:], clock) // made
	le.PutUint16(b[16:], date)
	le.PutUint16(b[18:], date) // read
	le.PutUint16(b[20:], uint16(cluster>>16))
	le.PutUint16(b[22:], clock) // written
	le.PutUint16(b[24:], date)
	le.PutUint16(b[26:], uint16(cluster))
	le.PutUint32(b[28:], uint32(size))
	return b
}

// dosTime is a time as FAT has it: years from 1980 on, and every other second.
func dosTime(epoch int64) (date, clock uint16) {
	t := time.Unix(epoch, 0).UTC()
	year := min(max(t.Year()-1980, 0), 127)
	return uint16(year<<9 | int(t.Month())<<5 | t.Day()), uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
}

// longName are the entries of the long name, the last part first.
func (e *entry) longName() []byte {
	units := utf16.Encode([]rune(e.long))
	n := e.longEntries()
	var b []byte
	for part := n; part >= 1; part-- {
		l := make([]byte, entrySize)
		l[0] = byte(part)
		if part == n {
			l[0] |= 0x40
		}
		l[11] = attrLong
		l[13] = checksum(e.short)
		for c, at := range longOffsets {
			u := uint16(0xffff)
			switch k := (part-1)*13 + c; {
			case k < len(units):
				u = units[k]
			case k == len(units):
				u = 0
			}
			le.PutUint16(l[at:], u)
		}
		b = append(b, l...)
	}
	return b
}

// longOffsets are where the 13 characters of a long entry lie.
var longOffsets = [13]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}

// checksum ties long entries to their short one.
func checksum(short [11]byte) (sum byte) {
	for _, c := range short {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}
