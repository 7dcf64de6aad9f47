// Package deflate takes a deflate stream apart into its blocks, so that a stream with
// other contents can be put together out of blocks that stay and new ones: RFC 1951.
//
// A block may be copied to another stream where the plain data that it refers to is the
// same there: [Block.Reach] says how far back it does. It may begin at any bit, so that
// [Writer] shifts it.
package deflate

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrFormat is damage in a stream. Errors that wrap it say where.
var ErrFormat = errors.New("malformed deflate stream")

const (
	window   = 32 << 10  // how far back a block may refer
	outSize  = 256 << 10 // plain bytes that a chunk has at most
	inSize   = 128 << 10
	maxMatch = 258
	slack    = maxMatch + 8 // what one step of the fast loop may write
	inSlack  = 24           // zeros behind the end: more than the bits that are held
)

// Block is one block of a stream.
type Block struct {
	Bit, BitEnd int64 // of the stream, from the first bit of the header
	Start, End  int64 // of the plain data, in bytes
	Reach       int64 // the lowest plain byte that it refers to; Start where there is none
	Stored      bool  // bytes as they are, from the next byte border on
	Final       bool
}

// Reader decodes one stream. It is not for concurrent use.
type Reader struct {
	src    io.Reader
	peek   *bufio.Reader // in the place of src: taken only as far as it is used
	srcEOF bool
	in     []byte // read and not used, from pos on
	pos    int
	inOff  int64  // stream offset of in[0]
	bits   uint64 // the next bits, lowest first
	nbits  uint

	out   []byte // the window, then what is new
	start int    // of what is new
	o     int    // end of what is new
	plain int64  // plain offset of out[0]

	block   Block
	within  bool // a block
	stored  int  // bytes left of a stored block
	done    bool
	lit     table
	dist    table
	lengths [maxLit + maxDist]uint8
}

// NewReader decodes the stream that src stands at. It reads src ahead; [Reader.Used] says
// where the stream ends.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, in: make([]byte, 0, inSize+inSlack), out: make([]byte, window+outSize+slack)}
}

// NewPeekReader is NewReader of a src that stands right behind the stream once Next has
// answered io.EOF. src has to buffer 1 KiB or more.
func NewPeekReader(src *bufio.Reader) *Reader {
	r := NewReader(nil)
	r.peek = src
	return r
}

// Used is how many bytes of the stream were used, the last one perhaps in part.
func (r *Reader) Used() int64 { return (r.bitPos() + 7) / 8 }

// bitPos is the stream offset of the next bit.
func (r *Reader) bitPos() int64 { return (r.inOff+int64(r.pos))*8 - int64(r.nbits) }

// Next decodes a chunk of plain data and answers io.EOF after the last one. The chunk is
// valid up to the next call. Where a block ends with it, the block is answered too;
// otherwise its Bit is -1. A chunk may be empty. Damage is an [ErrFormat] with the offset.
func (r *Reader) Next() ([]byte, Block, error) {
	if r.done && !r.within {
		return nil, Block{Bit: -1}, r.end()
	}
	r.slide()
	ended, err := r.decode()
	if err != nil {
		return nil, Block{Bit: -1}, fmt.Errorf("byte %d: %w", r.Used(), err)
	}
	chunk := r.out[r.start:r.o]
	r.start = r.o
	if !ended {
		return chunk, Block{Bit: -1}, nil
	}
	r.within = false
	b := r.block
	b.BitEnd, b.End = r.bitPos(), r.plain+int64(r.o)
	return chunk, b, nil
}

// end leaves peek behind the stream.
func (r *Reader) end() error {
	if r.peek != nil {
		if _, err := r.peek.Discard(int(r.Used() - r.inOff)); err != nil {
			return err
		}
		r.in, r.inOff, r.pos, r.bits, r.nbits, r.srcEOF = r.in[:0], r.Used(), 0, 0, 0, false
	}
	return io.EOF
}

// slide makes room, keeping the window.
func (r *Reader) slide() {
	if r.o+slack+4096 < len(r.out) || r.o <= window {
		return
	}
	n := r.o - window
	copy(r.out, r.out[n:r.o])
	r.plain += int64(n)
	r.o, r.start = window, window
}

