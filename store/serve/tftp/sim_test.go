package tftp

import (
	"bytes"
	"container/heap"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"piimg/store/serve"
	"piimg/store/serve/servetest"
)

// sim is an engine in a world of its own: a clock that only this world moves, and a
// network that loses, doubles and delays packets as its seed says.
type sim struct {
	t     *testing.T
	e     *engine
	stats counters
	front *serve.Front
	rng   *rand.Rand

	loss, double   float64
	delay, jitter  time.Duration // one way
	queue          simQueue
	order          int
	looks          []*transfer
	clients        map[peer]*simClient
	bytesIn, bytes int64 // that the server has received, and sent
}

// simEvent happens at a time; events of the same time happen in the order of their making.
type simEvent struct {
	at    instant
	order int
	do    func()
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *simQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func newSim(t *testing.T, cfg Config, seed uint64, files map[string][]byte) *sim {
	t.Helper()
	front, _ := servetest.NewFront(t, files)
	return newSimOf(t, cfg, seed, front)
}

func newSimOf(t *testing.T, cfg Config, seed uint64, front *serve.Front) *sim {
	t.Helper()
	s := &sim{t: t, front: front, rng: rand.New(rand.NewPCG(seed, 7)), clients: map[peer]*simClient{}}
	s.e = newEngine(cfg.withDefaults(), &s.stats)
	s.e.out = s
	s.e.look = func(t *transfer) { s.looks = append(s.looks, t) }
	t.Cleanup(func() {
		for _, e := range s.e.flush() {
			e.file.Done(e.result, e.bytes)
			e.file.Close()
		}
	})
	return s
}

// after lets do happen once d has passed.
func (s *sim) after(d time.Duration, do func()) {
	s.order++
	heap.Push(&s.queue, simEvent{s.e.now + d, s.order, do})
}

// run lets time pass until it is over or nothing happens any more.
func (s *sim) run(until time.Duration) {
	end := s.e.now + until
	for {
		s.settle()
		next := s.e.next()
		if len(s.queue) > 0 {
			next = min(next, s.queue[0].at)
		}
		if next > end {
			s.e.now = end
			return
		}
		s.e.now = max(s.e.now, next)
		// As in the server: what has arrived comes before the clock.
		for len(s.queue) > 0 && s.queue[0].at <= s.e.now {
			heap.Pop(&s.queue).(simEvent).do()
		}
		s.settle()
		s.e.expire()
	}
}

// settle looks for files and lets go of those that are done.
func (s *sim) settle() {
	for len(s.looks) > 0 {
		t := s.looks[0]
		s.looks = s.looks[1:]
		o := opened{t: t, mtu: 1500}
		o.file, o.err = s.front.Open(context.Background(), serve.Request{Client: t.from.addrPort(), Name: t.req.name, Protocol: "tftp"})
		if o.err == nil {
			o.wire = o.file.Size
			if t.req.netascii {
				o.wire, _ = netasciiSize(o.file)
			}
		}
		s.e.opened(o)
	}
	for _, e := range s.e.flush() {
		e.file.Done(e.result, e.bytes)
		e.file.Close()
	}
}

// packet and data are the sender of the engine.
func (s *sim) packet(_ *transfer, to *address, b []byte) { s.deliver(to.peer, bytes.Clone(b)) }

func (s *sim) data(t *transfer, number uint16, pieces [][]byte) {
	b := binary.BigEndian.AppendUint16([]byte{0, opDATA}, number)
	for _, p := range pieces {
		b = append(b, p...)
	}
	s.deliver(t.from.peer, b)
}

func (s *sim) flush() {}

// travel brings a packet to the other side, or not, or twice. onWay follows each copy
// that arrives.
func (s *sim) travel(arrive func(), onWay func(int)) {
	copies := 1
	if s.rng.Float64() < s.double {
		copies = 2
	}
	if s.rng.Float64() < s.loss {
		copies = 0
	}
	for range copies {
		onWay(1)
		d := s.delay
		if s.jitter > 0 {
			d += time.Duration(s.rng.Int64N(int64(s.jitter)))
		}
		s.after(d, func() {
			onWay(-1)
			arrive()
		})
	}
}

func (s *sim) deliver(to peer, b []byte) {
	s.bytes += int64(len(b))
	c := s.clients[to]
	if c == nil {
		return
	}
	c.sentByServer(b)
	s.travel(func() { c.receive(b) }, func(n int) { c.track(b, n) })
}

// send is a packet of a client.
func (s *sim) send(from peer, b []byte, onWay func(int)) {
	s.travel(func() {
		s.bytesIn += int64(len(b))
		s.e.receive(&address{peer: from}, b)
	}, onWay)
}

// simClient fetches one file as the firmware does, or with a window.
type simClient struct {
	s       *sim
	self    peer
	ask     []byte
	blksize int
	window  int

	last     int64
	got      bytes.Buffer
	done     bool
	err      string
	lastSent []byte
	resend   int
	inWindow int
	gap      bool // the lack of a block was reported

	onWay    map[uint32]int // copies on their way, by opcode and number
	times    map[uint16]int // the server has sent a block, since the numbers began anew
	repeated int            // blocks that came again
	needless int            // times that the server sent a block again while it or its ACK was on the way
}

func (s *sim) client(n int, name string, blksize, window int, options ...string) *simClient {
	c := &simClient{
		s: s, blksize: blksize, window: window, onWay: map[uint32]int{}, times: map[uint16]int{},
		self: peer{ip: netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}).As16(), port: uint16(40000 + n%1000)},
	}
	c.ask = append([]byte{0, opRRQ}, name+"\x00octet\x00"...)
	for _, o := range options {
		c.ask = append(append(c.ask, o...), 0)
	}
	s.clients[c.self] = c
	return c
}

