package arm64

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// HeaderSize is the size of the header in bytes.
const HeaderSize = 64

// Header is the header of a kernel image.
type Header struct {
	Gzip       bool   // a gzip member, presumably an image; nothing else is set
	TextOffset uint64 // bytes from a 2 MB boundary to where the image is loaded
	ImageSize  uint64 // bytes of memory that the kernel needs, at least; 0 before Linux 3.17
	BigEndian  bool
	PageSize   int  // bytes; 0 if the image does not say
	Anywhere   bool // the image may lie anywhere in memory
	EFI        bool // a PE header follows: the image is an EFI program too
}

// WrongKindError says what a file is that is no arm64 kernel image.
type WrongKindError struct {
	Kind string // such as "a 32-bit ARM zImage"
	Need string // what to do, such as "build ARCH=arm64 Image"
}

func (e *WrongKindError) Error() string {
	return fmt.Sprintf("%s, not an arm64 kernel image: %s", e.Kind, e.Need)
}

// ParseHeader reads the header at the beginning of a file. The error is a
// [*WrongKindError]. 1 KiB of the file is enough to name every kind that is known.
func ParseHeader(data []byte) (*Header, error) {
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		return &Header{Gzip: true}, nil
	}
	if len(data) < HeaderSize || string(data[56:60]) != "ARM\x64" {
		return nil, wrongKind(data)
	}
	word := func(at int) uint64 { return binary.LittleEndian.Uint64(data[at:]) }
	flags := word(24)
	return &Header{
		TextOffset: word(8),
		ImageSize:  word(16),
		BigEndian:  flags&1 != 0,
		PageSize:   []int{0, 4 << 10, 16 << 10, 64 << 10}[flags>>1&3],
		Anywhere:   flags>>3&1 != 0,
		EFI:        string(data[:2]) == "MZ",
	}, nil
}

const needImage = "use arch/arm64/boot/Image (or Image.gz) of a kernel built for arm64"

// kinds are files that are mistaken for an arm64 image, most certain sign first.
var kinds = []struct {
	at    int
	magic string
	kind  string
	need  string
}{
	{0x24, "\x18\x28\x6f\x01", "a 32-bit ARM zImage", "boot it with arm_64bit=0, or " + needImage},
	{0x24, "\x01\x6f\x28\x18", "a 32-bit big-endian ARM zImage", needImage},
	{0x202, "HdrS", "an x86 bzImage", needImage},
	{4, "zimg", "an EFI zboot image (vmlinuz.efi)", "the firmware cannot unpack it; " + needImage},
	{0, "\x27\x05\x19\x56", "a U-Boot uImage", "take the image out of it (dumpimage), or " + needImage},
	{0, "\xd0\x0d\xfe\xed", "a device tree or a FIT image", needImage},
	{0x30, "RISCV", "a RISC-V kernel image", needImage},
	{0, "\xfd7zXZ\x00", "an xz file", "unpack it; the firmware unpacks gzip only"},
	{0, "\x28\xb5\x2f\xfd", "a zstd file", "unpack it; the firmware unpacks gzip only"},
	{0, "\x02\x21\x4c\x18", "an LZ4 file", "unpack it; the firmware unpacks gzip only"},
	{0, "BZh", "a bzip2 file", "unpack it; the firmware unpacks gzip only"},
	{0, "070701", "a cpio archive, perhaps the initramfs", needImage},
	{0, "#!", "a script", needImage},
	{0, "version https://git-lfs", "a Git LFS pointer", "fetch the file itself (git lfs pull)"},
	{0, "<", "a page of HTML or XML", "look at where it was downloaded from"},
}

func wrongKind(data []byte) error {
	for _, k := range kinds {
		if len(data) > k.at && bytes.HasPrefix(data[k.at:], []byte(k.magic)) {
			return &WrongKindError{k.kind, k.need}
		}
	}
	switch {
	case len(data) == 0:
		return &WrongKindError{"an empty file", needImage}
	case bytes.HasPrefix(data, []byte("\x7fELF")):
		return &WrongKindError{elfKind(data), "it is what the linker made (vmlinux); " + needImage}
	case bytes.HasPrefix(data, []byte("MZ")):
		return &WrongKindError{peKind(data), needImage}
	case len(data) < HeaderSize:
		return &WrongKindError{fmt.Sprintf("a file of %d bytes", len(data)), needImage}
	}
	return &WrongKindError{"an unknown file", needImage}
}

// elfKind names the machine of an ELF file (e_machine of the ELF specification).
func elfKind(data []byte) string {
	if len(data) >= 20 {
		order := binary.ByteOrder(binary.LittleEndian)
		if data[5] == 2 {
			order = binary.BigEndian
		}
		switch order.Uint16(data[18:]) {
		case 40:
			return "an ELF file for 32-bit ARM"
		case 62:
			return "an ELF file for x86-64"
		case 137:
			return "an ELF file for VideoCore, perhaps start4.elf"
		case 183:
			return "an ELF file for arm64"
		}
	}
	return "an ELF file"
}

// peKind names the machine of an EFI program without a kernel header (COFF's Machine).
func peKind(data []byte) string {
	if len(data) >= HeaderSize {
		at := int(binary.LittleEndian.Uint32(data[0x3c:]))
		if at < len(data)-6 && string(data[at:at+4]) == "PE\x00\x00" {
			switch binary.LittleEndian.Uint16(data[at+4:]) {
			case 0xaa64:
				return "an EFI program for arm64"
			case 0x8664:
				return "an EFI program for x86-64"
			case 0x1c2, 0x1c4:
				return "an EFI program for 32-bit ARM"
			}
		}
	}
	return "an EFI program"
}
