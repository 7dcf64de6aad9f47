// Package codec compresses and decompresses the members of an initramfs, by their magic
// numbers. It knows nothing of what is inside.
//
// gzip, zstd, xz, lzma, bzip2, lz4 (the legacy frame, which is what kernels read) and
// plain data are read; gzip, zstd and plain are written. xz with filters besides LZMA2
// (BCJ) and lzo are only named. Windows larger than 128 MiB are refused.
package codec

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxWindow bounds in bytes what a decoder remembers, and so its memory. It is the limit
// of the kernel's zstd decoder (lib/decompress_unzstd.c); xz -9 needs half of it.
const maxWindow = 128 << 20

// Format is a way to compress.
type Format string

// The formats that can be read. None, Gzip and Zstd can be written.
const (
	None  Format = "none"
	Gzip  Format = "gzip"
	Zstd  Format = "zstd"
	XZ    Format = "xz"
	LZMA  Format = "lzma"
	Bzip2 Format = "bzip2"
	LZ4   Format = "lz4"
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
	{Bzip2, "BZh"},
	{XZ, "\xfd7zXZ\x00"},
	{LZMA, "\x5d\x00\x00"},
	{"lzo", "\x89LZO"},
	{LZ4, "\x02\x21\x4c\x18"},
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

// CanWrite says whether [NewWriter] knows f.
func CanWrite(f Format) bool { return f == None || f == Gzip || f == Zstd }

// NewReader decompresses the member that r stands at, and checks its checksums. It reads
// r no further than to the member's end, so that what follows can be read next; plain data
// has no end of its own. Formats that cannot be read are an error that wraps
// errors.ErrUnsupported. r has to buffer 1 KiB or more.
func NewReader(r *bufio.Reader) (io.ReadCloser, Format, error) {
	head, err := r.Peek(maxMagic)
	if err != nil && err != io.EOF {
		return nil, "", err
	}
	f := Detect(head)
	if f == "" {
		return nil, "", fmt.Errorf("unknown data % x", head)
	}
	z, err := open(r, f)
	if err != nil {
		return nil, f, fmt.Errorf("%s: %w", f, err)
	}
	return z, f, nil
}

func open(r *bufio.Reader, f Format) (io.ReadCloser, error) {
	switch f {
	case None:
		return io.NopCloser(r), nil
	case Gzip:
		return newGzipReader(r)
	case Zstd:
		return newZstdReader(r)
	case XZ:
		return newXZReader(r)
	case LZMA:
		return newLZMAReader(r)
	case Bzip2:
		return newBzip2Reader(r), nil
	case LZ4:
		return io.NopCloser(&lz4Reader{r: r}), nil
	}
	return nil, fmt.Errorf("cannot be read: %w", errors.ErrUnsupported)
}
