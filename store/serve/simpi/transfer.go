package simpi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"piimg/store"
)

const (
	// keptBytes is the most that is kept of a file whose text matters (config.txt, an
	// include, cmdline.txt, overlay_map.dtb); of any other file only the digest is.
	keptBytes = 1 << 20
	// packetBuffer holds any packet that may be answered, and enough of a larger one
	// to see that it is too large. In bytes.
	packetBuffer = 4096
)

var (
	errSilent  = errors.New("no answer within the file timeout")
	errAborted = errors.New("board stopped the transfer")
	errEnded   = errors.New("server stopped the transfer")
)

// link is how one program on the board speaks TFTP.
type link struct {
	server      netip.AddrPort
	local       netip.Addr // source address; the zero Addr leaves it to the system
	plain       bool       // asks for no options at all
	blksize     int        // bytes asked for; 0 does not ask
	rollsOver   bool       // counts blocks beyond 65535
	fileTimeout time.Duration
	resendEvery time.Duration
	now         func() time.Time
	air         *air // nil where nothing happens to packets
}

// transfer is one request on a port of its own. What it learns goes into req.
type transfer struct {
	link
	req     *Request
	conn    *net.UDPConn
	unwatch func() bool
	end     time.Time // when the file timeout is over

	peer   netip.AddrPort // where answers come from; the zero AddrPort before the first
	sent   []byte         // the last packet, for resending
	sentAt time.Time
	buf    []byte
	coming arrivals

	options bool // an option acknowledgement came
	tsize   int64
	blksize int // bytes a block in this transfer
	last    uint16
	rolled  bool
	sum     hash.Hash
	keep    bool
	text    []byte
	enough  bool // the server was told that a probe is over
}

// open sends a read request for req.Path from a fresh port, as the boards do.
func (l link) open(ctx context.Context, req *Request) (*transfer, error) {
	network := "udp4"
	if l.server.Addr().Is6() {
		network = "udp6"
	}
	local := net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.local, 0))
	conn, err := net.ListenUDP(network, local)
	if err != nil {
		return nil, fmt.Errorf("open a port for %s: %w", req.Path, err)
	}
	now := l.now()
	t := &transfer{
		link: l, req: req, conn: conn, end: now.Add(l.fileTimeout),
		buf: make([]byte, packetBuffer), tsize: -1, blksize: defaultBlksize, sum: sha256.New(),
	}
	t.unwatch = context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	ask := appendRRQ(nil, req.Path, l.blksize)
	if l.plain {
		ask = appendPlainRRQ(nil, req.Path)
	}
	if err := t.send(ask); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *transfer) close() {
	t.unwatch()
	_ = t.conn.Close()
}

// send sends b, which is sent again where no answer follows.
func (t *transfer) send(b []byte) error {
	t.sent, t.sentAt = b, t.now()
	return t.write(b)
}

// write sends b to the server's port for requests, or to the peer once there is one.
func (t *transfer) write(b []byte) error {
	to := t.peer
	if !to.IsValid() {
		to = t.server
	}
	copies := 1
	if t.air != nil {
		copies = t.leave()
	}
	for range copies {
		if _, err := t.conn.WriteToUDPAddrPort(b, to); err != nil {
			return fmt.Errorf("send to %s: %w", to, err)
		}
	}
	return nil
}

// leave is how often a packet leaves that the network takes. The board waits as long as
// the packet is on its way, since it has nothing else to do.
func (t *transfer) leave() int {
	switch {
	case t.air.happens(t.air.Loss):
		return 0
	case t.air.happens(t.air.Reorder):
		time.Sleep(t.air.Delay + t.air.late())
	default:
		time.Sleep(t.air.Delay)
	}
	if t.air.happens(t.air.Duplicate) {
		return 2
	}
	return 1
}

func (t *transfer) ack(block uint16) error { return t.send(appendACK(t.sent[:0], block)) }

// abort tells the peer that the board stops here. Nothing answers an ERROR, so a lost
// one is not noticed.
func (t *transfer) abort(code uint16, text string) {
	_ = t.write(appendERROR(nil, code, text))
}

