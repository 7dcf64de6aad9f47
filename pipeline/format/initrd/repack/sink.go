package repack

import (
	"hash/crc32"
	"io"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/deflate"
)

// sink takes the plain data of one new member, told as what became of the old one.
type sink interface {
	keep(p []byte) error   // the next bytes of the old data stay
	drop(n int64) error    // the next bytes go
	insert(p []byte) error // bytes that were not there
	block(b deflate.Block) // of the old data; told before its last byte is kept or dropped
	close() error
	abandon() // instead of close after an error: from then on nothing is written
}

// encodeSink encodes everything.
type encodeSink struct{ z io.WriteCloser }

func (s encodeSink) keep(p []byte) error {
	_, err := s.z.Write(p)
	return err
}
func (s encodeSink) insert(p []byte) error { return s.keep(p) }
func (s encodeSink) drop(int64) error      { return nil }
func (s encodeSink) block(deflate.Block)   {}
func (s encodeSink) close() error          { return s.z.Close() }
func (s encodeSink) abandon()              { s.z.Close() }

// spanSink writes a gzip member out of blocks of the old one. A block is copied where all
// its bytes stay and all that it refers to precedes it as before; what lies between is
// encoded anew, and may refer to what was copied.
type spanSink struct {
	w       io.Writer
	old     io.ReaderAt // the deflate stream
	out     *deflate.Writer
	enc     *codec.Deflater
	blocks  []deflate.Block // whose end was not reached
	at      int64           // old bytes kept or dropped
	since   int64           // old offset from which on everything was kept
	begin   int64           // of the current block
	held    []byte          // kept bytes of the current block
	partial bool            // some of the current block's bytes are in enc
	crc     uint32
	n       int64
	stats   *Stats
}

// maxHeld bounds in bytes what is held of a block; a larger one is encoded anew.
const maxHeld = 4 << 20

func newSpanSink(w io.Writer, old io.ReaderAt, l codec.Level, stats *Stats) (*spanSink, error) {
	if _, err := io.WriteString(w, codec.GzipHeader); err != nil {
		return nil, err
	}
	out := deflate.NewWriter(w)
	return &spanSink{w: w, old: old, out: out, enc: codec.NewDeflater(out, l), stats: stats}, nil
}

func (s *spanSink) abandon() {} // it writes while it is called only

func (s *spanSink) block(b deflate.Block) { s.blocks = append(s.blocks, b) }

func (s *spanSink) sum(p []byte) {
	s.crc = crc32.Update(s.crc, crc32.IEEETable, p)
	s.n += int64(len(p))
}

func (s *spanSink) keep(p []byte) error {
	s.sum(p)
	for {
		k := s.step(int64(len(p)))
		s.held = append(s.held, p[:k]...)
		s.at += k
		p = p[k:]
		if err := s.passed(); err != nil || len(p) == 0 {
			return err
		}
		if len(s.held) > maxHeld {
			if err := s.spill(); err != nil {
				return err
			}
		}
	}
}

// step is how many of the next n old bytes lie in the current block.
func (s *spanSink) step(n int64) int64 {
	if len(s.blocks) > 0 {
		return min(n, s.blocks[0].End-s.at)
	}
	return n
}

func (s *spanSink) drop(n int64) error {
	if err := s.spill(); err != nil {
		return err
	}
	s.since = s.at + n
	for {
		k := s.step(n)
		s.at += k
		n -= k
		if err := s.passed(); err != nil || n == 0 {
			return err
		}
	}
}

func (s *spanSink) insert(p []byte) error {
	s.sum(p)
	if err := s.spill(); err != nil {
		return err
	}
	s.since = s.at
	_, err := s.enc.Write(p)
	return err
}

// spill has held bytes encoded, and with them all of the current block.
func (s *spanSink) spill() error {
	s.partial = s.partial || len(s.held) > 0
	_, err := s.enc.Write(s.held)
	s.held = s.held[:0]
	return err
}

// passed copies or encodes the blocks that end here.
func (s *spanSink) passed() error {
	for len(s.blocks) > 0 && s.blocks[0].End == s.at {
		b := s.blocks[0]
		s.blocks = s.blocks[1:]
		if err := s.finish(b); err != nil {
			return err
		}
		s.begin, s.partial = b.End, false
	}
	return nil
}

func (s *spanSink) finish(b deflate.Block) error {
	if s.partial || s.since > b.Reach || b.Start == b.End {
		return s.spill()
	}
	if err := s.enc.Flush(); err != nil {
		return err
	}
	if err := s.out.Copy(s.old, b); err != nil {
		return err
	}
	s.stats.Reused += (b.BitEnd - b.Bit) / 8
	err := s.enc.Skip(s.held)
	s.held = s.held[:0]
	return err
}

func (s *spanSink) close() error {
	if err := s.spill(); err != nil {
		return err
	}
	if err := s.enc.Flush(); err != nil {
		return err
	}
	if err := s.out.Close(); err != nil {
		return err
	}
	_, err := s.w.Write(codec.GzipTrailer(s.crc, s.n))
	return err
}
