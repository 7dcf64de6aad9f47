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
			s.e.networks[0].crowd.promise = promise
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

// crowdOf starts so many boards, a tenth of a second apart.
func crowdOf(s *sim, boards int) []*crowdBoard {
	all := make([]*crowdBoard, boards)
	for n := range all {
		all[n] = &crowdBoard{n: n, simClient: &simClient{}}
		s.after(time.Duration(n)*100*time.Millisecond, func() { all[n].start(s) })
	}
	return all
}

func haveIt(all []*crowdBoard, body []byte) (done int) {
	for _, b := range all {
		if b.done && bytes.Equal(b.got.Bytes(), body) {
			done++
		}
	}
	return done
}

// TestCrowdOnALesserNetwork promises more than the network carries. With twice as much boards
// that would come too late do not take from others what those are about to have; with ten
// times as much that is so once boards have given files up.
func TestCrowdOnALesserNetwork(t *testing.T) {
	body := servetest.Pattern(2 << 20)
	rate := 60 * int64(len(body)) / 48
	for _, tt := range []struct {
		times, most int64 // files that are sent
		within      time.Duration
	}{{2, 70, time.Minute}, {10, 200, 3 * time.Minute}} {
		s := newSim(t, Config{Networks: []Network{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Rate: rate}}}, 1, map[string][]byte{"vmlinuz": body})
		s.e.networks[0].crowd.promise *= tt.times
		s.delay = 100 * time.Microsecond
		all := crowdOf(s, 60)
		s.run(tt.within)
		if done, most := haveIt(all, body), tt.most*int64(len(body)); done != len(all) || s.bytes > most {
			t.Errorf("%d times: %d of %d boards have the file, for %d bytes, want %d at most", tt.times, done, len(all), s.bytes, most)
		}
		s.wantIdle()
	}
}

// TestCrowdAfterSlowOnes: what slow clients have taken lately is not all that a network
// carries, and keeps nobody waiting where it is idle.
func TestCrowdAfterSlowOnes(t *testing.T) {
	body := servetest.Pattern(4 << 20)
	s := newSim(t, Config{Promise: int64(2 * len(body))}, 1, map[string][]byte{"vmlinuz": body})
	s.delay = 5 * time.Millisecond // 28 s a file, which leaves no time to wait for one
	all := crowdOf(s, 12)
	s.run(10 * time.Minute)
	if done := haveIt(all, body); done != len(all) {
		t.Errorf("%d of %d boards have the file", done, len(all))
	}
	s.wantIdle()
}

// TestCrowdIsFair: a board that asks for much waits behind those who ask for one file.
func TestCrowdIsFair(t *testing.T) {
	body := servetest.Pattern(2 << 20)
	s := newSim(t, Config{Networks: []Network{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Rate: 1_000_000}}}, 1, map[string][]byte{"vmlinuz": body})
	s.delay = 100 * time.Microsecond
	for n := range 60 {
		c := s.pi(n, simFile)
		delete(s.clients, c.self)
		c.self.ip, c.self.port = netip.MustParseAddr("10.1.1.1").As16(), uint16(50000+n)
		s.clients[c.self] = c
		c.start()
	}
	s.run(time.Millisecond)
	all := crowdOf(s, 4)
	s.run(30 * time.Second)
	if done, tries := haveIt(all, body), all[0].tries; done != len(all) || tries > 1 {
		t.Errorf("%d of %d modest boards have the file; %d tries", done, len(all), tries)
	}
	s.run(5 * time.Minute)
	s.wantAll(body)
	s.wantIdle()
}

// TestCrowdOfTheGone: clients that are switched off, and those that go on slowly for ever,
// keep nobody out.
func TestCrowdOfTheGone(t *testing.T) {
	body := servetest.Pattern(2 << 20)
	for _, tt := range []struct {
		acks   int // one every two seconds
		within time.Duration
	}{{0, 5 * time.Second}, {60, 40 * time.Second}} {
		s := newSim(t, Config{Promise: int64(2 * len(body))}, 1, map[string][]byte{"vmlinuz": body})
		s.delay = 100 * time.Microsecond
		for n := range 2 {
			c := s.pi(1000+n, simFile)
			c.start()
			s.after(20*time.Millisecond, func() { c.err = "off" })
			for more := range tt.acks {
				s.after(time.Duration(more+1)*2*time.Second, func() {
					number := uint16(c.last) + uint16(more)
					s.send(c.self, []byte{0, opACK, byte(number >> 8), byte(number)}, func(int) {})
				})
			}
		}
		s.run(30 * time.Millisecond)
		all := crowdOf(s, 5)
		s.run(tt.within)
		if done := haveIt(all, body); done != len(all) || len(s.e.transfers) != 2 {
			t.Errorf("%d acknowledgements: %d of %d boards have the file; %d of 2 old transfers are left", tt.acks, done, len(all), len(s.e.transfers))
		}
		s.run(2 * time.Minute)
		s.wantIdle()
	}
}

// TestCrowdLeavesRoom: requests for a large file that nobody stands behind, far more than may
// wait, do not keep out who wants a small one.
func TestCrowdLeavesRoom(t *testing.T) {
	large, small := servetest.Pattern(2<<20), servetest.Pattern(5000)
	s := newSim(t, Config{Promise: int64(3 * len(large)), Transfers: 100}, 1, map[string][]byte{"vmlinuz": large, "cmdline.bin": small})
	s.delay = 100 * time.Microsecond
	for n := range 5000 {
		made := s.pi(5000+n, simFile)
		delete(s.clients, made.self)
		s.after(time.Duration(n)*2*time.Millisecond, func() { s.send(made.self, made.ask, func(int) {}) })
	}
	s.run(2 * time.Second)
	for n := range 10 {
		s.pi(n, servetest.BoardID+"/cmdline.bin").start()
	}
	s.run(time.Second)
	s.wantAll(small)
	if most := s.e.turns.room; len(s.e.transfers) > most {
		t.Errorf("%d requests wait, want %d at most", len(s.e.transfers), most)
	}
	s.wantIdle()
}