// next returns the next packet of this transfer. It sends the last packet again where
// the peer is silent, and ends with errSilent when the file timeout is over.
//
// Sources: a capture of 2019 for the interval of two seconds and for the port that stays
// the same, the bootloader's documentation for TFTP_FILE_TIMEOUT, which is for each file.
func (t *transfer) next(ctx context.Context) (packet, error) {
	for {
		n, from, err := t.read(ctx)
		switch {
		case ctx.Err() != nil:
			return packet{}, ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded):
			if err := t.resend(); err != nil {
				return packet{}, err
			}
			continue
		case err != nil:
			return packet{}, fmt.Errorf("receive %s: %w", t.req.Path, err)
		case !t.fromPeer(from):
			continue
		}
		p, err := parsePacket(t.buf[:n])
		if err != nil {
			t.req.violated(Malformed)
			continue
		}
		t.peer = from
		return p, nil
	}
}

func (t *transfer) read(ctx context.Context) (int, netip.AddrPort, error) {
	wake := t.sentAt.Add(t.resendEvery)
	if wake.After(t.end) {
		wake = t.end
	}
	for {
		if a, ok := t.coming.due(t.now()); ok {
			return copy(t.buf, a.data), a.from, nil
		}
		if err := t.conn.SetReadDeadline(t.coming.next(wake)); err != nil {
			return 0, netip.AddrPort{}, err
		}
		if err := ctx.Err(); err != nil { // the watch may have fired before the deadline was set
			return 0, netip.AddrPort{}, err
		}
		n, from, err := t.conn.ReadFromUDPAddrPort(t.buf)
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		switch {
		case ctx.Err() != nil || t.air == nil:
			return n, from, err
		case err == nil:
			t.coming.put(t.air, t.now(), t.buf[:n], from)
		case !errors.Is(err, os.ErrDeadlineExceeded) || !t.now().Before(wake):
			return n, from, err
		}
	}
}

func (t *transfer) resend() error {
	if !t.now().Before(t.end) {
		return errSilent
	}
	t.req.Resends++
	return t.send(t.sent)
}

// fromPeer says whether a packet belongs to this transfer, whose other end is the first
// port of the server that answered. Any other sender gets ERROR 5 (RFC 1350).
func (t *transfer) fromPeer(from netip.AddrPort) bool {
	if from == t.peer || !t.peer.IsValid() && from.Addr() == t.server.Addr() {
		return true
	}
	t.req.Strays++
	_, _ = t.conn.WriteToUDPAddrPort(appendERROR(nil, codeUnknownID, "Unknown transfer ID"), from)
	return false
}

// first waits for the first answer. found is false where the server says that it has no
// such file; errAborted where the board cannot use what the server proposes.
func (t *transfer) first(ctx context.Context) (p packet, found bool, err error) {
	began := t.now()
	for {
		p, err = t.next(ctx)
		t.req.Answer = t.now().Sub(began)
		switch {
		case err != nil:
			return p, false, err
		case p.op == opERROR:
			t.req.ErrorCode, t.req.ErrorText = p.code, p.text
			return p, false, nil
		case p.op == opOACK:
			return p, true, t.agree(p.options)
		case p.op == opDATA:
			if !t.plain {
				t.req.violated(NoOACK)
			}
			t.req.Blksize = t.blksize
			return p, true, nil
		}
		t.req.violated(Malformed) // an ACK or a request: nothing that a client is sent
	}
}

// agree takes over the options that the server acknowledges. Only what was asked for may
// come back, a block may only be smaller (RFC 2347, 2348), and a board needs a true size
// (a vendor's engineer on a failing case; the bootloader compares sizes).
func (t *transfer) agree(options []option) error {
	t.options = true
	for _, o := range options {
		n, err := strconv.ParseInt(o.value, 10, 64)
		switch {
		case o.name == "tsize" && err == nil && n >= 0:
			t.tsize = n
		case o.name == "blksize" && err == nil && t.link.blksize != 0:
			if n < minBlksize || n > int64(t.link.blksize) {
				t.req.violated(BadBlksize)
				t.abort(codeOption, "blksize refused")
				return errAborted
			}
			t.blksize = int(n)
		default:
			t.req.violated(BadOption)
		}
	}
	if t.link.blksize != 0 && !slices.ContainsFunc(options, func(o option) bool { return o.name == "blksize" }) {
		t.req.violated(NoBlksize)
	}
	t.req.Tsize, t.req.Blksize = max(t.tsize, 0), t.blksize
	return nil
}

