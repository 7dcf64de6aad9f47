package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"
)

// badness is what a bad way does to packets, in each direction.
type badness struct {
	loss   int           // of a thousand packets
	double int           // of a thousand packets
	delay  time.Duration // of each packet
}

// badWay is the way to a TFTP server through a bad network: clients ask at its address. It
// is a relay for UDP, which delays packets and sends some twice, behind rules of nftables,
// which lose some between the clients and the relay. (tc netem would do all of it, and is
// not in every kernel.)
//
// Each port of the server is a port of the relay's to a client; to the server, each client
// has its own address. So what comes twice or late is told apart by transfers, and the
// relay can say what the server sent again without need.
type badWay struct {
	badness
	server netip.AddrPort
	ask    *net.UDPConn
	queue  chan parcel
	carry  sync.WaitGroup // the goroutines that read
	out    sync.WaitGroup // the one that writes

	mu     sync.Mutex
	lines  map[netip.AddrPort]*line // by client
	swept  time.Time                // when old lines were looked for
	closed bool
	rng    *rand.Rand
	counted
}

// counted is what has passed. Sent again is what the server did, not the relay.
type counted struct {
	packets, twice int64 // of both directions, and what the relay sent twice
	data, again    int64 // blocks
	needless       int64 // blocks sent again while they or their acknowledgement were on the way
}

// line is one port of a client.
type line struct {
	client netip.AddrPort
	up     *net.UDPConn            // the client, as the server sees it
	down   map[uint16]*net.UDPConn // the server, as the client sees it, by its ports
	used   time.Time
	stretch
}

// parcel is a packet on its way.
type parcel struct {
	due  time.Time
	out  *net.UDPConn
	to   netip.AddrPort
	data []byte
}

// badWayAddr is where clients ask. The rules lose what goes there or comes from there.
const badWayAddr = "127.0.68.1"

const (
	// lineFor is how long a line lasts on which nothing is sent. Clients ask again after 2 s, and
	// that may get lost several times in a row.
	lineFor   = 20 * time.Second
	lingerFor = time.Second // and so long when it is over
)

