package tftp

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Datagrams come and go in batches, through the system calls themselves: what
// golang.org/x/net has for that allocates an address for every datagram, and a client's
// answer of 4 bytes is one. Receiving never waits, so that the Go scheduler need not know
// of it; sending may, for pages of a file that are on a disk.

const (
	batchLen   = 64      // datagrams a system call
	socketRoom = 4 << 20 // bytes of the receive buffer: the answers of some thousand clients
	controlLen = 48      // bytes: a header and the larger one of the two kinds of packet information
)

// peer is the other end of a transfer: a map key that is cheap to hash. IPv4 addresses
// are mapped to IPv6.
type peer struct {
	ip   [16]byte
	zone uint32
	port uint16
}

func (p peer) addrPort() netip.AddrPort {
	a := netip.AddrFrom16(p.ip).Unmap()
	if p.zone != 0 {
		a = a.WithZone(fmt.Sprint(p.zone))
	}
	return netip.AddrPortFrom(a, p.port)
}

// address is a peer and the local address that it has asked, so that the answer comes
// from there on a host with several.
type address struct {
	peer
	control    [controlLen]byte // packet information as it is sent
	controlled int              // bytes of it; 0 where the socket has one address only
}

// mmsghdr is the struct of recvmmsg(2).
type mmsghdr struct {
	unix.Msghdr
	len uint32
}

// socket is a UDP socket that never blocks.
type socket struct {
	fd   int
	v6   bool
	addr netip.AddrPort
}

// listenUDP binds addr. A wildcard address takes IPv6 and IPv4 where the host has both.
func listenUDP(addr *net.UDPAddr) (*socket, error) {
	ip, wild := addr.AddrPort().Addr().Unmap(), addr.IP == nil || addr.IP.IsUnspecified()
	v6 := ip.Is6() || addr.IP == nil
	if addr.IP == nil {
		ip = netip.IPv6Unspecified()
	}
	s, err := bind(ip, uint16(addr.Port), v6, wild)
	if err != nil && addr.IP == nil {
		return bind(netip.IPv4Unspecified(), uint16(addr.Port), false, true) // a host without IPv6
	}
	return s, err
}

func bind(ip netip.Addr, port uint16, v6, wild bool) (*socket, error) {
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &socket{fd: fd, v6: v6}
	if err := s.setUp(ip, port, wild); err != nil {
		unix.Close(fd)
		return nil, &net.OpError{Op: "listen", Net: "udp", Addr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, port)), Err: err}
	}
	return s, nil
}

