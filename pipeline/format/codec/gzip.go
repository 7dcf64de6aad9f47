package codec

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"piimg/pipeline/format/deflate"
)

// ErrChecksum is plain data that is not what was compressed.
var ErrChecksum = errors.New("gzip: checksum or length is wrong")

// gzipReader reads one member, with the decoder that re-uses blocks: it needs two thirds
// of the time of github.com/klauspost/compress (go test -bench . in package deflate).
type gzipReader struct {
	r     *bufio.Reader
	z     *deflate.Reader
	chunk []byte // decoded and not read
	crc   uint32
	n     uint32
	err   error
}

func newGzipReader(r *bufio.Reader) (io.ReadCloser, error) {
	if _, err := SkipGzipHeader(r); err != nil {
		return nil, err
	}
	return &gzipReader{r: r, z: deflate.NewPeekReader(r)}, nil
}

func (g *gzipReader) Read(p []byte) (int, error) {
	for len(g.chunk) == 0 && g.err == nil {
		if g.chunk, _, g.err = g.z.Next(); g.err == io.EOF {
			g.err = g.trailer()
		}
		g.crc = crc32.Update(g.crc, crc32.IEEETable, g.chunk)
		g.n += uint32(len(g.chunk))
	}
	if len(g.chunk) == 0 {
		return 0, g.err
	}
	n := copy(p, g.chunk)
	g.chunk = g.chunk[n:]
	return n, nil
}

// trailer answers io.EOF where checksum and length are right.
func (g *gzipReader) trailer() error {
	var t [8]byte
	if _, err := io.ReadFull(g.r, t[:]); err == io.EOF {
		return io.ErrUnexpectedEOF
	} else if err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(t[:]) != g.crc || binary.LittleEndian.Uint32(t[4:]) != g.n {
		return ErrChecksum
	}
	return io.EOF
}

func (g *gzipReader) Close() error { return nil }

// SkipGzipHeader reads a member's header and says how long it is (RFC 1952, section 2.3).
func SkipGzipHeader(r *bufio.Reader) (int64, error) {
	h := gzipHeader{r: r}
	var fixed [10]byte
	h.read(fixed[:])
	if h.err == nil && (fixed[0] != 0x1f || fixed[1] != 0x8b || fixed[2] != 8 || fixed[3]&0xe0 != 0) {
		h.err = errors.New("unknown method or flags")
	}
	flags := fixed[3]
	if flags&4 != 0 { // extra fields
		var n [2]byte
		h.read(n[:])
		h.read(make([]byte, binary.LittleEndian.Uint16(n[:])))
	}
	for _, text := range []byte{8, 16} { // name, comment
		if flags&text != 0 {
			h.text()
		}
	}
	if flags&2 != 0 { // checksum of the header, which nobody writes
		h.read(fixed[:2])
	}
	if h.err != nil {
		return h.n, fmt.Errorf("gzip header: %w", h.err)
	}
	return h.n, nil
}

// gzipHeader reads on until the first error.
type gzipHeader struct {
	r   *bufio.Reader
	n   int64
	err error
}

func (h *gzipHeader) read(p []byte) {
	if h.err != nil {
		return
	}
	var n int
	if n, h.err = io.ReadFull(h.r, p); h.err == io.EOF {
		h.err = io.ErrUnexpectedEOF
	}
	h.n += int64(n)
}

// text reads up to a NUL byte.
func (h *gzipHeader) text() {
	for b := [1]byte{1}; h.err == nil && b[0] != 0; {
		h.read(b[:])
	}
}
