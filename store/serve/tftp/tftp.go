// Package tftp serves the files of a front end over TFTP, read-only, the way that the
// firmware of a Raspberry Pi needs it: an OACK with the true size, an error at once for
// a file that is not there, no fuss about clients that stop early, no block twice without
// need, and a fair turn for each board when all of them start together.
//
// It is a server of its own because no library is one for that. pin/tftp has a socket
// and a goroutine for each request before anybody is asked, no windowsize, one error
// code, and a fixed time-out: at 256 clients it moved 0.85 times what dnsmasq does at 1.6
// times its CPU, and with 1 % loss 0.39 times. Here one goroutine serves all transfers
// from two sockets, in batches, and the kernel takes blocks from the cached files itself.
//
// RFC 1350 (protocol), 2347 (options), 2348 (blksize), 2349 (timeout, tsize), 7440
// (windowsize), 1123 section 4.2.3 (no answer to broadcasts, no sorcerer's apprentice).
package tftp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"piimg/store/serve"
)

// Opener decides what a request gets; a serve.Front is one.
type Opener interface {
	Open(context.Context, serve.Request) (*serve.File, error)
}

// Config is what a Server is made of. The zero value works.
type Config struct {
	Addr       string // to listen at; ":69"
	SinglePort bool   // answer from the port of Addr, where a firewall lets no other through

	BlockSize int // bytes; what a client may ask for at most; 1468. The MTU has to be 32 more
	Window    int // blocks; what a client may ask for at most; 64

	Transfers      int       // at a time; further ones wait for their turn; 4096
	BoardTransfers int       // at a time of one board; 16
	Waiting        int       // requests of one address that wait; 256. Of all, 4 × Transfers
	Networks       []Network // that are served; none serves all
	Promise        int64     // bytes of large files at a time on a network without a rate; further ones wait; 1.25 GB

	Timeout time.Duration // until a block without an answer is sent again, before round trips are known; 1 s
	Floor   time.Duration // the least of it, and a quarter of it where many packets get lost; 100 ms
	Retries int           // per block; 7
	Hold    time.Duration // for a request while the front end has trouble, before the client is told; 3 s
	Grace   time.Duration // for transfers in progress when the server stops; 5 s
	Log     *slog.Logger  // nil is silent
}

// Defaults of Config. A block of 1468 bytes fits an Ethernet frame, and is what the
// firmware asks for since 2022. The floor is a hundred round trips of a network in one place:
// at 200 ms, 5 % loss makes start4.elf take longer than a board waits for it.
const (
	defaultAddr           = ":69"
	defaultBlockSize      = 1468
	defaultWindow         = 64
	defaultTransfers      = 4096
	defaultBoardTransfers = 16
	defaultWaiting        = 256
	defaultTimeout        = time.Second
	defaultFloor          = 100 * time.Millisecond
	defaultRetries        = 7
	defaultHold           = 3 * time.Second
	defaultGrace          = 5 * time.Second

	topTimeout = 5 * time.Second // the most that silence makes of Timeout
	maxRetries = 16
)

