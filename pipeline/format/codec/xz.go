package codec

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// errXZ is damage in the outer structure of a stream.
var errXZ = errors.New("malformed stream")

func newXZReader(r *bufio.Reader) (io.ReadCloser, error) {
	s := &xzStream{r: r}
	z, err := xz.NewReader(&pieces{r: r, next: s.next})
	if err != nil {
		return nil, err
	}
	return io.NopCloser(z), nil
}

// newLZMAReader reads the format before xz. Its decoder takes byte after byte and stops
// by itself: at the size of the header, or at the end mark.
func newLZMAReader(r *bufio.Reader) (io.ReadCloser, error) {
	z, err := lzma.ReaderConfig{DictCap: maxWindow}.NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(z), nil
}

// xzStream follows the layout of one stream (https://tukaani.org/xz/xz-file-format.txt)
// and refuses what the library would ask too much memory for.
type xzStream struct {
	r     *bufio.Reader
	state func() (int64, error)
	check int64 // bytes of the checksum after each block
	size  int64 // of the block's data so far
}

func (s *xzStream) next() (int64, error) {
	if s.state == nil {
		return s.header()
	}
	return s.state()
}

func (s *xzStream) header() (int64, error) {
	b, err := s.r.Peek(12)
	if err != nil || string(b[:6]) != "\xfd7zXZ\x00" {
		return 0, errXZ
	}
	s.check = []int64{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}[b[7]&15]
	s.state = s.block
	return 12, nil
}

// block reads the header of a block or, where the blocks end, the index.
func (s *xzStream) block() (int64, error) {
	b, err := s.r.Peek(1)
	if err != nil {
		return 0, errXZ
	}
	if b[0] == 0 {
		return s.index()
	}
	if b, err = s.r.Peek((int(b[0]) + 1) * 4); err != nil {
		return 0, errXZ
	}
	if err := checkFilters(b[1 : len(b)-4]); err != nil {
		return 0, err
	}
	s.size, s.state = 0, s.chunk
	return int64(len(b)), nil
}

// checkFilters reads a block header from its flags on: LZMA2 alone is what the library
// can decode, and its window is bounded.
func checkFilters(b []byte) error {
	flags, b := b[0], b[1:]
	for _, present := range []byte{0x40, 0x80} {
		if flags&present != 0 {
			if _, b = varint(b); b == nil {
				return errXZ
			}
		}
	}
	id, b := varint(b)
	_, b = varint(b)
	switch {
	case len(b) == 0:
		return errXZ
	case flags&3 != 0 || id != 0x21:
		return fmt.Errorf("filter %#x besides LZMA2: %w", id, errors.ErrUnsupported)
	case b[0] > 40 || int64(2|b[0]&1)<<(b[0]/2+11) > maxWindow:
		return fmt.Errorf("window larger than %d MiB: %w", maxWindow>>20, errors.ErrUnsupported)
	}
	return nil
}

// chunk is one piece of LZMA2 data.
func (s *xzStream) chunk() (int64, error) {
	b, err := s.r.Peek(1)
	if err != nil {
		return 0, errXZ
	}
	var n int64
	switch c := b[0]; {
	case c == 0:
		s.state = s.block
		return 1 + -(s.size+1)&3 + s.check, nil
	case c < 3:
		if b, err = s.r.Peek(3); err != nil {
			return 0, errXZ
		}
		n = 3 + int64(binary.BigEndian.Uint16(b[1:])) + 1
	case c >= 0x80:
		if b, err = s.r.Peek(5); err != nil {
			return 0, errXZ
		}
		n = 5 + int64(binary.BigEndian.Uint16(b[3:])) + 1
		if c >= 0xc0 {
			n++ // properties
		}
	default:
		return 0, errXZ
	}
	s.size += n
	return n, nil
}

// index begins the index: its mark and the number of its records.
func (s *xzStream) index() (int64, error) {
	b, _ := s.r.Peek(10)
	records, rest := varint(b[1:])
	if rest == nil {
		return 0, errXZ
	}
	s.size = int64(len(b) - len(rest))
	left := 2 * records // numbers
	s.state = func() (int64, error) {
		if left == 0 {
			s.state = func() (int64, error) { return 0, io.EOF }
			return -s.size&3 + 4 + 12, nil // padding, checksum, footer
		}
		left--
		b, _ := s.r.Peek(9)
		_, rest := varint(b)
		if rest == nil {
			return 0, errXZ
		}
		n := int64(len(b) - len(rest))
		s.size += n
		return n, nil
	}
	return s.size, nil
}

// varint decodes a number and answers what follows, nil where there is none.
func varint(b []byte) (uint64, []byte) {
	n, k := binary.Uvarint(b)
	if k <= 0 {
		return 0, nil
	}
	return n, b[k:]
}
