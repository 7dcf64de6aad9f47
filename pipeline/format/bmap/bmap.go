// Package bmap writes block maps (bmap-tools, version 2.0 of the format): which blocks of a
// disk image hold something, with their SHA-256, so that a writer leaves the rest out.
package bmap

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"strings"
)

// blockSize is that of a block in bytes, as bmaptool makes them.
const blockSize = 4096

// Writer takes an image as a stream. Blocks of zeros are not mapped.
type Writer struct {
	block  []byte // of the block that is open
	size   int64
	ranges []span
	open   hash.Hash // of the range that is open, nil without one
}

// span is a range of blocks, both ends included.
type span struct {
	first, last int64
	sum         string
}

// Write takes the next bytes of the image. It never fails.
func (w *Writer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		take := min(len(p), blockSize-len(w.block))
		w.block = append(w.block, p[:take]...)
		p = p[take:]
		if len(w.block) == blockSize {
			w.end()
		}
	}
	return n, nil
}

var zeros [blockSize]byte

// end ends a block.
func (w *Writer) end() {
	number := w.size / blockSize
	w.size += int64(len(w.block))
	if bytes.Equal(w.block, zeros[:len(w.block)]) {
		w.close()
	} else {
		if w.open == nil {
			w.open = sha256.New()
			w.ranges = append(w.ranges, span{first: number})
		}
		w.ranges[len(w.ranges)-1].last = number
		w.open.Write(w.block)
	}
	w.block = w.block[:0]
}

func (w *Writer) close() {
	if w.open != nil {
		w.ranges[len(w.ranges)-1].sum = fmt.Sprintf("%x", w.open.Sum(nil))
		w.open = nil
	}
}

// Mapped is how many bytes the blocks have that hold something.
func (w *Writer) Mapped() int64 {
	var n int64
	for _, r := range w.ranges {
		n += r.last - r.first + 1
	}
	return n * blockSize
}

// noSum stands for the checksum of the file while it is computed.
const noSum = "0000000000000000000000000000000000000000000000000000000000000000"

// Finish ends the image and writes its map.
func (w *Writer) Finish(out io.Writer) error {
	if len(w.block) > 0 {
		w.end()
	}
	w.close()
	var b strings.Builder
	fmt.Fprintf(&b, `<?xml version="1.0" ?>
<bmap version="2.0">
    <ImageSize> %d </ImageSize>
    <BlockSize> %d </BlockSize>
    <BlocksCount> %d </BlocksCount>
    <MappedBlocksCount> %d </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> %s </BmapFileChecksum>
    <BlockMap>
`, w.size, blockSize, (w.size+blockSize-1)/blockSize, w.Mapped()/blockSize, noSum)
	for _, r := range w.ranges {
		at := fmt.Sprint(r.first)
		if r.last > r.first {
			at = fmt.Sprintf("%d-%d", r.first, r.last)
		}
		fmt.Fprintf(&b, "        <Range chksum=\"%s\"> %s </Range>\n", r.sum, at)
	}
	b.WriteString("    </BlockMap>\n</bmap>\n")
	text := b.String()
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
	_, err := io.WriteString(out, strings.Replace(text, noSum, sum, 1))
	return err
}
