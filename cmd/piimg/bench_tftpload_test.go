//go:build bench || clients

package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// load is many TFTP clients on some goroutines, which compare every byte that comes.
type load struct {
	server  netip.AddrPort
	name    string
	want    []byte
	clients int
	rounds  int // files that each client fetches, one after the other
	blksize int
	window  int
	limit   time.Duration // for one file
	tick    func()        // called some times a second
	threads int           // that share the clients; 0 is one
}

// loaded is what a load has seen.
type loaded struct {
	wall     time.Duration
	bytes    int64
	repeated int // DATA packets that came again
	asked    int // packets that a client sent again because nothing came for 2 s
	failed   int
	why      error // of the first failure
}

// loadClient is one client.
type loadClient struct {
	fd        int
	left      int
	connected bool
	last      int64  // block that came last, in order
	sent      []byte // the last packet
	at        time.Time
	began     time.Time
	gap       bool // the lack of a block was reported
	inWindow  int
}

// loadAsks is how long a client waits for an answer before it asks again, as a Pi does.
const loadAsks = 2 * time.Second

// run is done when every client is.
func (l load) run() (loaded, error) {
	if l.threads <= 1 || l.clients <= 1 {
		return l.share()
	}
	all, errs := make([]loaded, min(l.threads, l.clients)), make([]error, min(l.threads, l.clients))
	var wg sync.WaitGroup
	for n := range all {
		part := l
		part.clients = l.clients*(n+1)/len(all) - l.clients*n/len(all)
		if n > 0 {
			part.tick = nil
		}
		wg.Go(func() { all[n], errs[n] = part.share() })
	}
	wg.Wait()
	return sum(all), errors.Join(errs...)
}

// sum is what several have seen at the same time.
func sum(all []loaded) loaded {
	var r loaded
	for _, one := range all {
		r.wall = max(r.wall, one.wall)
		r.bytes += one.bytes
		r.repeated += one.repeated
		r.asked += one.asked
		r.failed += one.failed
		r.why = cmp.Or(r.why, one.why)
	}
	return r
}

// share is the clients of one thread.
func (l load) share() (loaded, error) {
	var r loaded
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return r, err
	}
	defer unix.Close(ep)
	start := time.Now()
	clients := map[int32]*loadClient{}
	for range l.clients {
		c := &loadClient{left: l.rounds}
		if err := l.open(ep, c); err != nil {
			return r, err
		}
		clients[int32(c.fd)] = c
	}
	buf := make([]byte, 1<<16)
	events := make([]unix.EpollEvent, 256)
	ticked := time.Now()
	for len(clients) > 0 {
		n, err := unix.EpollWait(ep, events, 100)
		if err != nil && err != unix.EINTR {
			return r, err
		}
		for _, e := range events[:max(n, 0)] {
			c := clients[e.Fd]
			done, err := l.read(c, buf, &r)
			if err != nil {
				r.failed++
				r.why, done = err, true
			}
			if done {
				delete(clients, e.Fd)
				unix.Close(c.fd)
				if c.left--; c.left > 0 && err == nil {
					if err := l.open(ep, c); err != nil {
						return r, err
					}
					clients[int32(c.fd)] = c
				}
			}
		}
		if now := time.Now(); now.Sub(ticked) > 100*time.Millisecond {
			ticked = now
			l.remind(clients, now, &r)
			if l.tick != nil {
				l.tick()
			}
		}
	}
	r.wall = time.Since(start)
	return r, nil
}

// open begins the next file of c, from a port of its own.
func (l load) open(ep int, c *loadClient) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
		return err
	}
	b := append([]byte{0, 1}, l.name...)
	b = append(b, "\x00octet\x00tsize\x000\x00"...)
	b = append(append(append(b, "blksize\x00"...), strconv.Itoa(l.blksize)...), 0)
	if l.window > 1 {
		b = append(append(append(b, "windowsize\x00"...), strconv.Itoa(l.window)...), 0)
	}
	now := time.Now()
	*c = loadClient{fd: fd, left: c.left, sent: b, at: now, began: now}
	return unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Port: int(l.server.Port()), Addr: l.server.Addr().As4()})
}