func (s *sim) pi(n int, name string) *simClient {
	return s.client(n, name, 1468, 1, "tsize", "0", "blksize", "1468")
}

func (c *simClient) start() { c.send(c.ask) }

func key(b []byte) uint32 { return binary.BigEndian.Uint32(b[:4]) }

func (c *simClient) track(b []byte, n int) {
	if op := b[1]; op == opDATA || op == opACK {
		c.onWay[key(b)] += n
	}
}

// send sends b, and again after 2 s unless something comes.
func (c *simClient) send(b []byte) {
	c.lastSent = b
	c.resend++
	mine := c.resend
	c.s.send(c.self, b, func(n int) { c.track(b, n) })
	c.s.after(2*time.Second, func() {
		if mine == c.resend && !c.done && c.err == "" {
			c.send(c.lastSent)
		}
	})
}

// sentByServer checks a block that is sent: again only when neither it nor the
// acknowledgement of it is on the way.
func (c *simClient) sentByServer(b []byte) {
	if b[1] != opDATA {
		return
	}
	n := binary.BigEndian.Uint16(b[2:])
	c.times[n]++
	c.times[n+1<<15] = 0 // half the numbers away: long over
	if c.times[n] > 1 && c.window == 1 && (c.onWay[key(b)] > 0 || c.onWay[opACK<<16|uint32(n)] > 0) {
		c.needless++
	}
}

func (c *simClient) receive(b []byte) {
	if c.done || c.err != "" {
		return
	}
	switch b[1] {
	case opOACK:
		if c.last == 0 {
			c.send([]byte{0, opACK, 0, 0})
		}
	case opERROR:
		c.err = string(b[4 : len(b)-1])
	case opDATA:
		c.take(binary.BigEndian.Uint16(b[2:]), b[4:])
	}
}

func (c *simClient) take(n uint16, data []byte) {
	ahead := int16(n - uint16(c.last))
	if ahead > 1 && c.window > 1 && !c.gap {
		c.gap = true
		c.ack()
		return
	}
	if ahead != 1 {
		if ahead <= 0 {
			c.repeated++
		}
		if ahead <= 0 && c.window == 1 {
			c.s.send(c.self, []byte{0, opACK, byte(n >> 8), byte(n)}, func(int) {})
		}
		return
	}
	c.gap = false
	c.last++
	c.inWindow++
	c.got.Write(data)
	c.done = len(data) < c.blksize
	if c.done || c.inWindow >= c.window {
		c.ack()
	}
}

func (c *simClient) ack() {
	c.inWindow = 0
	n := uint16(c.last)
	c.send([]byte{0, opACK, byte(n >> 8), byte(n)})
}

// wantAll checks that every client has the file.
func (s *sim) wantAll(want []byte) {
	s.t.Helper()
	for _, c := range s.clients {
		if !c.done || !bytes.Equal(c.got.Bytes(), want) {
			s.t.Errorf("client %s: done %v, error %q, %d of %d bytes", c.self.addrPort(), c.done, c.err, c.got.Len(), len(want))
		}
	}
}