// newBadWay makes a bad way to server, in a namespace that has no other, until the test ends.
func newBadWay(t testing.TB, f badness, server netip.AddrPort) *badWay {
	t.Helper()
	rules := filepath.Join(t.TempDir(), "rules")
	text := fmt.Sprintf(`table ip piimg {
	counter lost { }
	chain in {
		type filter hook input priority 0;
		ip daddr %[1]s meta l4proto udp numgen random mod 1000 < %[2]d counter name lost drop
		ip saddr %[1]s meta l4proto udp numgen random mod 1000 < %[2]d counter name lost drop
	}
}
`, badWayAddr, f.loss)
	if err := os.WriteFile(rules, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	command(t, "nft", "-f", rules)
	w := &badWay{badness: f, server: server, queue: make(chan parcel, 1<<16), lines: map[netip.AddrPort]*line{}, rng: rand.New(rand.NewPCG(1, 2))}
	var err error
	if w.ask, err = w.listen(netip.MustParseAddr(badWayAddr)); err != nil {
		t.Fatal(err)
	}
	w.out.Go(w.deliver)
	w.carry.Go(w.takeQuestions)
	t.Cleanup(func() { w.end(t) })
	return w
}

func (w *badWay) listen(at netip.Addr) (*net.UDPConn, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
	if err == nil {
		err = conn.SetReadBuffer(4 << 20)
	}
	return conn, err
}

// addr is where clients ask.
func (w *badWay) addr() netip.AddrPort { return w.ask.LocalAddr().(*net.UDPAddr).AddrPort() }

// lost is how many packets the rules have dropped.
func (w *badWay) lost(t testing.TB) int64 {
	t.Helper()
	text := command(t, "nft", "list", "counter", "ip", "piimg", "lost")
	found := regexp.MustCompile(`packets (\d+)`).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no packets are counted:\n%s", text)
	}
	n, err := strconv.ParseInt(found[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (w *badWay) counts() counted {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counted
}

// end takes the way down, rules and all. It may be called again.
func (w *badWay) end(t testing.TB) {
	t.Helper()
	w.mu.Lock()
	again := w.closed
	w.closed = true
	for _, l := range w.lines {
		l.close()
	}
	w.mu.Unlock()
	if again {
		return
	}
	w.ask.Close()
	w.carry.Wait()
	close(w.queue)
	w.out.Wait()
	w.queue, w.lines = nil, nil
	command(t, "nft", "delete", "table", "ip", "piimg")
}

func (l *line) close() {
	l.up.Close()
	for _, conn := range l.down {
		conn.Close()
	}
}

// deliver sends what has been on the way for long enough. All takes equally long, so that
// the order stays.
func (w *badWay) deliver() {
	for p := range w.queue {
		time.Sleep(time.Until(p.due))
		p.out.WriteToUDPAddrPort(p.data, p.to) // one that is closed meanwhile loses it
	}
}

// read hands everything that comes to conn to take, until it is closed.
func (w *badWay) read(conn *net.UDPConn, take func(b []byte, from netip.AddrPort)) {
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		take(append([]byte(nil), buf[:n]...), netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
	}
}

// takeQuestions passes on what clients send to the port that they know.
func (w *badWay) takeQuestions() {
	w.read(w.ask, func(b []byte, from netip.AddrPort) {
		w.mu.Lock()
		defer w.mu.Unlock()
		l := w.line(from)
		if l == nil {
			return
		}
		if l.over { // the client has the same port for its next file
			l.stretch = stretch{blksize: smallBlock}
		}
		w.pass(l, l.up, w.server, b)
	})
}

// line is that of a client, which is new where it has none. Old ones make room.
func (w *badWay) line(client netip.AddrPort) *line {
	if l := w.lines[client]; l != nil || w.closed {
		return l
	}
	w.sweep(time.Now())
	up, err := w.listen(client.Addr())
	if err != nil {
		return nil // as good as lost
	}
	l := &line{client: client, up: up, down: map[uint16]*net.UDPConn{}, stretch: stretch{blksize: smallBlock}}
	w.lines[client] = l
	w.carry.Go(func() {
		w.read(up, func(b []byte, from netip.AddrPort) {
			// What is late for a client's old port may meet this socket there.
			if from.Addr() == w.server.Addr() {
				w.fromServer(l, b, from.Port())
			}
		})
	})
	return l
}

// sweep closes the lines that nobody uses any more.
func (w *badWay) sweep(now time.Time) {
	if now.Sub(w.swept) < 100*time.Millisecond {
		return
	}
	w.swept = now
	for client, l := range w.lines {
		if idle := now.Sub(l.used); idle > lineFor || l.over && idle > lingerFor {
			l.close()
			delete(w.lines, client)
		}
	}
}

// fromServer passes on what a port of the server sends.
func (w *badWay) fromServer(l *line, b []byte, port uint16) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.judge(l, b)
	if port == w.server.Port() {
		w.pass(l, w.ask, l.client, b)
		return
	}
	if down := w.downTo(l, port); down != nil {
		w.pass(l, down, l.client, b)
	}
}

// downTo is what the client takes for a port of the server. It is nil where there is none.
func (w *badWay) downTo(l *line, port uint16) *net.UDPConn {
	if down := l.down[port]; down != nil || w.closed {
		return down
	}
	down, err := w.listen(w.addr().Addr())
	if err != nil {
		return nil // as good as lost
	}
	l.down[port] = down
	to := netip.AddrPortFrom(w.server.Addr(), port)
	w.carry.Go(func() {
		w.read(down, func(b []byte, from netip.AddrPort) {
			if from == l.client {
				w.fromClient(l, b, to)
			}
		})
	})
	return down
}

// fromClient passes on what a client sends to a port of the server.
func (w *badWay) fromClient(l *line, b []byte, to netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.answered(b)
	w.pass(l, l.up, to, b)
}

// pass puts a packet on its way, once or twice.
func (w *badWay) pass(l *line, out *net.UDPConn, to netip.AddrPort, b []byte) {
	if w.closed {
		return
	}
	now := time.Now()
	l.used = now
	w.packets++
	copies := 1
	if w.rng.IntN(1000) < w.double {
		w.twice++
		copies = 2
	}
	for range copies {
		select {
		case w.queue <- parcel{now.Add(w.delay), out, to, b}:
		default: // the queue of a router is full
		}
	}
}
