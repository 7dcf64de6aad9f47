package tftp

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"piimg/store/serve/servetest"
)

// crowdBoard is a board that gives a file up 30 s after it has asked for it, and starts
// over 5 s later.
type crowdBoard struct {
	*simClient
	n     int
	tries int
}

func (b *crowdBoard) start(s *sim) {
	b.tries++
	b.simClient = s.pi(b.n, simFile)
	b.self.port = uint16(20000 + b.tries)
	s.clients[b.self] = b.simClient
	c := b.simClient
	c.start()
	s.after(30*time.Second, func() {
		if !c.done {
			c.err = "given up"
			s.after(5*time.Second, func() { b.start(s) })
		}
	})
}

// TestCrowd starts sixty boards at once on a network that takes 48 s to carry what they
// ask for, which is longer than any of them waits.
func TestCrowd(t *testing.T) {
	body := servetest.Pattern(2 << 20)
	boards := func(t *testing.T, promise int64, lasts time.Duration) (s *sim, done, tries int) {
		cfg := Config{Networks: []Network{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Rate: 60 * int64(len(body)) / 48}}}
		s = newSim(t, cfg, 1, map[string][]byte{"vmlinuz": body})
		if promise > 0 {
			s.e.networks[0].crowd.floor = promise
		}
		s.delay = 100 * time.Microsecond
		var all []*crowdBoard
		for n := range 60 {
			b := &crowdBoard{n: n}
			b.start(s)
			all = append(all, b)
		}
		s.run(lasts)
		for _, b := range all {
			tries += b.tries
			if b.done && bytes.Equal(b.got.Bytes(), body) {
				done++
			}
		}
		return s, done, tries
	}
	t.Run("shared by all", func(t *testing.T) {
		if _, done, _ := boards(t, 1<<40, 100*time.Second); done > 0 {
			t.Errorf("%d boards have the file: then this network shows nothing", done)
		}
	})
	t.Run("one after the other", func(t *testing.T) {
		s, done, tries := boards(t, 0, 100*time.Second)
		if done != 60 || tries > 100 {
			t.Errorf("%d of 60 boards have the file after %d tries", done, tries)
		}
		if most := 70 * int64(len(body)); s.bytes > most {
			t.Errorf("%d bytes were sent, for %d of 60 files", s.bytes, 60*len(body))
		}
		s.wantIdle()
	})
}

// TestCrowdGivesWay: requests for large files that nobody stands behind keep no board out.
func TestCrowdGivesWay(t *testing.T) {
	body := servetest.Pattern(2 << 20)
	s := newSim(t, Config{Promise: int64(3 * len(body))}, 1, map[string][]byte{"vmlinuz": body})
	s.delay = 100 * time.Microsecond
	for n := range 600 {
		made := s.pi(1000+n, simFile)
		delete(s.clients, made.self)
		s.after(time.Duration(n)*10*time.Millisecond, func() { s.send(made.self, made.ask, func(int) {}) })
	}
	board := s.pi(1, simFile)
	s.after(time.Second, board.start)
	s.run(20 * time.Second)
	s.wantAll(body)
	s.wantIdle()
}

// TestCrowdKeepsNoDebts: clients that probe, give up, start over, ask in netascii or with a
// window, through losses: what was promised to them is forgotten.
func TestCrowdKeepsNoDebts(t *testing.T) {
	body := servetest.Pattern(1<<20 + 5)
	s := newSim(t, Config{Promise: int64(2 * len(body))}, 3, map[string][]byte{"vmlinuz": body})
	s.loss, s.double, s.delay = 0.02, 0.02, time.Millisecond
	for n := range 60 {
		c := s.pi(n, simFile)
		switch n % 6 {
		case 1:
			c = s.client(n, simFile, 1468, 16, "blksize", "1468", "windowsize", "16")
		case 2:
			c.ask = bytes.Replace(c.ask, []byte("octet"), []byte("netascii"), 1)
		}
		s.after(time.Duration(s.rng.Int64N(int64(5*time.Second))), c.start)
		stop := time.Duration(s.rng.Int64N(int64(20 * time.Second)))
		switch n % 6 {
		case 3: // it has seen enough
			s.after(stop, func() {
				c.err = "probed"
				s.send(c.self, []byte{0, opERROR, 0, 0, 'x', 0}, func(int) {})
			})
		case 4: // it is switched off
			s.after(stop, func() { c.err = "off" })
		case 5: // it is switched off and on, and asks from the same port
			s.after(stop, func() {
				c.done, c.last, c.err = false, 0, ""
				c.got.Reset()
				c.start()
			})
		}
	}
	s.run(3 * time.Minute)
	for n, c := range s.clients {
		if !c.done && c.err == "" {
			t.Errorf("client %s waits", n.addrPort())
		}
	}
	s.wantIdle()
}
