package s3

import (
	"context"
	"net"
	"time"
)

// watchdog dials connections that fail once they stand still for longer than idle: not a
// byte read or written.
func watchdog(idle time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: idle, KeepAlive: idle}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &watched{c, idle}, nil
	}
}

// watched puts the end off whenever something moves, in either direction: while a body is
// sent, the answer is waited for at the same time.
type watched struct {
	net.Conn
	idle time.Duration
}

func (w *watched) Read(p []byte) (int, error) {
	if err := w.SetDeadline(time.Now().Add(w.idle)); err != nil {
		return 0, err
	}
	return w.Conn.Read(p)
}

func (w *watched) Write(p []byte) (int, error) {
	if err := w.SetDeadline(time.Now().Add(w.idle)); err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}
