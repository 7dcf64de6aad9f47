package codec

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// frame passes on the bytes of one zstd frame and then answers io.EOF. The decoder of
// the library reads frame after frame and takes NUL padding between initramfs members
// for damage, so that it must not see more than its own frame.
//
// The layout is that of RFC 8878, section 3.1.1.
type frame struct {
	r        *bufio.Reader
	left     int64 // bytes of the header or block being passed on
	begun    bool
	last     bool // the block being passed on is the last one
	done     bool
	checksum bool
}

// errFrame is damage in the outer structure of a frame.
var errFrame = errors.New("malformed zstd frame")

func (f *frame) Read(p []byte) (int, error) {
	for f.left == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n, err := f.r.Read(p[:min(int64(len(p)), f.left)])
	f.left -= int64(n)
	if err == io.EOF && f.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// next sets left to the length of the next piece: the header, a block or the checksum.
func (f *frame) next() error {
	switch {
	case f.done:
		return io.EOF
	case !f.begun:
		f.begun = true
		return f.header()
	case f.last:
		f.done = true
		if f.checksum {
			f.left = 4
		}
		return nil
	}
	b, err := f.r.Peek(3)
	if err != nil {
		return errFrame
	}
	h := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
	f.last = h&1 == 1
	size := int64(h >> 3)
	switch h >> 1 & 3 {
	case 1: // one byte, repeated
		size = 1
	case 3:
		return errFrame
	}
	f.left = 3 + size
	return nil
}

func (f *frame) header() error {
	b, err := f.r.Peek(5)
	if err != nil || binary.LittleEndian.Uint32(b) != 0xfd2fb528 {
		return errFrame
	}
	desc := b[4]
	f.checksum = desc&4 != 0
	single := desc&0x20 != 0
	f.left = 5 + []int64{0, 1, 2, 4}[desc&3] + []int64{0, 2, 4, 8}[desc>>6]
	if !single {
		f.left++ // window descriptor
	}
	if single && desc>>6 == 0 {
		f.left++ // content size of one byte
	}
	return nil
}