// wantIdle lets time pass, and checks that nothing is left behind.
func (s *sim) wantIdle() {
	s.t.Helper()
	s.run(2 * time.Minute)
	e := s.e
	for _, n := range e.networks {
		if c := &n.crowd; len(c.begun)+len(c.waiting) > 0 {
			s.t.Errorf("left behind: %d large files that were begun, and %d that wait", len(c.begun), len(c.waiting))
		}
	}
	if n := len(e.transfers) + e.turns.running + e.turns.waiting + len(e.turns.boards) + len(e.turns.addrs) + e.offers.Len() + e.opens + len(e.timers.all); n != 0 {
		s.t.Errorf("left behind: %d transfers, turns %+v, %d offers, %d opens, %d timers", len(e.transfers), e.turns, e.offers.Len(), e.opens, len(e.timers.all))
	}
}

const simFile = servetest.BoardID + "/vmlinuz"

// TestNoNeedlessRepetition: whatever the round trips are, a block is sent again only when
// it or its acknowledgement was lost. start4.elf can hang on one that comes twice.
func TestNoNeedlessRepetition(t *testing.T) {
	body := servetest.Pattern(1 << 20)
	for _, tt := range []struct {
		loss          float64
		delay, jitter time.Duration
	}{
		{0, 100 * time.Microsecond, 50 * time.Microsecond},
		{0.01, time.Millisecond, time.Millisecond},
		{0.05, time.Millisecond, time.Millisecond},
		{0.05, 5 * time.Millisecond, 10 * time.Millisecond},
		{0.02, 30 * time.Millisecond, 60 * time.Millisecond},
		{0.02, 150 * time.Millisecond, 20 * time.Millisecond}, // longer than the floor
	} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			s := newSim(t, Config{}, 1, map[string][]byte{"vmlinuz": body})
			s.loss, s.delay, s.jitter = tt.loss, tt.delay, tt.jitter
			for n := range 4 {
				s.pi(n, simFile).start()
			}
			s.run(time.Hour)
			s.wantAll(body)
			for _, c := range s.clients {
				if c.needless > 0 {
					t.Errorf("client %s: %d blocks were sent again while they or their acknowledgement were on the way", c.self.addrPort(), c.needless)
				}
			}
			if again := s.stats.again.Load(); (again > 0) != (tt.loss > 0) {
				t.Errorf("%d blocks were sent again", again)
			}
			s.wantIdle()
		})
	}
}

// TestLongerWay: a way that suddenly takes longer, as one does whose queues fill up, has a
// block sent again once where that is longer than the floor, and none where it is not; few
// packets that get lost change nothing about that.
func TestLongerWay(t *testing.T) {
	body := servetest.Pattern(4 << 20)
	for _, tt := range []struct {
		loss   float64
		longer time.Duration
		most   int // blocks that are sent again for nothing, of one client each time
	}{{0, 40 * time.Millisecond, 0}, {0.005, 40 * time.Millisecond, 0}, {0, 100 * time.Millisecond, 1}, {0.01, 100 * time.Millisecond, 1}} {
		s := newSim(t, Config{}, 1, map[string][]byte{"vmlinuz": body})
		s.loss, s.delay, s.jitter = tt.loss, time.Millisecond, time.Millisecond
		for n := range 10 {
			s.pi(n, simFile).start()
		}
		const times = 4
		for range times {
			s.run(time.Second)
			s.delay = tt.longer
			s.run(2 * time.Second)
			s.delay = time.Millisecond
		}
		for _, c := range s.clients {
			if c.needless > times*tt.most || c.done {
				t.Errorf("%v: %d of %d blocks were sent again for nothing; done %v", tt, c.needless, c.last, c.done)
			}
		}
		s.run(time.Minute)
		s.wantAll(body)
		s.wantIdle()
	}
}

// TestHeavyLoss: over a network that loses 5 % each way 1 MB ends in seconds, so does what
// 100 boards fetch together, and a start4.elf comes within the 30 s that a board gives it.
func TestHeavyLoss(t *testing.T) {
	for _, tt := range []struct {
		clients, size int
		within        time.Duration
	}{{1, 1 << 20, 10 * time.Second}, {100, 1 << 17, 20 * time.Second}, {20, 2_305_632, 30 * time.Second}} {
		body := servetest.Pattern(tt.size)
		s := newSim(t, Config{}, 2, map[string][]byte{"vmlinuz": body})
		s.loss, s.double, s.delay, s.jitter = 0.05, 0.02, time.Millisecond, time.Millisecond
		for n := range tt.clients {
			s.pi(n, simFile).start()
		}
		s.run(tt.within)
		s.wantAll(body)
		s.wantIdle()
	}
}