// read takes what has come for c, and says whether the file is whole.
func (l load) read(c *loadClient, buf []byte, r *loaded) (bool, error) {
	for {
		if !c.connected {
			n, from, err := unix.Recvfrom(c.fd, buf, 0)
			if err != nil {
				return false, nil
			}
			if err := unix.Connect(c.fd, from); err != nil {
				return false, err
			}
			c.connected = true
			if done, err := l.take(c, buf[:n], r); done || err != nil {
				return done, err
			}
		}
		n, err := unix.Read(c.fd, buf)
		if err != nil {
			return false, nil
		}
		if done, err := l.take(c, buf[:n], r); done || err != nil {
			return done, err
		}
		if l.window == 1 {
			return false, nil
		}
	}
}

// take is one packet.
func (l load) take(c *loadClient, b []byte, r *loaded) (bool, error) {
	if len(b) < 4 {
		return false, fmt.Errorf("%d bytes", len(b))
	}
	c.at = time.Now()
	switch binary.BigEndian.Uint16(b) {
	case 6:
		if c.last == 0 {
			return false, l.ack(c)
		}
		return false, nil
	case 5:
		return false, fmt.Errorf("ERROR %d %s", binary.BigEndian.Uint16(b[2:]), b[4:])
	case 3:
	default:
		return false, fmt.Errorf("opcode %x", b[:2])
	}
	ahead := int16(binary.BigEndian.Uint16(b[2:]) - uint16(c.last))
	if ahead != 1 {
		if ahead <= 0 {
			r.repeated++
			return false, l.ackAgain(c, b)
		}
		if !c.gap {
			c.gap = true
			return false, l.ack(c)
		}
		return false, nil
	}
	c.gap = false
	off := c.last * int64(l.blksize)
	data := b[4:]
	if off+int64(len(data)) > int64(len(l.want)) || !bytes.Equal(data, l.want[off:off+int64(len(data))]) {
		return false, fmt.Errorf("block %d has other bytes", c.last+1)
	}
	c.last++
	c.inWindow++
	r.bytes += int64(len(data))
	done := len(data) < l.blksize
	if done && off+int64(len(data)) != int64(len(l.want)) {
		return false, fmt.Errorf("the file ended after %d bytes", off+int64(len(data)))
	}
	if done || c.inWindow >= l.window {
		return done, l.ack(c)
	}
	return false, nil
}

func (l load) ack(c *loadClient) error {
	c.inWindow = 0
	c.sent = binary.BigEndian.AppendUint16([]byte{0, 4}, uint16(c.last))
	_, err := unix.Write(c.fd, c.sent)
	return err
}

// ackAgain acknowledges a block that came again, as bootloaders do since 2021: it may be the
// acknowledgement that was lost.
func (l load) ackAgain(c *loadClient, block []byte) error {
	if l.window > 1 {
		return nil
	}
	_, err := unix.Write(c.fd, append([]byte{0, 4}, block[2:4]...))
	return err
}

// remind sends again what has had no answer.
func (l load) remind(clients map[int32]*loadClient, now time.Time, r *loaded) {
	for fd, c := range clients {
		switch {
		case now.Sub(c.began) > l.limit:
			r.failed++
			r.why = fmt.Errorf("%d bytes in %s", c.last*int64(l.blksize), l.limit)
			unix.Close(c.fd)
			delete(clients, fd)
		case now.Sub(c.at) > loadAsks:
			c.at = now
			r.asked++
			if c.connected {
				unix.Write(c.fd, c.sent)
				continue
			}
			unix.Sendto(c.fd, c.sent, 0, &unix.SockaddrInet4{Port: int(l.server.Port()), Addr: l.server.Addr().As4()})
		}
	}
}
