package repack

import (
	"bufio"
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/deflate"
)

// noBlock goes with plain data that no block ends with.
var noBlock = deflate.Block{Bit: -1}

// source is the plain data of one member.
type source interface {
	// next answers a chunk, valid up to the next call, with the block that ends with it,
	// and io.EOF where the member ends.
	next(ctx context.Context) ([]byte, deflate.Block, error)
	// used is how many bytes of the base the member has taken so far, all of them after
	// io.EOF. It means nothing for a plain member, which has no end of its own.
	used() int64
	close()
}

const chunkSize = 256 << 10

// plainSource reads a plain member.
type plainSource struct {
	r   io.Reader
	buf []byte
}

func (s *plainSource) next(ctx context.Context) ([]byte, deflate.Block, error) {
	if err := ctx.Err(); err != nil {
		return nil, noBlock, err
	}
	n, err := io.ReadFull(s.r, s.buf)
	if n > 0 {
		err = nil
	} else if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return s.buf[:n], noBlock, err
}

func (s *plainSource) used() int64 { return 1 << 62 }
func (s *plainSource) close()      {}

// decoder is what runs ahead of the editor.
type decoder interface {
	// read fills buf or answers a chunk that it owns up to the next call.
	read(buf []byte) ([]byte, deflate.Block, error)
	used() int64
}

// ahead decodes on a processor of its own.
type ahead struct {
	chunks chan decoded
	free   chan []byte
	stop   chan struct{}
	ended  chan struct{}
	cur    []byte
	taken  int64
}

type decoded struct {
	b     []byte
	block deflate.Block
	used  int64
	err   error
}

// buffers is how many chunks may be decoded and not used.
const buffers = 16

func newAhead(d decoder) *ahead {
	a := &ahead{chunks: make(chan decoded, buffers), free: make(chan []byte, buffers), stop: make(chan struct{}), ended: make(chan struct{})}
	for range buffers {
		a.free <- make([]byte, chunkSize)
	}
	go func() {
		defer close(a.ended)
		a.run(d)
	}()
	return a
}

func (a *ahead) run(d decoder) {
	var buf []byte
	for {
		if buf == nil {
			select {
			case buf = <-a.free:
			case <-a.stop:
				return
			}
		}
		b, block, err := d.read(buf)
		r := decoded{block: block, used: d.used(), err: err}
		if len(b) > 0 { // which may be the decoder's memory
			if &b[0] != &buf[0] {
				b = append(buf[:0], b...)
			}
			r.b, buf = b, nil
		}
		select {
		case a.chunks <- r:
		case <-a.stop:
			return
		}
		if err != nil {
			return
		}
	}
}

func (a *ahead) next(ctx context.Context) ([]byte, deflate.Block, error) {
	if a.cur != nil {
		a.free <- a.cur[:cap(a.cur)]
		a.cur = nil
	}
	select {
	case d := <-a.chunks:
		a.cur, a.taken = d.b, d.used
		return d.b, d.block, d.err
	case <-ctx.Done():
		return nil, noBlock, ctx.Err()
	}
}

func (a *ahead) used() int64 { return a.taken }

// close ends the goroutine and waits for it: the base is the caller's again.
func (a *ahead) close() {
	close(a.stop)
	<-a.ended
}

// packed decodes any format.
type packed struct {
	in *countReader
	br *bufio.Reader
	z  io.ReadCloser
}

func newPacked(r io.Reader) (*packed, error) {
	in := &countReader{r: r}
	br := bufio.NewReaderSize(in, 64<<10)
	z, _, err := codec.NewReader(br)
	if err != nil {
		return nil, err
	}
	return &packed{in, br, z}, nil
}

func (p *packed) read(buf []byte) ([]byte, deflate.Block, error) {
	n, err := p.z.Read(buf)
	if n > 0 && err == io.EOF {
		err = nil
	}
	if err != nil {
		p.z.Close()
	}
	return buf[:n], noBlock, err
}

func (p *packed) used() int64 { return p.in.n - int64(p.br.Buffered()) }

type countReader struct {
	r io.Reader
	n int64
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// spans decodes a gzip member and tells its blocks.
type spans struct {
	base   *io.SectionReader // the member and what follows
	header int64
	z      *deflate.Reader
	crc    uint32
	n      int64
	done   int64 // bytes of the member once it is read
}

func newSpans(base *io.SectionReader) (*spans, error) {
	header, err := codec.SkipGzipHeader(bufio.NewReader(base))
	if err != nil {
		return nil, err
	}
	return &spans{base: base, header: header, z: deflate.NewReader(io.NewSectionReader(base, header, base.Size()-header))}, nil
}

// stream is the deflate stream, from its first byte.
func (s *spans) stream() io.ReaderAt {
	return io.NewSectionReader(s.base, s.header, s.base.Size()-s.header)
}

func (s *spans) read([]byte) ([]byte, deflate.Block, error) {
	b, block, err := s.z.Next()
	s.crc = crc32.Update(s.crc, crc32.IEEETable, b)
	s.n += int64(len(b))
	if err == io.EOF {
		if bad := s.trailer(); bad != nil {
			err = bad
		}
	}
	return b, block, err
}

func (s *spans) trailer() error {
	var t [8]byte
	at := s.header + s.z.Used()
	if _, err := s.base.ReadAt(t[:], at); err == io.EOF {
		return io.ErrUnexpectedEOF
	} else if err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(t[:]) != s.crc || binary.LittleEndian.Uint32(t[4:]) != uint32(s.n) {
		return codec.ErrChecksum
	}
	s.done = at + 8
	return nil
}

func (s *spans) used() int64 {
	if s.done > 0 {
		return s.done
	}
	return s.header + s.z.Used()
}
