package codec

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// Encoder names what shapes compressed bytes: the library and the way that it is used
// here. Another version may give other bytes for the same input, so whoever caches output
// puts this into its key.
const Encoder = "github.com/klauspost/compress v1.20.3, chunks 2"

// Level says what to spend on size.
type Level int

// The levels, as the formats have them.
const (
	Best    Level = iota // gzip 9; zstd like -11 or better
	Default              // gzip 6; zstd like -3
	Fast                 // gzip 1; zstd like -1
)

// ParseLevel knows "fast", "default" and "best".
func ParseLevel(name string) (Level, bool) {
	l, ok := map[string]Level{"fast": Fast, "default": Default, "best": Best}[name]
	return l, ok
}

func (l Level) gzip() int {
	switch l {
	case Fast:
		return flate.BestSpeed
	case Default:
		return 6
	}
	return flate.BestCompression
}

func (l Level) zstd() zstd.EncoderLevel {
	switch l {
	case Fast:
		return zstd.SpeedFastest
	case Default:
		return zstd.SpeedDefault
	}
	return zstd.SpeedBestCompression
}

// NewWriter compresses to w as one member, as well as the format can: [NewWriterLevel]
// with [Best].
func NewWriter(w io.Writer, f Format) (io.WriteCloser, error) { return NewWriterLevel(w, f, Best) }

// NewWriterLevel compresses to w as one member. The bytes depend on the input, the level
// and [Encoder] alone: no time, no name, no number of processors, no way the input was cut
// into calls. Close ends the member and leaves w open. It has to be called in any case: until
// then w may be written to by a goroutine. Formats that can only be read are an error.
func NewWriterLevel(w io.Writer, f Format, l Level) (io.WriteCloser, error) {
	switch f {
	case None:
		return nopCloser{w}, nil
	case Gzip:
		return &gzipWriter{w: w, d: NewDeflater(w, l)}, nil
	case Zstd:
		// Two goroutines, on one processor too: one looks for matches while the other
		// codes the block before. What a block may refer to differs from what it may
		// with one goroutine, and depends on no timing. A window of 8 MiB is what every
		// kernel with zstd can unpack.
		return zstd.NewWriter(w, zstd.WithEncoderLevel(l.zstd()),
			zstd.WithEncoderConcurrency(2), zstd.WithWindowSize(8<<20))
	}
	return nil, fmt.Errorf("compression %q cannot be written", f)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// GzipHeader begins a member without name and time; the system is "unknown"
// (RFC 1952, section 2.3).
const GzipHeader = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

// DeflateEnd is an empty last block, as it is at a byte border.
const DeflateEnd = "\x03\x00"

// GzipTrailer ends a member of n plain bytes with the checksum crc (IEEE).
func GzipTrailer(crc uint32, n int64) []byte {
	b := binary.LittleEndian.AppendUint32(nil, crc)
	return binary.LittleEndian.AppendUint32(b, uint32(n))
}

// gzipWriter writes one member. The checksum is taken on the way in: it costs a fiftieth
// of the compression, so that to combine those of the chunks would gain nothing.
type gzipWriter struct {
	w     io.Writer
	d     *Deflater
	crc   uint32
	n     int64
	begun bool
}

func (z *gzipWriter) begin() error {
	if z.begun {
		return nil
	}
	z.begun = true
	_, err := io.WriteString(z.w, GzipHeader)
	return err
}

func (z *gzipWriter) Write(p []byte) (int, error) {
	if err := z.begin(); err != nil {
		return 0, err
	}
	n, err := z.d.Write(p)
	z.crc = crc32.Update(z.crc, crc32.IEEETable, p[:n])
	z.n += int64(n)
	return n, err
}

func (z *gzipWriter) Close() error {
	if err := z.begin(); err != nil {
		return err
	}
	if err := z.d.Flush(); err != nil {
		return err
	}
	_, err := z.w.Write(append([]byte(DeflateEnd), GzipTrailer(z.crc, z.n)...))
	return err
}