// TestFaultRow35Sorcerer: acknowledgements that the network doubles do not double blocks.
func TestFaultRow35Sorcerer(t *testing.T) {
	body := servetest.Pattern(300_000)
	s := newSim(t, Config{}, 3, map[string][]byte{"vmlinuz": body})
	s.double, s.delay, s.jitter = 1, time.Millisecond, 100*time.Microsecond
	c := s.pi(1, simFile)
	c.start()
	s.run(time.Minute)
	s.wantAll(body)
	blocks := int64(len(body)/1468 + 1)
	if again := s.stats.again.Load(); again != 0 || int64(c.repeated) > blocks {
		t.Errorf("%d blocks were sent again, %d of %d came twice", again, c.repeated, blocks)
	}
	s.wantIdle()
}

// TestFaultRow35RollOverUnderLoss counts blocks of 8 bytes over the end of the numbers,
// with packets lost, doubled and overtaken.
func TestFaultRow35RollOverUnderLoss(t *testing.T) {
	body := servetest.Pattern(8*66_000 + 3)
	s := newSim(t, Config{}, 4, map[string][]byte{"vmlinuz": body})
	s.loss, s.double, s.delay = 0.002, 0.01, 100*time.Microsecond
	s.client(1, simFile, 8, 16, "blksize", "8", "windowsize", "16").start()
	s.run(time.Hour)
	s.wantAll(body)
	s.wantIdle()
}

// TestWindowsUnderLoss moves files in windows through a bad network.
func TestWindowsUnderLoss(t *testing.T) {
	body := servetest.Pattern(1<<20 + 5)
	for _, window := range []int{2, 16, 64} {
		s := newSim(t, Config{}, uint64(window), map[string][]byte{"vmlinuz": body})
		s.loss, s.double, s.delay = 0.02, 0.01, time.Millisecond
		for n := range 4 {
			s.client(n, simFile, 1468, window, "blksize", "1468", "windowsize", fmt.Sprint(window)).start()
		}
		s.run(time.Minute)
		s.wantAll(body)
		blocks := int64(4 * (len(body)/1468 + 1))
		if again := s.stats.again.Load(); again > blocks {
			t.Errorf("window %d: %d of %d blocks were sent again", window, again, blocks)
		}
		s.wantIdle()
	}
}

// TestFairTurns: with one place, a board that asks for much does not keep another out.
func TestFairTurns(t *testing.T) {
	s := newSim(t, Config{Transfers: 1}, 5, map[string][]byte{"vmlinuz": servetest.Pattern(100_000)})
	s.delay = time.Millisecond
	var greedy []*simClient
	for n := range 40 {
		c := s.client(n, simFile, 1468, 1, "blksize", "1468", "tsize", "0")
		c.self.ip = netip.MustParseAddr("10.1.0.1").As16()
		c.self.port = uint16(50000 + n)
		s.clients[c.self] = c
		greedy = append(greedy, c)
		c.start()
	}
	s.run(time.Millisecond)
	modest := s.pi(999, simFile)
	modest.start()
	for !modest.done && s.e.now < time.Minute {
		s.run(time.Millisecond)
	}
	ended := 0
	for _, c := range greedy {
		if c.done {
			ended++
		}
	}
	if !modest.done || ended > 3 {
		t.Errorf("the modest board ended: %v, after %d files of the greedy one", modest.done, ended)
	}
	s.wantIdle()
}

// TestClientsTimeout: a client that asks for a time-out gets a block again after that long, and
// again after as long.
func TestClientsTimeout(t *testing.T) {
	for option, want := range map[string][]int64{"": {0, 1, 1, 2, 2, 2, 2}, "3": {0, 0, 0, 1, 1, 1, 2}} {
		s := newSim(t, Config{}, 5, map[string][]byte{"vmlinuz": servetest.Pattern(9000)})
		c := s.client(1, simFile, 1024, 1, "tsize", "0", "blksize", "1024", "timeout", option)
		delete(s.clients, c.self) // it takes what comes and says nothing
		s.e.receive(&address{peer: c.self}, c.ask)
		s.settle()
		s.e.receive(&address{peer: c.self}, []byte{0, opACK, 0, 0})
		s.run(time.Millisecond)
		var got []int64
		for range want {
			got = append(got, s.stats.again.Load())
			s.run(time.Second)
		}
		if !slices.Equal(got, want) {
			t.Errorf("timeout %q: blocks that were sent again, second by second: %v, want %v", option, got, want)
		}
		s.wantIdle()
	}
}

