package codec

import (
	"bufio"
	"compress/bzip2"
	"io"
)

func newBzip2Reader(r *bufio.Reader) io.ReadCloser {
	return io.NopCloser(bzip2.NewReader(&bzip2Stream{r: r, left: -1}))
}

// bzip2Mark ends a stream, at any bit; a checksum of 32 bits follows, then bits up to the
// next byte. Blocks have another mark. That data has this value by chance is as likely as
// a broken checksum of 48 bits that fits, and would be an error.
const (
	bzip2Mark     = 0x177245385090
	bzip2MarkMask = 1<<48 - 1
)

// bzip2Stream passes on the bytes of one stream and then answers io.EOF: the library
// would read on to look for another one.
type bzip2Stream struct {
	r    *bufio.Reader
	seen uint64 // the last 8 bytes
	left int    // bytes up to the end, -1 as long as the mark was not seen
}

func (s *bzip2Stream) ReadByte() (byte, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	b, err := s.r.ReadByte()
	if err != nil {
		return 0, err
	}
	if s.left > 0 {
		s.left--
		return b, nil
	}
	s.seen = s.seen<<8 | uint64(b)
	for bit := range 8 {
		if s.seen>>bit&bzip2MarkMask == bzip2Mark {
			s.left = (32 - bit + 7) / 8
		}
	}
	return b, nil
}

func (s *bzip2Stream) Read(p []byte) (int, error) {
	for n := range p {
		b, err := s.ReadByte()
		if err != nil {
			return n, err
		}
		p[n] = b
	}
	return len(p), nil
}
