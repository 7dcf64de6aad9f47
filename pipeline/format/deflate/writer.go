package deflate

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Writer puts a stream together: blocks out of other streams, and bytes of an encoder that
// begins and ends at byte borders. It is not for concurrent use.
type Writer struct {
	w     io.Writer
	acc   uint64 // bits that do not make a byte yet
	nbits uint   // of acc, below 8
	out   []byte
	buf   [32<<10 + 8]byte // of the source, and what shift may read behind it
}

// NewWriter writes a stream to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w, out: make([]byte, 0, 64<<10)} }

// Copy writes b, a block of the stream that begins at byte 0 of src, with its last bit off:
// the stream goes on.
func (w *Writer) Copy(src io.ReaderAt, b Block) error {
	if b.Stored {
		return w.copyStored(src, b)
	}
	w.put(uint64(0), 1)
	return w.bits(src, b.Bit+1, b.BitEnd)
}

// copyStored writes a stored block: its padding depends on where it stands.
func (w *Writer) copyStored(src io.ReaderAt, b Block) error {
	n := b.End - b.Start
	if err := w.stored(int(n)); err != nil {
		return err
	}
	return w.bits(src, b.BitEnd-8*n, b.BitEnd)
}

// stored writes the header of a stored block of n bytes.
func (w *Writer) stored(n int) error {
	w.put(0, 3)
	if w.nbits > 0 {
		w.put(0, 8-w.nbits)
	}
	w.put(uint64(n), 16)
	w.put(uint64(n)^0xffff, 16)
	return w.flushFull()
}

// Write writes whole blocks that begin at a byte border, behind an empty block where that
// is needed to get there.
func (w *Writer) Write(p []byte) (int, error) {
	if err := w.Align(); err != nil {
		return 0, err
	}
	if err := w.flush(); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}

// Align gets to a byte border with an empty block.
func (w *Writer) Align() error {
	if w.nbits == 0 {
		return nil
	}
	return w.stored(0)
}

// Close ends the stream with an empty last block and writes out everything.
func (w *Writer) Close() error {
	w.put(3, 10) // last block, fixed codes, end of block
	if w.nbits > 0 {
		w.put(0, 8-w.nbits)
	}
	return w.flush()
}

// put writes n bits, up to 16.
func (w *Writer) put(v uint64, n uint) {
	w.acc |= v << w.nbits
	for w.nbits += n; w.nbits >= 8; w.nbits -= 8 {
		w.out = append(w.out, byte(w.acc))
		w.acc >>= 8
	}
}

// bits copies the bits from..to of src.
func (w *Writer) bits(src io.ReaderAt, from, to int64) error {
	buf := &w.buf
	for from < to {
		n := min((to+7)/8-from/8, int64(len(buf)-8))
		if got, err := src.ReadAt(buf[:n], from/8); int64(got) < n {
			return fmt.Errorf("read block again: %w", err)
		}
		take := min(to-from, n*8-from%8)
		w.shift(buf[:], uint(from%8), take)
		from += take
		if err := w.flushFull(); err != nil {
			return err
		}
	}
	return nil
}

// shift writes n bits of b from bit skip of its first byte on; 8 bytes behind them can be
// read.
func (w *Writer) shift(b []byte, skip uint, n int64) {
	for ; n >= 56; n -= 56 {
		v := binary.LittleEndian.Uint64(b) >> skip & (1<<56 - 1)
		v = v<<w.nbits | w.acc
		w.out = binary.LittleEndian.AppendUint64(w.out, v)
		w.out = w.out[:len(w.out)-1]
		w.acc = v >> 56
		b = b[7:]
	}
	for n > 0 {
		k := min(n, 8)
		v := uint64(binary.LittleEndian.Uint16(b)) >> skip & (1<<k - 1)
		w.put(v, uint(k))
		b = b[1:]
		n -= k
	}
}

func (w *Writer) flushFull() error {
	if len(w.out) < 64<<10 {
		return nil
	}
	return w.flush()
}

func (w *Writer) flush() error {
	_, err := w.w.Write(w.out)
	w.out = w.out[:0]
	return err
}
