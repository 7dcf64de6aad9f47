package newc

import (
	"encoding/hex"
	"fmt"
)

// AppendHeader appends the header of e, its name and the padding after the name. It takes
// every field as it is; whether the name is one that an archive should hold is the
// caller's question.
func AppendHeader(b []byte, e Entry) []byte {
	b = appendFields(b, e, len(e.Name)+1)
	b = append(b, e.Name...)
	b = append(b, 0)
	return append(b, make([]byte, -(HeaderLen+len(e.Name)+1)&3)...)
}

// appendFields appends the fixed part of a header. Digits are upper case, as those of
// GNU cpio.
func appendFields(b []byte, e Entry, name int) []byte {
	magic := "070701"
	if e.Summed {
		magic = "070702"
	} else {
		e.Sum = 0
	}
	b = append(b, magic...)
	for _, f := range [13]uint32{
		e.Ino, e.Mode, e.UID, e.GID, e.Links, e.Time, uint32(e.Size),
		e.Dev.Major, e.Dev.Minor, e.RDev.Major, e.RDev.Minor, uint32(name), e.Sum,
	} {
		for shift := 28; shift >= 0; shift -= 4 {
			b = append(b, "0123456789ABCDEF"[f>>shift&15])
		}
	}
	return b
}

// DecodeHeader decodes the fixed part of a header, [HeaderLen] bytes of h, and answers the
// length of the name with its NUL, which is at least 1 and at most limit. The name, padded
// so that the body begins at a multiple of 4 from the header, follows. Damage is an
// [ErrFormat]. A check field in 070701 has no meaning and is passed over, as the kernel
// does.
func DecodeHeader(h []byte, limit int) (Entry, int, error) {
	magic := string(h[:magicLen])
	if magic != "070701" && magic != "070702" {
		return Entry{}, 0, fmt.Errorf("magic %q: %w", magic, ErrFormat)
	}
	var f [13]uint32
	for n := range f {
		v, err := field(h[magicLen+8*n:][:8])
		if err != nil {
			return Entry{}, 0, err
		}
		f[n] = v
	}
	if f[11] < 1 || int64(f[11]) > int64(limit) {
		return Entry{}, 0, fmt.Errorf("name of %d bytes: %w", f[11], ErrFormat)
	}
	e := Entry{
		Ino: f[0], Mode: f[1], UID: f[2], GID: f[3], Links: f[4], Time: f[5], Size: int64(f[6]),
		Dev: Device{f[7], f[8]}, RDev: Device{f[9], f[10]},
	}
	if e.Summed = magic == "070702"; e.Summed {
		e.Sum = f[12]
	}
	return e, int(f[11]), nil
}

// field decodes eight hexadecimal digits of either case.
func field(b []byte) (uint32, error) {
	var raw [4]byte
	if _, err := hex.Decode(raw[:], b); err != nil {
		return 0, fmt.Errorf("field %q is no hexadecimal number: %w", b, ErrFormat)
	}
	return uint32(raw[0])<<24 | uint32(raw[1])<<16 | uint32(raw[2])<<8 | uint32(raw[3]), nil
}

// DecodeName takes the name out of b, which is the name and its NUL, n bytes, and padding.
func DecodeName(b []byte, n int) (string, error) {
	for i, c := range b[:n] {
		if c == 0 && i != n-1 || c != 0 && i == n-1 {
			return "", fmt.Errorf("name %.80q is not ended by its last byte: %w", b[:n], ErrFormat)
		}
	}
	return string(b[:n-1]), nil
}

// NameLen is the length in bytes of a name of n bytes, with its NUL and the padding that
// brings the body to a multiple of 4 from the header.
func NameLen(n int) int { return n + -(HeaderLen+n)&3 }