// decode goes on until the block ends, which it answers, or out is full.
func (r *Reader) decode() (bool, error) {
	if !r.within {
		if err := r.header(); err != nil {
			return false, err
		}
	}
	if r.block.Stored {
		return r.copyStored()
	}
	for r.o+slack <= len(r.out) {
		if err := r.fill(); err != nil {
			return false, err
		}
		ended, err := r.inflate()
		if err == nil && r.over() {
			err = r.truncated()
		}
		if ended || err != nil {
			return ended, err
		}
	}
	return false, nil
}

// fill sees to it that in has what one step needs; zeros stand for what lies behind the
// end.
func (r *Reader) fill() error {
	for len(r.in)-r.pos < 32 {
		if r.srcEOF {
			return nil
		}
		keep := min(r.pos, 8) // their bits may be put back
		err := r.read(keep)
		if err == io.EOF {
			r.srcEOF = true
			r.in = append(r.in, make([]byte, inSlack)...)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// read adds to in what comes next, and lets go of what was used but for the last bytes.
func (r *Reader) read(keep int) error {
	used := r.pos - keep
	r.pos, r.inOff = keep, r.inOff+int64(used)
	if r.peek == nil {
		n := copy(r.in, r.in[used:])
		k, err := r.src.Read(r.in[n:inSize])
		r.in = r.in[:n+k]
		return err
	}
	if _, err := r.peek.Discard(used); err != nil {
		return err
	}
	had := len(r.in) - used
	_, err := r.peek.Peek(had + 1)
	b, _ := r.peek.Peek(min(r.peek.Buffered(), inSize))
	r.in = append(r.in[:0], b...)
	return err
}

// over says whether bits behind the end were used.
func (r *Reader) over() bool {
	return r.srcEOF && r.bitPos() > (r.inOff+int64(len(r.in)-inSlack))*8
}

func (r *Reader) truncated() error {
	return fmt.Errorf("the stream ends early: %w", io.ErrUnexpectedEOF)
}

// refill loads 56 bits or more.
func (r *Reader) refill() error {
	if r.nbits >= 48 {
		return nil
	}
	if r.pos+8 > len(r.in) {
		if err := r.fill(); err != nil {
			return err
		}
		if r.pos+8 > len(r.in) {
			return r.truncated()
		}
	}
	r.bits |= binary.LittleEndian.Uint64(r.in[r.pos:]) << r.nbits
	k := (63 - r.nbits) >> 3
	r.pos += int(k)
	r.nbits += k * 8
	r.bits &= 1<<r.nbits - 1
	return nil
}

// take reads n bits, up to 16.
func (r *Reader) take(n uint) (uint32, error) {
	if err := r.refill(); err != nil {
		return 0, err
	}
	v := uint32(r.bits & (1<<n - 1))
	r.bits >>= n
	r.nbits -= n
	if r.over() {
		return 0, r.truncated()
	}
	return v, nil
}

// header begins a block.
func (r *Reader) header() error {
	at := r.plain + int64(r.o)
	r.block = Block{Bit: r.bitPos(), Start: at, Reach: at}
	h, err := r.take(3)
	if err != nil {
		return err
	}
	r.block.Final = h&1 == 1
	r.done, r.within = r.block.Final, true
	switch h >> 1 {
	case 0:
		return r.storedHeader()
	case 1:
		return r.fixedTables()
	case 2:
		return r.dynamicTables()
	}
	return fmt.Errorf("block type 3: %w", ErrFormat)
}

func (r *Reader) storedHeader() error {
	r.block.Stored = true
	if _, err := r.take(r.nbits & 7); err != nil {
		return err
	}
	n, err := r.take(16)
	if err != nil {
		return err
	}
	inverse, err := r.take(16)
	if err != nil {
		return err
	}
	if n^inverse != 0xffff {
		return fmt.Errorf("length of a stored block: %w", ErrFormat)
	}
	// What is in bits is read again from in.
	r.pos -= int(r.nbits / 8)
	r.bits, r.nbits = 0, 0
	r.stored = int(n)
	return nil
}

func (r *Reader) copyStored() (bool, error) {
	for r.stored > 0 {
		n := min(r.stored, len(r.out)-slack-r.o)
		if n <= 0 {
			return false, nil
		}
		if err := r.fill(); err != nil {
			return false, err
		}
		end := len(r.in)
		if r.srcEOF {
			end -= inSlack
		}
		if n = min(n, end-r.pos); n <= 0 {
			return false, r.truncated()
		}
		copy(r.out[r.o:], r.in[r.pos:r.pos+n])
		r.o += n
		r.pos += n
		r.stored -= n
	}
	return true, nil
}