// receive takes the whole file. The answer to the request has been read into p.
func (t *transfer) receive(ctx context.Context, p packet) error {
	if p.op == opOACK {
		if err := t.ack(0); err != nil {
			return err
		}
		p = packet{}
	}
	for {
		done, err := t.take(p)
		if done || err != nil {
			return err
		}
		if p, err = t.next(ctx); err != nil {
			return err
		}
	}
}

// take handles one packet of a running transfer and says whether it was the last one.
func (t *transfer) take(p packet) (done bool, err error) {
	switch p.op {
	case opDATA:
		return t.takeData(p)
	case opOACK: // again: the acknowledgement of it was lost, or the server sends it twice
		t.req.Duplicates++
		if t.last == 0 && !t.rolled {
			return false, t.ack(0)
		}
	case opERROR:
		t.req.ErrorCode, t.req.ErrorText = p.code, p.text
		return false, errEnded
	}
	return false, nil
}

// takeData acknowledges the block that is due, acknowledges an older one again (the
// bootloader does so since 2021-02) and ignores one that is ahead.
func (t *transfer) takeData(p packet) (done bool, err error) {
	if len(p.data) > t.blksize {
		t.req.violated(BadBlksize)
		t.abort(codeIllegal, "block too large")
		return false, errAborted
	}
	if p.block != t.last+1 {
		if ahead := int16(p.block - t.last); ahead > 0 {
			return false, nil
		}
		t.req.Duplicates++
		return false, t.write(appendACK(nil, p.block))
	}
	if t.last++; t.last == 0 {
		t.rolled = true
	}
	t.store(p.data)
	if err := t.ack(t.last); err != nil {
		return false, err
	}
	if len(p.data) < t.blksize {
		return true, nil
	}
	if t.last == 1<<16-1 && !t.rollsOver {
		t.req.violated(TooManyBlocks)
		t.abort(codeUndefined, "block counter overflow")
		return false, errAborted
	}
	return false, nil
}

func (t *transfer) store(data []byte) {
	t.sum.Write(data)
	t.req.Bytes += int64(len(data))
	if t.keep {
		t.text = append(t.text, data[:min(len(data), keptBytes-len(t.text))]...)
	}
}

// get reads a whole file into req and returns its bytes where keep asks for them. An
// error is one of the board itself; what the server did is in req.
func (l link) get(ctx context.Context, req *Request, keep bool, opened func()) ([]byte, error) {
	t, err := l.open(ctx, req)
	if err != nil {
		return nil, err
	}
	defer t.close()
	opened()
	t.keep = keep
	p, found, err := t.first(ctx)
	if err == nil && !found {
		req.Result = Missing
		return nil, nil
	}
	if err == nil {
		err = t.receive(ctx, p)
	}
	return t.finish(err)
}

// finish turns the end of a transfer into the result of its request.
func (t *transfer) finish(err error) ([]byte, error) {
	switch {
	case errors.Is(err, errSilent):
		t.req.Result = Timeout
	case errors.Is(err, errEnded) && t.req.Bytes == 0:
		t.req.Result = Missing
	case errors.Is(err, errAborted) && t.req.Bytes == 0:
		t.req.Result = Refused
	case errors.Is(err, errAborted), errors.Is(err, errEnded):
		t.req.Result = Short
	case err != nil:
		return nil, err
	default:
		t.checkSize()
	}
	if t.req.Result != Found {
		return nil, nil
	}
	t.req.Digest = store.Digest(t.sum.Sum(nil))
	return t.text, nil
}

// checkSize compares what came with the size that was promised. The bootloader does, and
// gives the file up where they differ; a size of zero or none is recorded only, and an
// empty file needs neither.
func (t *transfer) checkSize() {
	t.req.Result = Found
	switch {
	case t.options && t.tsize < 0 && t.req.Bytes > 0:
		t.req.violated(NoTsize)
	case t.tsize == 0 && t.req.Bytes > 0:
		t.req.violated(ZeroTsize)
	case t.tsize > 0 && t.tsize != t.req.Bytes:
		t.req.violated(WrongTsize)
		t.req.Result = Short
	}
}