// TestForgottenRequest: who has asked once and never again, while others had their turns, has
// given up, and is not answered.
func TestForgottenRequest(t *testing.T) {
	s := newSim(t, Config{Transfers: 1}, 5, map[string][]byte{"vmlinuz": servetest.Pattern(600_000)})
	s.delay = 20 * time.Millisecond
	slow := s.pi(1, simFile)
	slow.start()
	s.run(time.Second)
	gone := s.pi(2, simFile)
	s.e.receive(&address{peer: gone.self}, gone.ask)
	for !slow.done && s.e.now < time.Minute {
		s.run(time.Second)
	}
	if !slow.done || s.e.now < askedAfter+time.Second || len(s.e.transfers) > 0 || gone.last > 0 {
		t.Errorf("after %s the slow board is done: %v, and there are %d transfers", s.e.now, slow.done, len(s.e.transfers))
	}
	s.wantIdle()
}

// TestRate holds a network to its rate, evenly for its clients, and leaves others alone.
func TestRate(t *testing.T) {
	const rate = 1_000_000
	body := servetest.Pattern(500_000)
	s := newSim(t, Config{Networks: []Network{
		{Prefix: netip.MustParsePrefix("10.1.0.0/24"), Rate: rate}, {Prefix: netip.MustParsePrefix("10.0.0.0/8")},
	}}, 6, map[string][]byte{"vmlinuz": body})
	s.delay = 100 * time.Microsecond
	const slow = 10
	for n := range slow {
		s.pi(n, simFile).start()
	}
	fast := s.pi(1<<8+1, simFile) // 10.1.1.1
	fast.start()
	s.run(time.Second)
	if !fast.done {
		t.Errorf("a client of another network has %d bytes after a second", fast.got.Len())
	}
	s.run(time.Second)
	least, most, sum := len(body), 0, 0
	for _, c := range s.clients {
		if c != fast {
			least, most, sum = min(least, c.got.Len()), max(most, c.got.Len()), sum+c.got.Len()
		}
	}
	if sum < rate*2*8/10 || sum > rate*2*11/10 || most > least*12/10 {
		t.Errorf("%d bytes in 2 s at %d a second; the clients have %d to %d", sum, rate, least, most)
	}
	s.run(time.Minute)
	s.wantAll(body)
	if again := s.stats.again.Load(); again != 0 {
		t.Errorf("%d blocks were sent again to clients that had to wait for their turn", again)
	}
	s.wantIdle()
}

// TestFaultRow32FloodIsNotAmplified: requests with made-up addresses get no more bytes
// than they have, whatever they ask, but for a bounded loan; boards are served meanwhile.
func TestFaultRow32FloodIsNotAmplified(t *testing.T) {
	body := servetest.Pattern(60_000)
	s := newSim(t, Config{}, 7, map[string][]byte{"vmlinuz": body, "start4.elf": body})
	s.delay = time.Millisecond
	questions := [][]byte{
		[]byte("\x00\x01" + simFile + "\x00octet\x00tsize\x000\x00blksize\x001468\x00"),
		[]byte("\x00\x01" + simFile + "\x00octet\x00"),
		[]byte("\x00\x01a\x00octet\x00"),
		[]byte("\x00\x01a\x00b\x00"),
		[]byte("\x00\x02a\x00octet\x00"),
		[]byte("\x00\x04\x00\x00"), []byte("\x00\x05\x00\x00x\x00"), []byte("\x00\x03\x00\x01"), []byte("\x00\x01"),
	}
	for n := range 30_000 {
		s.e.now += 100 * time.Microsecond
		from := peer{ip: netip.AddrFrom4([4]byte{172, 16, byte(n >> 8), byte(n)}).As16(), port: uint16(n)}
		q := questions[n%len(questions)]
		s.bytesIn += int64(len(q))
		s.e.receive(&address{peer: from}, q)
		s.settle()
		s.e.expire()
	}
	s.run(time.Minute)
	const seconds = 3 + 60
	if most := s.bytesIn + loanMost + seconds*loanRate; s.bytes > most {
		t.Errorf("%d bytes were sent for %d, want %d at most", s.bytes, s.bytesIn, most)
	}
	s.bytesIn, s.bytes = 0, 0
	for n := range 20 {
		s.pi(n, simFile).start()
	}
	s.run(10 * time.Second)
	s.wantAll(body)
	s.wantIdle()
}

// TestNetworksAreRefused: a network that is not served gets one short answer.
func TestNetworksAreRefused(t *testing.T) {
	s := newSim(t, Config{Networks: []Network{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}}}, 8, map[string][]byte{"vmlinuz": servetest.Pattern(10)})
	c := s.pi(1, simFile)
	c.start()
	s.run(time.Second)
	if c.err != sayNetwork || s.bytes > s.bytesIn || len(s.e.transfers) > 0 {
		t.Errorf("told %q in %d bytes for %d", c.err, s.bytes, s.bytesIn)
	}
}
