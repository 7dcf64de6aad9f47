// Package tftp serves the files of a front end over TFTP, read-only, the way that the
// firmware of a Raspberry Pi needs it: an OACK with the true size, an error at once for
// a file that is not there, and no fuss about clients that stop early.
package tftp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/pin/tftp/v3"

	"piimg/store/serve"
)

// Opener decides what a request gets; a serve.Front is one.
type Opener interface {
	Open(context.Context, serve.Request) (*serve.File, error)
}

// Config is what a Server is made of. The zero value works.
type Config struct {
	Addr      string        // to listen at; ":69"
	BlockSize int           // bytes; what a client may ask for at most; 1468. The MTU has to be 32 more
	Transfers int           // at a time; further ones wait for their turn; 1024
	Waiting   int           // requests of one address that wait for their turn or for trouble to end; 64. Of all, 4 × Transfers
	Timeout   time.Duration // until a block without an answer is sent again; 1 s
	Retries   int           // per block; 7
	Hold      time.Duration // for a request while the front end has trouble, before the client is told; 3 s
	Grace     time.Duration // for transfers in progress when the server stops; 5 s
	Log       *slog.Logger  // nil is silent
}

// Defaults of Config. A block of 1468 bytes fits an Ethernet frame, and is what the
// firmware asks for since 2022.
const (
	defaultAddr      = ":69"
	defaultBlockSize = 1468
	defaultTransfers = 1024
	defaultWaiting   = 64
	defaultTimeout   = time.Second
	defaultRetries   = 7
	defaultHold      = 3 * time.Second
	defaultGrace     = 5 * time.Second
)

// Limits of the blksize option. RFC 2348 has 8 to 65464; the library keeps no limit
// of 512, which is the size of blocks without the option.
const (
	minBlockSize = 513
	maxBlockSize = 65464
)

// Server is a TFTP server that listens. Its Serve has to be called once.
type Server struct {
	cfg     Config
	log     *slog.Logger
	flood   *serve.Flood // log of requests that are refused though there may be such a file
	opener  Opener
	conn    *net.UDPConn
	waiting *serve.Quota
	slots   chan struct{}

	ctx    context.Context // of all requests and transfers
	cancel context.CancelFunc
}

// Listen binds the address of cfg. From then on requests wait for Serve.
func Listen(cfg Config, o Opener) (*Server, error) {
	cfg.Addr = cmp.Or(cfg.Addr, defaultAddr)
	cfg.BlockSize = cmp.Or(cfg.BlockSize, defaultBlockSize)
	cfg.Transfers = cmp.Or(cfg.Transfers, defaultTransfers)
	cfg.Waiting = cmp.Or(cfg.Waiting, defaultWaiting)
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	cfg.Retries = cmp.Or(cfg.Retries, defaultRetries)
	cfg.Hold = cmp.Or(cfg.Hold, defaultHold)
	cfg.Grace = cmp.Or(cfg.Grace, defaultGrace)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.BlockSize < minBlockSize || cfg.BlockSize > maxBlockSize {
		return nil, fmt.Errorf("tftp: block size %d is not between %d and %d bytes", cfg.BlockSize, minBlockSize, maxBlockSize)
	}
	if cfg.Transfers < 0 || cfg.Waiting < 0 || cfg.Timeout < 0 || cfg.Retries < 0 || cfg.Hold < 0 || cfg.Grace < 0 {
		return nil, errors.New("tftp: a limit or a time is negative")
	}
	addr, err := net.ResolveUDPAddr("udp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("tftp: %w", err)
	}
	conn, err := net.ListenUDP("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("tftp: %w", err)
	}
	s := &Server{cfg: cfg, log: cfg.Log, opener: o, conn: conn, slots: make(chan struct{}, cfg.Transfers)}
	s.waiting = serve.NewQuota(cfg.Waiting, 4*cfg.Transfers)
	s.flood = serve.NewFlood(cfg.Log, 1, time.Now)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Addr is the address that the server listens at.
func (s *Server) Addr() netip.AddrPort { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// Close gives up the address of a server that is not to serve after all.
func (s *Server) Close() error { return s.conn.Close() }

// Serve answers requests until ctx ends. Then it takes no more, gives transfers in
// progress the grace time, and returns nil once the last of them has ended; one whose
// client is silent takes its retries longer.
func (s *Server) Serve(ctx context.Context) error {
	lib := s.library()
	served := make(chan error, 1)
	go func() { served <- lib.Serve(s.conn) }()
	select {
	case err := <-served:
		s.stop(lib)
		return err
	case <-ctx.Done():
		s.stop(lib)
		return <-served
	}
}

// library is the protocol engine with our settings.
func (s *Server) library() *tftp.Server {
	lib := tftp.NewServer(s.read, nil) // a nil write handler refuses writes
	lib.SetBlockSize(s.cfg.BlockSize)
	// The library would bound block sizes by the MTU of the interface as well, which it
	// does not know of the first packets: those clients would get blocks of 512 bytes.
	lib.SetBlockSizeNegotiation(false)
	lib.SetTimeout(s.cfg.Timeout)
	lib.SetRetries(s.cfg.Retries)
	lib.SetBackoff(backoff)
	lib.SetHook(hook{s.log})
	return lib
}

// backoff is the additional pause before a block is sent again for the n-th time. A
// block that is sent twice may confuse old firmware, so silence gets longer quickly.
func backoff(n int) time.Duration { return time.Duration(min(n, 4)) * 500 * time.Millisecond }

// stop ends all transfers and waits for them.
func (s *Server) stop(lib *tftp.Server) {
	last := time.AfterFunc(s.cfg.Grace, s.cancel)
	defer s.cancel()
	defer last.Stop()
	lib.Shutdown()
	s.conn.Close() // for a library that has not come to serve it
}

// hook logs what never became a transfer.
type hook struct{ log *slog.Logger }

func (h hook) OnSuccess(tftp.TransferStats) {}

func (h hook) OnFailure(stats tftp.TransferStats, err error) {
	if stats.RemoteAddr == nil {
		h.log.Debug("bad packet", "protocol", "tftp", "err", err)
	}
}
