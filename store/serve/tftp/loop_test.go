package tftp

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"piimg/store/serve/servetest"
)

// gate is a log that holds up who writes a line, until it is opened.
type gate struct{ reached, open chan struct{} }

func (g gate) Enabled(context.Context, slog.Level) bool { return true }
func (g gate) WithAttrs([]slog.Attr) slog.Handler       { return g }
func (g gate) WithGroup(string) slog.Handler            { return g }

func (g gate) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "bad request" {
		close(g.reached)
		<-g.open
	}
	return nil
}

// TestAnswersComeBeforeTheClock: answers that came in time are not late because the server
// did not get to run for a while, however many there are.
func TestAnswersComeBeforeTheClock(t *testing.T) {
	const boards, timeout = 300, 3 * time.Second
	front, _ := servetest.NewFront(t, map[string][]byte{"vmlinuz": servetest.Pattern(9000)})
	g := gate{make(chan struct{}), make(chan struct{})}
	s, err := Listen(Config{Addr: "127.0.0.1:0", Timeout: timeout, Waiting: boards, BoardTransfers: boards, Log: slog.New(g)}, front)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	closer := newCloser()
	l := newLoop(s, closer)
	l.rounds = 1
	done := make(chan error, 1)
	go func() { done <- l.run(ctx) }()

	clients := make([]*net.UDPConn, boards)
	server := net.UDPAddrFromAddrPort(s.Addr())
	b := make([]byte, 2000)
	each := func(what string, do func(c *net.UDPConn) error) {
		t.Helper()
		for n, c := range clients {
			if err := do(c); err != nil {
				t.Fatalf("board %d: %s: %v", n, what, err)
			}
		}
	}
	read := func(op byte) func(c *net.UDPConn) error {
		return func(c *net.UDPConn) error {
			c.SetReadDeadline(time.Now().Add(2 * time.Minute))
			_, from, err := c.ReadFromUDP(b)
			if err == nil && b[1] != op {
				err = fmt.Errorf("opcode %d", b[1])
			}
			server = from
			return err
		}
	}
	send := func(p string) func(c *net.UDPConn) error {
		return func(c *net.UDPConn) error {
			_, err := c.WriteToUDP([]byte(p), server)
			return err
		}
	}
	for n := range clients {
		if clients[n], err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
			t.Fatal(err)
		}
		defer clients[n].Close()
	}
	each("request", send("\x00\x01"+simFile+"\x00octet\x00tsize\x000\x00blksize\x00600\x00"))
	each("options", read(opOACK))
	each("accept", send("\x00\x04\x00\x00"))
	each("first block", read(opDATA))
	other, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(s.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.Write([]byte("\x00\x01a\x00b\x00"))
	<-g.reached
	again := s.Stats().Repeated
	each("acknowledge", send("\x00\x04\x00\x01"))
	time.Sleep(timeout)
	close(g.open)
	each("second block", read(opDATA))
	if n := s.Stats().Repeated - again; n > 0 {
		t.Errorf("%d blocks were sent again whose acknowledgements were there", n)
	}
	each("end", send("\x00\x05\x00\x00\x00"))
	cancel()
	s.waker.wake()
	if err := <-done; err != nil {
		t.Error(err)
	}
	closer.wait()
	s.cancel()
	s.Close()
}
