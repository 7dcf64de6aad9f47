package web

import (
	"net"
	"sync"
	"syscall"
	"time"

	"piimg/store/serve"
)

// limited is a listener with so many connections at a time: further ones wait in the
// kernel's queue, where they cost neither memory of ours nor an open file. One address
// gets a part of them only, and is hung up on beyond that, so that it keeps nobody out.
//
// It is golang.org/x/net/netutil.LimitListener and that second limit.
type limited struct {
	net.Listener
	slots   chan struct{}
	clients *serve.Quota
	closed  chan struct{}
	close   func() error
}

func limit(ln net.Listener, all, each int) *limited {
	l := &limited{Listener: ln, slots: make(chan struct{}, all), clients: serve.NewQuota(each, all), closed: make(chan struct{})}
	l.close = sync.OnceValue(func() error {
		close(l.closed)
		return ln.Close()
	})
	return l
}

// Accept waits for a slot, and then for a connection that may have it.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			<-l.slots
			return nil, err
		}
		client := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
		if !l.clients.Enter(client) {
			conn.Close()
			continue
		}
		return &limitedConn{Conn: conn, release: sync.OnceFunc(func() {
			l.clients.Leave(client)
			<-l.slots
		})}, nil
	}
}

// Close stops an Accept that waits, for a slot or for a connection.
func (l *limited) Close() error { return l.close() }

// limitedConn gives its slot back when it is closed.
type limitedConn struct {
	net.Conn
	release func()
	socket  syscall.RawConn // below Conn, once ReadFrom has asked for it
	allowed time.Time       // when the deadline of writes was set last, by ReadFrom
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
