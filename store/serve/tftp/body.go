package tftp

import (
	"bufio"
	"io"
	"sort"

	"piimg/store/serve"
)

// body is a file as the blocks that go over the wire.
type body interface {
	// size is the number of bytes on the wire.
	size() int64
	// block appends the pieces of block n, counted from 0, to dst. They stay as they are
	// until the file is closed. Blocks come in order, but for the last window of them,
	// which may be asked for again.
	block(dst [][]byte, n int64) ([][]byte, error)
}

// newBody is f in blocks of so many bytes.
func newBody(f *serve.File, t terms, netascii bool, wire int64) body {
	if netascii {
		return newText(f, wire, t.blksize, t.window)
	}
	if mem := f.Memory(); mem != nil {
		return newMemory(mem, t.blksize)
	}
	return &reader{f, f.Size, t.blksize}
}

// memory is a file whose bytes are in memory. They are not read here: see
// serve.File.Memory.
type memory struct {
	pieces  [][]byte
	ends    []int64 // offset at which each piece ends
	blksize int64
}

func newMemory(pieces [][]byte, blksize int) *memory {
	m := &memory{pieces: pieces, blksize: int64(blksize)}
	var end int64
	for _, p := range pieces {
		end += int64(len(p))
		m.ends = append(m.ends, end)
	}
	return m
}

func (m *memory) size() int64 { return m.ends[len(m.ends)-1] }

func (m *memory) block(dst [][]byte, n int64) ([][]byte, error) {
	from := min(n*m.blksize, m.size())
	to := min(from+m.blksize, m.size())
	at := sort.Search(len(m.ends), func(i int) bool { return from < m.ends[i] })
	for ; from < to; at++ {
		start := m.ends[at] - int64(len(m.pieces[at]))
		end := min(to, m.ends[at])
		dst = append(dst, m.pieces[at][from-start:end-start])
		from = end
	}
	return dst, nil
}

// reader is a file whose bytes have to be read.
type reader struct {
	from    io.ReaderAt
	bytes   int64
	blksize int
}

func (r *reader) size() int64 { return r.bytes }

func (r *reader) block(dst [][]byte, n int64) ([][]byte, error) {
	from := min(n*int64(r.blksize), r.bytes)
	b := make([]byte, min(int64(r.blksize), r.bytes-from))
	if _, err := r.from.ReadAt(b, from); err != nil && err != io.EOF {
		return dst, err
	}
	return append(dst, b), nil
}

// text is a file in netascii: a line ends with CR LF, and a CR is CR NUL (RFC 764).
type text struct {
	from    io.ReaderAt
	wire    int64
	blksize int
	marks   []mark // where the blocks of the last window begin, by number
}

// mark is a place in a file and what of the byte before it is still to be sent.
type mark struct {
	block int64
	off   int64
	rest  byte
	half  bool // rest is there
}

func newText(f io.ReaderAt, wire int64, blksize, window int) *text {
	return &text{from: f, wire: wire, blksize: blksize, marks: make([]mark, window+1)}
}

func (t *text) size() int64 { return t.wire }

func (t *text) block(dst [][]byte, n int64) ([][]byte, error) {
	m := t.marks[n%int64(len(t.marks))]
	b := make([]byte, 0, t.blksize)
	if m.half {
		b, m.half = append(b, m.rest), false
	}
	raw := make([]byte, t.blksize-len(b))
	got, err := t.from.ReadAt(raw, m.off)
	if err != nil && err != io.EOF {
		return dst, err
	}
	for _, c := range raw[:got] {
		if len(b) == t.blksize {
			break
		}
		m.off++
		first, second, two := netascii(c)
		b = append(b, first)
		switch {
		case two && len(b) == t.blksize:
			m.rest, m.half = second, true
		case two:
			b = append(b, second)
		}
	}
	m.block = n + 1
	t.marks[m.block%int64(len(t.marks))] = m
	return append(dst, b), nil
}

// netascii is what stands for c on the wire: one byte or two.
func netascii(c byte) (first, second byte, two bool) {
	switch c {
	case '\n':
		return '\r', '\n', true
	case '\r':
		return '\r', 0, true
	}
	return c, 0, false
}

// netasciiSize is how many bytes r has on the wire.
func netasciiSize(r io.Reader) (int64, error) {
	var n int64
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		c, err := in.ReadByte()
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		n++
		if _, _, two := netascii(c); two {
			n++
		}
	}
}
