// Package sdcard makes disk images with one FAT partition of boot files: what a Raspberry
// Pi, or UEFI firmware, starts from when it is put on an SD card, a USB stick or a disk.
package sdcard

import (
	"cmp"
	"fmt"
	"io"
	"strconv"

	"piimg/pipeline/format/fat"
	"piimg/pipeline/format/mbr"
)

const (
	// start is the first sector of the partition: 1 MiB, where partitions begin today.
	start = 2048
	mib   = 1 << 20

	// least is the size of the smallest partition in bytes: the boot ROM of a Pi 3 reads
	// FAT16 and FAT32 only, and this is well within the latter.
	least = 64 * mib
)

// Options are what the files do not say. The zero value is usual.
type Options struct {
	Size  int64  // of the disk image in bytes, a multiple of 1 MiB; 0: the files and a quarter more
	Label string // of the file system, as [CheckLabel] allows; "PIIMG" where it is empty
	ID    uint32 // of the disk and the file system
	Epoch int64  // every time, in Unix seconds
}

// Image is a disk image that is laid out.
type Image struct {
	Size int64 // bytes

	head [mbr.Sector]byte
	fat  *fat.Image
}

// New lays out files.
func New(files []fat.File, o Options) (*Image, error) {
	if o.Size == 0 {
		var content int64
		for _, f := range files {
			content += f.Size
		}
		o.Size = start*mbr.Sector + max(least, (content*5/4+4*mib-1)/(4*mib)*4*mib)
	}
	if err := checkSize(o.Size); err != nil {
		return nil, err
	}
	count := o.Size/mbr.Sector - start
	blocks := 1
	for int64(blocks) < 64 && count/int64(blocks) > 1<<20 {
		blocks *= 2 // keep the table below 4 MiB
	}
	i := &Image{Size: o.Size}
	var err error
	i.fat, err = fat.New(files, fat.Options{
		Size: count * mbr.Sector, Slack: 64 << 10, Tables: 2, Blocks: blocks, Label: cmp.Or(o.Label, "PIIMG"), Serial: o.ID, Epoch: o.Epoch, Hidden: start,
	})
	if err != nil {
		return nil, err
	}
	kind := map[fat.Kind]byte{fat.FAT12: mbr.FAT12, fat.FAT16: mbr.FAT16, fat.FAT32: mbr.FAT32}[i.fat.Kind]
	i.head, err = mbr.Write(o.ID, mbr.Partition{Type: kind, First: start, Count: uint32(count), Active: true})
	return i, err
}

// WriteTo writes the image from beginning to end.
func (i *Image) WriteTo(w io.Writer) (int64, error) {
	if _, err := w.Write(i.head[:]); err != nil {
		return 0, err
	}
	if _, err := w.Write(make([]byte, (start-1)*mbr.Sector)); err != nil {
		return 0, err
	}
	n, err := i.fat.WriteTo(w)
	return n + start*mbr.Sector, err
}

// CheckLabel says what is wrong with the label of a file system.
func CheckLabel(label string) error { return fat.CheckLabel(label) }

func checkSize(size int64) error {
	if size%mib != 0 {
		return fmt.Errorf("size %d is not a multiple of 1 MiB", size)
	}
	if size <= start*mbr.Sector || size/mbr.Sector >= 1<<32 {
		return fmt.Errorf("a disk of %s: it has to have 2M or more, and less than 2048G", FormatSize(size))
	}
	return nil
}

// ParseSize reads the size of a disk for people: 512M or 4G, in powers of 1024. One that no
// disk image can have is an error.
func ParseSize(text string) (int64, error) {
	digits := len(text) - 1
	if digits > 0 {
		unit := map[byte]int64{'M': mib, 'G': 1 << 30}[text[digits]]
		if n, err := strconv.ParseUint(text[:digits], 10, 31); err == nil && n > 0 && unit > 0 {
			size := int64(n) * unit
			if err := checkSize(size); err != nil {
				return 0, err
			}
			return size, nil
		}
	}
	return 0, fmt.Errorf("%q is no size: write it as 512M or 4G", text)
}

// FormatSize is the text that [ParseSize] reads as size bytes, a multiple of 1 MiB.
func FormatSize(size int64) string {
	if size%(1<<30) == 0 {
		return fmt.Sprintf("%dG", size>>30)
	}
	return fmt.Sprintf("%dM", size/mib)
}