func (s *socket) setUp(ip netip.Addr, port uint16, wild bool) error {
	// What the system gives of the buffer is enough; only root gets beyond its limit.
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketRoom) != nil {
		unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socketRoom)
		unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, socketRoom)
	}
	level, name := unix.IPPROTO_IP, unix.IP_PKTINFO
	if s.v6 {
		level, name = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
		only := 0
		if !wild {
			only = 1
		}
		if err := unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if wild {
		if err := unix.SetsockoptInt(s.fd, level, name, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Bind(s.fd, sockaddr(ip, port, s.v6)); err != nil {
		return os.NewSyscallError("bind", err)
	}
	bound, err := unix.Getsockname(s.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	switch a := bound.(type) {
	case *unix.SockaddrInet4:
		s.addr = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		s.addr = netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return nil
}

func sockaddr(ip netip.Addr, port uint16, v6 bool) unix.Sockaddr {
	if !v6 {
		return &unix.SockaddrInet4{Port: int(port), Addr: ip.As4()}
	}
	a := &unix.SockaddrInet6{Port: int(port), Addr: ip.As16()}
	if ifi, err := net.InterfaceByName(ip.Zone()); err == nil {
		a.ZoneId = uint32(ifi.Index)
	}
	return a
}

func (s *socket) close() error { return unix.Close(s.fd) }

// inbox receives batches.
type inbox struct {
	msgs     [batchLen]mmsghdr
	iovs     [batchLen]unix.Iovec
	names    [batchLen]unix.RawSockaddrInet6
	controls [batchLen][controlLen]byte
	data     [batchLen][maxPacket]byte
}

func newInbox() *inbox {
	b := &inbox{}
	for n := range b.msgs {
		b.iovs[n].Base = &b.data[n][0]
		b.iovs[n].SetLen(maxPacket)
		b.msgs[n].Iov = &b.iovs[n]
		b.msgs[n].SetIovlen(1)
		b.msgs[n].Name = (*byte)(unsafe.Pointer(&b.names[n]))
		b.msgs[n].Control = &b.controls[n][0]
	}
	return b
}

// receive reads what has arrived, and hands each datagram that is meant for one host.
// It says how many there were; fewer than batchLen means that no more are there.
func (b *inbox) receive(s *socket, each func(from *address, packet []byte)) (int, error) {
	for n := range b.msgs {
		b.msgs[n].Namelen = unix.SizeofSockaddrInet6
		b.msgs[n].SetControllen(controlLen)
	}
	got, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&b.msgs)), batchLen, unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
	case unix.EAGAIN, unix.EINTR:
		return 0, nil
	default:
		return 0, os.NewSyscallError("recvmmsg", errno)
	}
	var from address
	for n := range int(got) {
		m := &b.msgs[n]
		from.peer = peerOf(&b.names[n])
		from.controlled = 0
		if int(m.Controllen) > 0 && !from.localise(b.controls[n][:m.Controllen]) {
			continue
		}
		each(&from, b.data[n][:m.len])
	}
	return int(got), nil
}

func peerOf(name *unix.RawSockaddrInet6) peer {
	if name.Family == unix.AF_INET6 {
		return peer{ip: name.Addr, zone: name.Scope_id, port: hostOrder(name.Port)}
	}
	v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
	return peer{ip: netip.AddrFrom4(v4.Addr).As16(), port: hostOrder(v4.Port)}
}

// hostOrder turns the two bytes of a port, and networkOrder back.
func hostOrder(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}

func networkOrder(port uint16) uint16 { return hostOrder(port) }

// localise keeps the packet information for the answers, and says whether the packet was
// sent to one host: TFTP must not answer broadcasts (RFC 1123, 4.2.3.4). The interface is
// left out, so that the routes decide about the way back.
func (a *address) localise(control []byte) bool {
	if len(control) < unix.CmsgLen(0) {
		return true
	}
	header := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	info := control[unix.CmsgLen(0):]
	size := 0
	switch {
	case header.Level == unix.IPPROTO_IP && header.Type == unix.IP_PKTINFO && len(info) >= unix.SizeofInet4Pktinfo:
		p := (*unix.Inet4Pktinfo)(unsafe.Pointer(&info[0]))
		if p.Addr != p.Spec_dst {
			return false
		}
		p.Ifindex, size = 0, unix.SizeofInet4Pktinfo
	case header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_PKTINFO && len(info) >= unix.SizeofInet6Pktinfo:
		p := (*unix.Inet6Pktinfo)(unsafe.Pointer(&info[0]))
		local := netip.AddrFrom16(p.Addr).Unmap()
		if local.IsMulticast() || local == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return false
		}
		if !local.IsLinkLocalUnicast() {
			p.Ifindex = 0
		}
		size = unix.SizeofInet6Pktinfo
	default:
		return true
	}
	header.SetLen(unix.CmsgLen(size))
	a.controlled = copy(a.control[:], control[:min(len(control), unix.CmsgSpace(size))])
	return true
}

// waker interrupts a wait from another goroutine.
type waker struct{ fd int }

func newWaker() (waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return waker{fd}, os.NewSyscallError("eventfd", err)
}

func (w waker) wake() {
	one := [8]byte{0: 1}
	unix.Write(w.fd, one[:])
}

func (w waker) drain() {
	var b [8]byte
	unix.Read(w.fd, b[:])
}

func (w waker) close() { unix.Close(w.fd) }

// wait returns when one of the sockets has datagrams, w was woken, or d is over. What it
// returns says so, of w first and then of the sockets in order.
func wait(w waker, sockets []*socket, fds []unix.PollFd, d time.Duration) []unix.PollFd {
	fds = append(fds[:0], unix.PollFd{Fd: int32(w.fd), Events: unix.POLLIN})
	for _, s := range sockets {
		fds = append(fds, unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN})
	}
	var timeout *unix.Timespec
	if d >= 0 {
		ts := unix.NsecToTimespec(int64(d))
		timeout = &ts
	}
	if _, err := unix.Ppoll(fds, timeout, nil); err != nil {
		for n := range fds { // interrupted: look at everything
			fds[n].Revents = unix.POLLIN
		}
	}
	if fds[0].Revents != 0 {
		w.drain()
	}
	return fds
}

// pathMTU is the largest packet that the way to p carries as far as this host knows.
func pathMTU(p netip.AddrPort) int {
	const ethernet = 1500
	family, level, name := unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU
	if p.Addr().Is6() {
		family, level, name = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ethernet
	}
	defer unix.Close(fd)
	if unix.Connect(fd, sockaddr(p.Addr(), p.Port(), p.Addr().Is6())) != nil {
		return ethernet
	}
	mtu, err := unix.GetsockoptInt(fd, level, name)
	if err != nil || mtu < 576 {
		return ethernet
	}
	return mtu
}
