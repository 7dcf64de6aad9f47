package web

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"piimg/store/serve"
)

// chunk is the most that one system call sends. A client may take as little of it as it
// likes.
const chunk = 1 << 20

// source is a file that is sent. Read is for whoever copies it; a connection that knows
// sendfile takes it from where its bytes lie.
type source struct {
	*serve.File
	pieces []serve.Piece
	off    int64 // of the next byte; the SectionReader's is not used
	err    error // why reading went wrong
	stall  time.Duration
}

func newSource(f *serve.File, stall time.Duration) *source {
	return &source{File: f, pieces: f.Pieces(), stall: stall}
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.ReadAt(p, s.off)
	s.off += int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	if n > 0 {
		return n, nil
	}
	return 0, err
}

func (s *source) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += s.off
	case io.SeekEnd:
		off += s.Size
	}
	if off < 0 {
		return 0, errors.New("seek before the start")
	}
	s.off = off
	return off, nil
}

// next is the piece that the next byte is in, and where.
func (s *source) next() (p serve.Piece, at int64, ok bool) {
	at = s.off
	for _, p := range s.pieces {
		if at < p.Size {
			return p, at, true
		}
		at -= p.Size
	}
	return serve.Piece{}, 0, false
}

// ReadFrom sends what r has. A file of the cache goes from the kernel to the client without
// passing through here, and the client has time as long as it takes something.
func (c *limitedConn) ReadFrom(r io.Reader) (int64, error) {
	limit, ok := r.(*io.LimitedReader)
	if !ok {
		return io.Copy(writerOnly{c.Conn}, r)
	}
	file, ok := limit.R.(*source)
	if !ok {
		return io.Copy(writerOnly{c.Conn}, r)
	}
	var sent int64
	for limit.N > 0 {
		n, err := c.send(file, min(limit.N, chunk))
		sent, limit.N, file.off = sent+n, limit.N-n, file.off+n
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// writerOnly hides everything else of a connection.
type writerOnly struct{ io.Writer }

// send sends up to n bytes of f, one at least unless there is an error.
func (c *limitedConn) send(f *source, n int64) (int64, error) {
	piece, at, ok := f.next()
	if !ok {
		return 0, io.ErrUnexpectedEOF
	}
	if now := time.Now(); now.Sub(c.allowed) > f.stall/8 {
		c.allowed = now
		if err := c.SetWriteDeadline(now.Add(f.stall)); err != nil {
			return 0, err
		}
	}
	n = min(n, piece.Size-at)
	raw, err := c.raw()
	if piece.File == nil || err != nil {
		sent, err := c.Conn.Write(f.bytes(piece, at, n))
		return int64(sent), errors.Join(err, f.err)
	}
	sent := 0
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		for {
			sent, failed = syscall.Sendfile(int(fd), int(piece.File.Fd()), &at, int(n))
			if failed != syscall.EINTR {
				return failed != syscall.EAGAIN
			}
		}
	})
	switch {
	case err != nil:
		return 0, err
	case failed != nil:
		return 0, failed
	case sent == 0:
		f.err = io.ErrUnexpectedEOF // somebody has cut the file short
		return 0, f.err
	}
	return int64(sent), nil
}

// bytes is n bytes of a piece that is not sent by the kernel.
func (s *source) bytes(p serve.Piece, at, n int64) []byte {
	if p.File == nil {
		return p.Bytes[at : at+n]
	}
	buf := make([]byte, min(n, 64<<10))
	got, err := s.ReadAt(buf, s.off)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return buf[:got]
}

// raw is the socket below c.
func (c *limitedConn) raw() (syscall.RawConn, error) {
	if c.socket != nil {
		return c.socket, nil
	}
	conn, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return nil, errors.New("not a socket")
	}
	var err error
	c.socket, err = conn.SyscallConn()
	return c.socket, err
}
