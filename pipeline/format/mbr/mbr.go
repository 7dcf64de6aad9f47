// Package mbr writes the first sector of a disk with partitions of the PC's kind: what a
// Raspberry Pi's boot ROM and bootloader look for on an SD card. Sectors have 512 bytes.
package mbr

import (
	"encoding/binary"
	"errors"
)

// Sector is the size of a sector in bytes.
const Sector = 512

// Types of partitions.
const (
	FAT16 = 0x0e // with LBA
	FAT32 = 0x0c // with LBA
	FAT12 = 0x01
)

// Partition is one of at most four.
type Partition struct {
	Type   byte
	First  uint32 // sector
	Count  uint32 // sectors
	Active bool
}

// Write is the first sector of a disk with that signature.
func Write(id uint32, partitions ...Partition) ([Sector]byte, error) {
	var b [Sector]byte
	if len(partitions) > 4 {
		return b, errors.New("more than four partitions")
	}
	binary.LittleEndian.PutUint32(b[440:], id)
	end := uint32(1)
	for n, p := range partitions {
		if p.First < end || p.Count == 0 || p.First+p.Count < p.First {
			return b, errors.New("partitions lie over each other, or over the first sector")
		}
		end = p.First + p.Count
		e := b[446+16*n:]
		if p.Active {
			e[0] = 0x80
		}
		e[4] = p.Type
		// Cylinders, heads and sectors: out of reach, look at the numbers behind.
		copy(e[1:], "\xfe\xff\xff")
		copy(e[5:], "\xfe\xff\xff")
		binary.LittleEndian.PutUint32(e[8:], p.First)
		binary.LittleEndian.PutUint32(e[12:], p.Count)
	}
	b[510], b[511] = 0x55, 0xaa
	return b, nil
}
