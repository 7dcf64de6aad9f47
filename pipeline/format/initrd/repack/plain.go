package repack

import (
	"io"

	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// plainEnd finds what follows the plain archive at offset at: the offset of the first byte
// behind it that is not NUL, or size. Bodies are skipped.
func plainEnd(base io.ReaderAt, at, size int64, l initrd.Limits, skipNUL func(int64) (int64, error)) (int64, error) {
	buf := make([]byte, newc.HeaderLen+len(newc.Trailer)+1)
	for {
		if _, err := base.ReadAt(buf, at); err != nil {
			return at, err
		}
		e, n, err := newc.DecodeHeader(buf, l.Name)
		if err != nil {
			return at, err
		}
		name := newc.HeaderLen + newc.NameLen(n)
		ended := n == len(newc.Trailer)+1 && string(buf[newc.HeaderLen:len(buf)-1]) == newc.Trailer
		at += int64(name) + e.Size + -e.Size&3
		if ended {
			return skipNUL(at)
		}
	}
}