func (c Config) withDefaults() Config {
	c.Addr = cmp.Or(c.Addr, defaultAddr)
	c.BlockSize = cmp.Or(c.BlockSize, defaultBlockSize)
	c.Window = cmp.Or(c.Window, defaultWindow)
	c.Transfers = cmp.Or(c.Transfers, defaultTransfers)
	c.BoardTransfers = cmp.Or(c.BoardTransfers, defaultBoardTransfers)
	c.Waiting = cmp.Or(c.Waiting, defaultWaiting)
	c.Promise = cmp.Or(c.Promise, promised)
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	c.Floor = cmp.Or(c.Floor, min(defaultFloor, c.Timeout))
	c.Retries = cmp.Or(c.Retries, defaultRetries)
	c.Hold = cmp.Or(c.Hold, defaultHold)
	c.Grace = cmp.Or(c.Grace, defaultGrace)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Check says what is wrong with c.
func (c Config) Check() error {
	c = c.withDefaults()
	switch {
	case c.BlockSize < defaultBlock || c.BlockSize > maxBlockSize:
		return fmt.Errorf("tftp: block size %d is not between %d and %d bytes", c.BlockSize, defaultBlock, maxBlockSize)
	case c.Window < 1 || c.Window > maxWindow:
		return fmt.Errorf("tftp: window of %d blocks is not between 1 and %d", c.Window, maxWindow)
	case c.Retries > maxRetries:
		return fmt.Errorf("tftp: %d retries are more than %d", c.Retries, maxRetries)
	case min(c.Transfers, c.BoardTransfers, c.Waiting, c.Retries) < 0 || c.Promise < 0:
		return fmt.Errorf("tftp: a limit is negative: transfers %d, board_transfers %d, waiting %d, retries %d, promise %d", c.Transfers, c.BoardTransfers, c.Waiting, c.Retries, c.Promise)
	case min(c.Timeout, c.Floor, c.Hold, c.Grace) < 0:
		return fmt.Errorf("tftp: a time is negative: timeout %s, timeout_floor %s, hold %s, grace %s", c.Timeout, c.Floor, c.Hold, c.Grace)
	case c.Floor > c.Timeout:
		return fmt.Errorf("tftp: timeout floor %s is more than the timeout of %s", c.Floor, c.Timeout)
	}
	for _, n := range c.Networks {
		if !n.Prefix.IsValid() || n.Rate < 0 {
			return fmt.Errorf("tftp: network %s with %d bytes a second is none", n.Prefix, n.Rate)
		}
	}
	return nil
}

// Server is a TFTP server that listens. Its Serve has to be called once.
type Server struct {
	cfg     Config
	opener  Opener
	stats   counters
	waker   waker
	sockets []*socket // for requests, and for everything else unless that is the same
	start   time.Time

	ctx    context.Context // of all looks for files
	cancel context.CancelFunc

	mu    sync.Mutex
	found []opened // for the engine
}

// Listen binds the address of cfg. From then on requests wait for Serve.
func Listen(cfg Config, o Opener) (*Server, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	addr, err := net.ResolveUDPAddr("udp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("tftp: %w", err)
	}
	s := &Server{cfg: cfg, opener: o, start: time.Now()}
	if s.waker, err = newWaker(); err != nil {
		return nil, fmt.Errorf("tftp: %w", err)
	}
	ports := []int{addr.Port, 0}
	if cfg.SinglePort {
		ports = ports[:1]
	}
	for _, port := range ports {
		sock, err := listenUDP(&net.UDPAddr{IP: addr.IP, Port: port, Zone: addr.Zone})
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("tftp: %w", err)
		}
		s.sockets = append(s.sockets, sock)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Addr is the address that the server listens at.
func (s *Server) Addr() netip.AddrPort { return s.sockets[0].addr }

// Close gives up the address of a server that is not to serve after all.
func (s *Server) Close() error {
	var errs []error
	for _, sock := range s.sockets {
		errs = append(errs, sock.close())
	}
	s.waker.close()
	return errors.Join(errs...)
}

// Serve answers requests until ctx ends. Then it takes no more, gives transfers in
// progress the grace time, and returns nil once the last of them has ended.
func (s *Server) Serve(ctx context.Context) error {
	defer s.Close()
	defer s.cancel()
	defer context.AfterFunc(ctx, s.waker.wake)()
	closer := newCloser()
	defer closer.wait()
	return newLoop(s, closer).run(ctx)
}

// loop moves packets, files and time into an engine.
type loop struct {
	s      *Server
	e      *engine
	out    *outbox
	in     *inbox
	closer *closer
	fds    []unix.PollFd
	cut    instant // when a server that stops ends what is left
	busy   int     // rounds in which answers are taken without asking whether there are any
	ceded  instant // when the scheduler was last asked whether others have to run
	rounds int     // batches that are taken from one socket before the other has its turn
	behind int     // rounds in a row in which more answers were there than that
}

const (
	defaultRounds = 16
	many          = 8 // answers in one round that let more be expected, for as many rounds

	// cede is less than the 10 ms after which Go's monitor takes the processor away from a
	// goroutine that has not been through the scheduler. It would do that over and over,
	// and wake up every 20 µs to look whether it has to: 7 % of what this server costs.
	cede = 5 * time.Millisecond
)

func newLoop(s *Server, c *closer) *loop {
	l := &loop{s: s, e: newEngine(s.cfg, &s.stats), out: newOutbox(s.sockets[len(s.sockets)-1]), in: newInbox(), closer: c, rounds: defaultRounds}
	l.e.out, l.e.look = l.out, s.look
	return l
}

func (l *loop) run(ctx context.Context) error {
	l.cut = never
	for {
		ready := l.wait()
		l.e.now = time.Since(l.s.start)
		if l.e.now-l.ceded > cede {
			l.ceded = l.e.now
			runtime.Gosched()
		}
		if err := l.receive(ready); err != nil {
			return err
		}
		for _, o := range l.s.takeFound() {
			l.e.opened(o)
		}
		if l.caughtUp() {
			l.e.expire()
		}
		if ctx.Err() != nil && l.stopped() {
			return nil
		}
		l.flush()
		l.s.stats.running.Store(int64(l.e.turns.running))
		l.s.stats.waiting.Store(int64(l.e.turns.waiting))
	}
}

// wait returns when there is something to do, and says which sockets are readable. Where
// many clients answer, a look at the socket of the answers costs less than the question.
func (l *loop) wait() []unix.PollFd {
	if l.busy > 0 {
		l.busy--
		for n := range l.fds {
			l.fds[n].Revents = 0
		}
		l.fds[len(l.fds)-1].Revents = unix.POLLIN
		return l.fds[1:]
	}
	l.fds = wait(l.s.waker, l.s.sockets, l.fds, l.pause())
	return l.fds[1:]
}

// pause is how long there is nothing to do unless something comes in.
func (l *loop) pause() time.Duration {
	at := min(l.e.next(), l.cut)
	if at == never {
		return -1
	}
	return max(0, at-time.Since(l.s.start))
}

// receive takes what has come in: answers before requests, so that a flood of the latter
// does not hold up who is being served, and all answers before the clock is looked at,
// so that none of them is late only because this server was: also those that have come
// since it was asked for them, where something is due.
func (l *loop) receive(ready []unix.PollFd) error {
	behind := l.behind
	l.behind = 0
	for n := len(ready) - 1; n >= 0; n-- {
		if ready[n].Revents == 0 && (n < len(ready)-1 || l.e.next() > l.e.now) {
			continue
		}
		most := l.rounds
		if n == 0 && len(ready) > 1 {
			most = 1
		}
		got, err := l.take(n, most)
		if err != nil {
			return err
		}
		switch {
		case n != len(ready)-1:
		case got == most*batchLen:
			l.behind = behind + 1
		case got == 0:
			l.busy = 0
		case got >= many && l.busy == 0:
			l.busy = many
		}
	}
	return nil
}

// caughtUp says whether all answers were taken, or more than all clients can have given: a
// flood of others does not stop the clock.
func (l *loop) caughtUp() bool {
	if l.behind > 2*l.s.cfg.Transfers/(l.rounds*batchLen) {
		l.behind = 0
	}
	return l.behind == 0
}

// take receives so many batches at most from a socket, and says how many packets there were.
// It is as late as it was when answers were last asked for: there are none from before.
func (l *loop) take(socket, most int) (packets int, err error) {
	for range most {
		if socket == len(l.s.sockets)-1 {
			l.e.now = time.Since(l.s.start)
		}
		got, err := l.in.receive(l.s.sockets[socket], l.e.receive)
		if err != nil {
			return packets, fmt.Errorf("tftp: %w", err)
		}
		packets += got
		if got < batchLen {
			break
		}
	}
	return packets, nil
}

// flush sends, ends transfers whose file cannot be sent, and lets go of files.
func (l *loop) flush() {
	l.closer.close(l.e.flush())
	for len(l.out.lost) > 0 {
		failures := l.out.lost
		l.out.lost = nil
		for _, f := range failures {
			l.e.unsent(f)
		}
		l.closer.close(l.e.flush())
	}
}

// stopped goes on with the end of the server, and says whether it has come.
func (l *loop) stopped() bool {
	if l.cut == never {
		l.e.stop()
		l.cut = l.e.now + l.s.cfg.Grace
	}
	if l.e.now >= l.cut {
		l.s.cancel()
		l.e.cutOff()
		l.cut = l.e.now + 10*time.Millisecond // files may still be looked for
	}
	l.flush()
	return l.e.idle()
}

// look looks for the file of t, on a goroutine of its own: the front end may have to wait
// for the store.
func (s *Server) look(t *transfer) {
	go func() {
		o := s.open(t)
		s.mu.Lock()
		s.found = append(s.found, o)
		s.mu.Unlock()
		s.waker.wake()
	}()
}

func (s *Server) takeFound() []opened {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.found
	s.found = nil
	return found
}

// open opens the file of t. Of t it reads only what does not change.
func (s *Server) open(t *transfer) opened {
	client := t.from.addrPort()
	o := opened{t: t}
	o.file, o.err = s.opener.Open(s.ctx, serve.Request{Client: client, Name: t.req.name, Protocol: "tftp", Plain: len(t.req.options) == 0})
	if o.err != nil {
		return o
	}
	o.wire, o.mtu = o.file.Size, pathMTU(client)
	if t.req.netascii {
		if o.wire, o.err = netasciiSize(o.file); o.err != nil {
			o.file.Done(serve.Failed, 0)
			o.file.Close()
		}
	}
	return o
}
