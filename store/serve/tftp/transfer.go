package tftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/pin/tftp/v3"

	"piimg/store/serve"
)

// What clients are told. The library sends the text of an error as it is and always
// with code 1, so only these may reach it.
var (
	errNotFound = errors.New("file not found")
	errTrouble  = errors.New("not available now")
	errBusy     = errors.New("server is busy")
	errUnread   = errors.New("file cannot be read")
	errStopped  = errors.New("server is stopping") // ends transfers that outlast the grace time
)

const (
	admitWithin = 2 * time.Second // how long a request waits for its turn: the firmware repeats it then
	retryEvery  = time.Second     // what could not be had is tried again
)

// read answers one read request. The library has opened a socket for it, and closes
// that when it sends a file or an error, so one of the two has to happen.
func (s *Server) read(name string, to io.ReaderFrom) error {
	out := to.(tftp.OutgoingTransfer)
	remote := out.RemoteAddr()
	addr := remote.AddrPort()
	client := netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	f, err := s.await(serve.Request{Client: client, Name: name, Protocol: "tftp"})
	if err != nil {
		return s.refused(client, name, err)
	}
	defer func() { <-s.slots }()
	defer f.Close()
	out.SetSize(f.Size)
	s.send(f, to, client)
	return nil // the library has told the client what went wrong
}

// await is open for as many requests as may wait. The library has a socket and a
// goroutine for each of them already, and the others end theirs at once.
func (s *Server) await(r serve.Request) (*serve.File, error) {
	if !s.waiting.Enter(r.Client.Addr()) {
		return nil, errBusy
	}
	defer s.waiting.Leave(r.Client.Addr())
	return s.open(r)
}

// open is what r gets, with a slot where that is a file. Trouble is not told at once:
// the firmware takes silence for a reason to ask again, but any ERROR for a missing
// file, and a missing start4.elf for a reason to leave its folder. So the request is held
// meanwhile, without a slot, and tried again.
func (s *Server) open(r serve.Request) (*serve.File, error) {
	held, cancel := context.WithTimeout(s.ctx, s.cfg.Hold)
	defer cancel()
	again := time.NewTicker(min(retryEvery, max(s.cfg.Hold/3, 1)))
	defer again.Stop()
	for {
		f, err := s.try(r)
		if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, errBusy) {
			return f, err
		}
		select {
		case <-again.C:
		case <-held.Done():
			return nil, err
		}
	}
}

// try opens the file that r gets, and takes a slot for it.
func (s *Server) try(r serve.Request) (*serve.File, error) {
	if !s.admit() {
		return nil, errBusy
	}
	f, err := s.opener.Open(s.ctx, r)
	if err != nil {
		<-s.slots
	}
	return f, err
}

// admit takes a slot, and says whether there was one in time.
func (s *Server) admit() bool {
	patience := time.NewTimer(admitWithin)
	defer patience.Stop()
	select {
	case s.slots <- struct{}{}:
		return true
	case <-patience.C:
	case <-s.ctx.Done():
	}
	return false
}

// refused logs err and is what the client is told of it.
func (s *Server) refused(client netip.AddrPort, name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.log.Debug("no such file", "protocol", "tftp", "client", client, "name", name, "err", err)
		return errNotFound
	case errors.Is(err, errBusy):
		s.flood.Log(s.ctx, slog.LevelWarn, "too many transfers or requests", "protocol", "tftp", "client", client, "name", name,
			"transfers", s.cfg.Transfers, "waiting", s.cfg.Waiting)
		return errBusy
	}
	s.flood.Log(s.ctx, slog.LevelError, "file is not served", "protocol", "tftp", "client", client, "name", name, "err", err)
	return errTrouble
}

// send transfers f and says how that went.
func (s *Server) send(f *serve.File, to io.ReaderFrom, client netip.AddrPort) {
	b := &blocks{ctx: s.ctx, file: f}
	_, err := to.ReadFrom(b)
	result := outcome(err)
	if b.err != nil {
		err, result = b.err, serve.Failed
	}
	if result == serve.Failed {
		s.log.Error("transfer failed", "protocol", "tftp", "client", client, "name", f.Name, "err", err)
	}
	f.Done(result, b.taken(err))
}

// blocks reads a file block by block, as the library asks for them, and keeps count.
type blocks struct {
	ctx  context.Context
	file io.Reader
	read int64 // bytes handed out
	last int   // of them in the last block
	err  error // that reading ended with; the client is not told
}

// Read fills p but for the last block. The library asks for a block once the one
// before was acknowledged.
func (b *blocks) Read(p []byte) (int, error) {
	if b.ctx.Err() != nil {
		return 0, errStopped
	}
	n, err := io.ReadFull(b.file, p)
	b.read += int64(n)
	b.last = n
	switch err {
	case nil:
		return n, nil
	case io.EOF, io.ErrUnexpectedEOF:
		return n, io.EOF
	}
	b.err = err
	return 0, errUnread
}

// taken is how many bytes the client has acknowledged, given the transfer's error. In
// netascii, where blocks are not those of the file, it is off by up to one block.
func (b *blocks) taken(err error) int64 {
	if err == nil || errors.Is(err, errStopped) {
		return b.read
	}
	return b.read - int64(b.last)
}

// Codes of ERROR packets by which clients say that they want no more: the firmware's
// "Early terminate" after it has seen that a file is there, and a refused option.
const (
	codeUndefined = 0
	codeOption    = 8
)

// outcome tells the end of a transfer from the library's error.
func outcome(err error) serve.Result {
	if err == nil {
		return serve.OK
	}
	if errors.Is(err, errStopped) {
		return serve.Aborted
	}
	if code, ok := clientError(err); ok {
		if code == codeUndefined || code == codeOption {
			return serve.Probe
		}
		return serve.Aborted
	}
	var netErr net.Error
	if errors.As(err, &netErr) && netErr.Timeout() {
		return serve.Aborted
	}
	return serve.Failed
}

// clientError is the code of the ERROR packet that err stands for. The library knows
// such errors by their text only.
func clientError(err error) (code int, ok bool) {
	var block int
	n, _ := fmt.Sscanf(err.Error(), "sending block %d: code=%d,", &block, &code)
	return code, n == 2
}
