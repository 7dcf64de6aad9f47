package tftp

import (
	"encoding/binary"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	iovLen     = 1024                   // pieces of memory in a batch
	mostPieces = 8                      // of one block; a file of smaller parts is copied
	gsoPackets = 44                     // datagrams in one message, of what fits into 64 KiB
	gsoBytes   = 65000                  // bytes in one message
	gsoLen     = 24                     // bytes of the control message that says how they are cut
	sendWithin = 100 * time.Millisecond // for the network to take a datagram
)

// outbox collects datagrams and sends them together. What they point to has to stay as it
// is until flush.
type outbox struct {
	s       *socket
	segment bool // the kernel cuts one message into several datagrams
	lost    []lost

	msgs     [batchLen]mmsghdr
	names    [batchLen]unix.RawSockaddrInet6
	controls [batchLen][controlLen + gsoLen]byte
	owners   [batchLen]*transfer
	iovs     [iovLen]unix.Iovec
	heads    [iovLen][headerLen]byte
	n, niov  int

	// The message that blocks may still be added to.
	segments int
	bytes    int
	size     int // of a full block with its header
}

// lost is a message that could not be sent. The transfer is nil for an answer that
// belongs to none.
type lost struct {
	t   *transfer
	err error
}

func newOutbox(s *socket) *outbox {
	o := &outbox{s: s}
	o.segment = unix.SetsockoptInt(s.fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0) == nil
	for n := range o.msgs {
		o.msgs[n].Name = (*byte)(unsafe.Pointer(&o.names[n]))
	}
	return o
}

// packet queues one datagram.
func (o *outbox) packet(t *transfer, to *address, b []byte) {
	o.start(t, to, 1)
	o.piece(b)
	o.segments = 0
}

// data queues DATA packet number of t. Blocks of one transfer in a row share a message
// where all but the last are full.
func (o *outbox) data(t *transfer, number uint16, pieces [][]byte) {
	length := headerLen
	for _, p := range pieces {
		length += len(p)
	}
	full := t.blksize + headerLen
	joins := o.segment && o.segments > 0 && o.owners[o.n-1] == t && o.segments < gsoPackets &&
		o.bytes == o.segments*full && o.bytes+length <= gsoBytes && o.niov+1+len(pieces) <= iovLen
	if !joins {
		o.start(t, &t.from, 1+len(pieces))
		o.segments, o.bytes, o.size = 0, 0, full
	}
	head := &o.heads[o.niov]
	binary.BigEndian.PutUint16(head[:], opDATA)
	binary.BigEndian.PutUint16(head[2:], number)
	o.piece(head[:])
	for _, p := range pieces {
		o.piece(p)
	}
	o.segments++
	o.bytes += length
	if o.segments == 2 {
		o.cut()
	}
}

// start begins a message of so many pieces at least.
func (o *outbox) start(t *transfer, to *address, pieces int) {
	if o.n == batchLen || o.niov+pieces > iovLen {
		o.flush()
	}
	m := &o.msgs[o.n]
	o.name(m, &o.names[o.n], &to.peer)
	m.Control = nil
	if to.controlled > 0 {
		copy(o.controls[o.n][:], to.control[:to.controlled])
		m.Control = &o.controls[o.n][0]
	}
	m.SetControllen(to.controlled)
	m.Iov = &o.iovs[o.niov]
	m.SetIovlen(0)
	o.owners[o.n] = t
	o.n++
}

func (o *outbox) name(m *mmsghdr, name *unix.RawSockaddrInet6, p *peer) {
	if o.s.v6 {
		*name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: networkOrder(p.port), Addr: p.ip, Scope_id: p.zone}
		m.Namelen = unix.SizeofSockaddrInet6
		return
	}
	*(*unix.RawSockaddrInet4)(unsafe.Pointer(name)) = unix.RawSockaddrInet4{
		Family: unix.AF_INET, Port: networkOrder(p.port), Addr: [4]byte(p.ip[12:]),
	}
	m.Namelen = unix.SizeofSockaddrInet4
}

// piece adds memory to the last message.
func (o *outbox) piece(b []byte) {
	if len(b) == 0 {
		return
	}
	o.iovs[o.niov].Base = &b[0]
	o.iovs[o.niov].SetLen(len(b))
	o.niov++
	m := &o.msgs[o.n-1]
	m.SetIovlen(int(m.Iovlen) + 1)
}

// cut makes the last message one of several datagrams.
func (o *outbox) cut() {
	m, control := &o.msgs[o.n-1], o.controls[o.n-1][:]
	at := int(m.Controllen)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[at]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(control[at+unix.CmsgLen(0):], uint16(o.size))
	m.Control = &control[0]
	m.SetControllen(at + unix.CmsgSpace(2))
}

// flush sends everything. What cannot be sent is kept in lost.
func (o *outbox) flush() {
	for at := 0; at < o.n; {
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(o.s.fd), uintptr(unsafe.Pointer(&o.msgs[at])), uintptr(o.n-at), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == 0:
			at += int(sent)
		case errno == unix.EINTR || errno == unix.EAGAIN && o.writable():
		default:
			if errno == unix.EIO {
				o.segment = false // the device cannot do it
			}
			o.lost = append(o.lost, lost{o.owners[at], os.NewSyscallError("sendmmsg", errno)})
			at++
		}
	}
	clear(o.owners[:o.n])
	o.n, o.niov, o.segments = 0, 0, 0
}

// writable waits until the socket takes more.
func (o *outbox) writable() bool {
	fds := []unix.PollFd{{Fd: int32(o.s.fd), Events: unix.POLLOUT}}
	ts := unix.NsecToTimespec(int64(sendWithin))
	n, err := unix.Ppoll(fds, &ts, nil)
	return n > 0 || err == unix.EINTR
}
