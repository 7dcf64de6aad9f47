package codec

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/pierrec/lz4/v4"
)

// The legacy frame: a magic, then blocks of up to 8 MiB, each with its compressed length.
// It has no end mark. The library reads on until something is no length, where the kernel
// (lib/decompress_unlz4.c) ends it at a length of zero or at the end of the buffer, so that
// the frame is read here and only its blocks by the library.
const (
	lz4Magic = 0x184c2102
	lz4Block = 8 << 20 // bytes, plain

	// lz4Growth is how many bytes one of a block can stand for: 255 for a length. A member
	// of few bytes shall not cost 8 MiB.
	lz4Growth = 256
)

var errLZ4 = errors.New("malformed frame")

type lz4Reader struct {
	r         *bufio.Reader
	packed    []byte
	plain     []byte
	unread    []byte // of plain
	magicSeen bool
}

func (z *lz4Reader) Read(p []byte) (int, error) {
	for len(z.unread) == 0 {
		if err := z.block(); err != nil {
			return 0, err
		}
	}
	n := copy(p, z.unread)
	z.unread = z.unread[n:]
	return n, nil
}

// block reads the next block, and answers io.EOF without reading what ends the frame.
func (z *lz4Reader) block() error {
	head, err := z.r.Peek(4)
	if err == io.EOF && z.magicSeen && allZero(head) {
		return io.EOF
	}
	if err != nil {
		return io.ErrUnexpectedEOF
	}
	size := binary.LittleEndian.Uint32(head)
	switch {
	case size == lz4Magic: // at the front, and where frames follow each other
		z.magicSeen = true
		_, err := z.r.Discard(4)
		return err
	case size == 0:
		return io.EOF
	case int(size) > lz4.CompressBlockBound(lz4Block):
		return fmt.Errorf("block of %d bytes: %w", size, errLZ4)
	}
	if _, err := z.r.Discard(4); err != nil {
		return err
	}
	if n := min(lz4Block, lz4Growth*int(size)); len(z.plain) < n {
		z.plain = make([]byte, n)
	}
	if cap(z.packed) < int(size) {
		z.packed = make([]byte, size)
	}
	z.packed = z.packed[:size]
	if _, err := io.ReadFull(z.r, z.packed); err != nil {
		return io.ErrUnexpectedEOF
	}
	n, err := lz4.UncompressBlock(z.packed, z.plain)
	if err != nil {
		return err
	}
	z.unread = z.plain[:n]
	return nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
