// Package codec compresses and decompresses the members of an initramfs: gzip, zstd and
// plain, by their magic numbers. It knows nothing of what is inside.
package codec

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Encoder names the library that shapes compressed bytes. Another version of it may give
// other bytes for the same input, so whoever caches output puts this into its key.
const Encoder = "github.com/klauspost/compress v1.20.3"

// Format is a way to compress.
type Format string

// The formats that can be written.
const (
	None Format = "none"
	Gzip Format = "gzip"
	Zstd Format = "zstd"
)

// magics are the first bytes of compressed data, as the kernel's lib/decompress.c knows
// them; the cpio magics stand for plain data. Formats without a constant are only named.
var magics = []struct {
	format Format
	magic  string
}{
	{Gzip, "\x1f\x8b"},
	{Zstd, "\x28\xb5\x2f\xfd"},
	{None, "070701"},
	{None, "070702"},
	{"bzip2", "BZh"},
	{"xz", "\xfd7zXZ\x00"},
	{"lzma", "\x5d\x00\x00"},
	{"lzo", "\x89LZO"},
	{"lz4", "\x02\x21\x4c\x18"},
}

// maxMagic is the longest magic in bytes.
const maxMagic = 6

// Detect names the format of data that starts with b, and "" where no magic fits.
func Detect(b []byte) Format {
	for _, m := range magics {
		if bytes.HasPrefix(b, []byte(m.magic)) {
			return m.format
		}
	}
	return ""
}

// NewWriter compresses to w as one member, as well as the format can. The bytes depend on
// the input and on [Encoder] alone: no time, no name, no number of processors. Close ends
// the member and leaves w open.
func NewWriter(w io.Writer, f Format) (io.WriteCloser, error) {
	switch f {
	case None:
		return nopCloser{w}, nil
	case Gzip:
		return gzip.NewWriterLevel(w, gzip.BestCompression)
	case Zstd:
		// One goroutine, so that block borders do not depend on timing; a window of
		// 8 MiB is what every kernel with zstd can unpack.
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression),
			zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20))
	}
	return nil, fmt.Errorf("compression %q cannot be written", f)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// NewReader decompresses the member that r stands at. It reads r no further than to the
// member's end, so that what follows can be read next; plain data has no end of its own.
// Formats that cannot be read are an error that wraps errors.ErrUnsupported.
func NewReader(r *bufio.Reader) (io.ReadCloser, Format, error) {
	head, err := r.Peek(maxMagic)
	if err != nil && err != io.EOF {
		return nil, "", err
	}
	switch f := Detect(head); f {
	case None:
		return io.NopCloser(r), f, nil
	case Gzip:
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, f, fmt.Errorf("gzip: %w", err)
		}
		z.Multistream(false)
		return z, f, nil
	case Zstd:
		z, err := zstd.NewReader(&frame{r: r}, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, f, fmt.Errorf("zstd: %w", err)
		}
		return z.IOReadCloser(), f, nil
	case "":
		return nil, "", fmt.Errorf("unknown data % x", head)
	default:
		return nil, f, fmt.Errorf("%s cannot be read: %w", f, errors.ErrUnsupported)
	}
}
