package codec

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

// errZstd is damage in the outer structure of a frame.
var errZstd = errors.New("malformed frame")

func newZstdReader(r *bufio.Reader) (io.ReadCloser, error) {
	f := &zstdFrame{r: r}
	z, err := zstd.NewReader(&pieces{r: r, next: f.next}, zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return z.IOReadCloser(), nil
}

// zstdFrame follows the layout of one frame: RFC 8878, section 3.1.1.
type zstdFrame struct {
	r        *bufio.Reader
	begun    bool
	last     bool // the block before was the last one
	done     bool
	checksum bool
}

// next answers the length of the header, a block or the checksum.
func (f *zstdFrame) next() (int64, error) {
	switch {
	case f.done:
		return 0, io.EOF
	case !f.begun:
		f.begun = true
		return f.header()
	case f.last:
		f.done = true
		if f.checksum {
			return 4, nil
		}
		return 0, nil
	}
	b, err := f.r.Peek(3)
	if err != nil {
		return 0, errZstd
	}
	h := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
	f.last = h&1 == 1
	size := int64(h >> 3)
	switch h >> 1 & 3 {
	case 1: // one byte, repeated
		size = 1
	case 3:
		return 0, errZstd
	}
	return 3 + size, nil
}

func (f *zstdFrame) header() (int64, error) {
	b, err := f.r.Peek(5)
	if err != nil || binary.LittleEndian.Uint32(b) != 0xfd2fb528 {
		return 0, errZstd
	}
	desc := b[4]
	f.checksum = desc&4 != 0
	single := desc&0x20 != 0
	n := 5 + []int64{0, 1, 2, 4}[desc&3] + []int64{0, 2, 4, 8}[desc>>6]
	if !single || desc>>6 == 0 {
		n++ // window descriptor, or content size of one byte
	}
	return n, nil
}
