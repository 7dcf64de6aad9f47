package simpi

import (
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"
)

// script is how the scripted server answers for one file. The zero script is a good server.
type script struct {
	data       []byte
	missing    bool
	code       uint16 // of the error for a missing file; 0 is ERROR 0
	silent     bool
	dropFirst  int  // requests that get lost
	noOACK     bool // data at once
	noTsize    bool
	tsize      string // instead of the true size
	blksize    int    // instead of what was asked for
	noBlksize  bool
	extra      []option
	oackTwice  bool
	dataTwice  bool // each block comes twice
	dropData   int  // this block gets lost once
	ahead      int  // before this block, the one after it comes
	stray      bool // before each block, a packet from another port
	malformed  bool // before the answer, bytes that are no packet
	stopAfter  int  // blocks, then ERROR 0
	blockDelay time.Duration
}

// scripted is a TFTP server that misbehaves on demand.
type scripted struct {
	t     *testing.T
	conn  *net.UDPConn
	files map[string]script
	wg    sync.WaitGroup

	mu        sync.Mutex
	requests  []string
	clients   []netip.AddrPort
	closings  []packet // ERRORs that ended a transfer
	strayGot  []packet // what the stray port was answered
	dropsLeft map[string]int
}

func newScripted(t *testing.T, files map[string]script) *scripted {
	t.Helper()
	s := &scripted{t: t, conn: listenLoopback(t), files: files, dropsLeft: map[string]int{}}
	for name, f := range files {
		s.dropsLeft[name] = f.dropFirst
	}
	s.wg.Go(s.serve)
	t.Cleanup(s.stop)
	return s
}

func (s *scripted) stop() {
	s.conn.Close()
	s.wg.Wait()
}

func (s *scripted) addr() netip.AddrPort { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func listenLoopback(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func (s *scripted) serve() {
	buf := make([]byte, packetBuffer)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		p, err := parsePacket(buf[:n])
		if err != nil || p.op != opRRQ {
			continue
		}
		if f, ok := s.admit(p.name, from); ok {
			conn := listenLoopback(s.t)
			s.wg.Go(func() { s.answer(conn, from, f, p) })
		}
	}
}

// admit notes a request and says whether to answer it.
func (s *scripted) admit(name string, from netip.AddrPort) (script, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests, s.clients = append(s.requests, name), append(s.clients, from)
	f, ok := s.files[name]
	if !ok {
		f = script{missing: true, code: codeNotFound}
	}
	if s.dropsLeft[name] > 0 {
		s.dropsLeft[name]--
		return f, false
	}
	return f, !f.silent
}

// scriptedTransfer is the server's end of one transfer.
type scriptedTransfer struct {
	*scripted
	script
	conn    *net.UDPConn
	to      netip.AddrPort
	blksize int
}

func (s *scripted) answer(conn *net.UDPConn, to netip.AddrPort, f script, req packet) {
	defer conn.Close()
	t := &scriptedTransfer{scripted: s, script: f, conn: conn, to: to, blksize: defaultBlksize}
	if f.malformed {
		t.send([]byte("\x00\x63no packet"))
	}
	if f.missing {
		t.send(appendERROR(nil, f.code, "File not found"))
		return
	}
	if !f.noOACK && !t.acknowledge(req.options) {
		return
	}
	t.stream()
}

func (t *scriptedTransfer) acknowledge(asked []option) bool {
	var options []option
	for _, o := range asked {
		switch {
		case o.name == "tsize" && !t.noTsize:
			size := strconv.Itoa(len(t.data))
			if t.script.tsize != "" {
				size = t.script.tsize
			}
			options = append(options, option{"tsize", size})
		case o.name == "blksize" && !t.noBlksize:
			t.blksize, _ = strconv.Atoi(o.value)
			if t.script.blksize != 0 {
				t.blksize = t.script.blksize
			}
			options = append(options, option{"blksize", strconv.Itoa(t.blksize)})
		}
	}
	oack := appendOACK(nil, append(options, t.extra...)...)
	if t.oackTwice {
		t.send(oack)
	}
	return t.exchange(oack, 0)
}

func (t *scriptedTransfer) stream() {
	for n := 1; ; n++ {
		if t.stopAfter > 0 && n > t.stopAfter {
			t.send(appendERROR(nil, codeUndefined, "gone"))
			return
		}
		if t.stray {
			t.sendStray(uint16(n))
		}
		if t.ahead == n {
			t.send(appendDATA(nil, uint16(n+1), t.block(n+1)))
		}
		time.Sleep(t.blockDelay)
		data := appendDATA(nil, uint16(n), t.block(n))
		if t.dataTwice {
			t.send(data)
		}
		if t.dropData == n && !t.exchange(nil, uint16(n-1)) { // the board sends its last ACK again
			return
		}
		if !t.exchange(data, uint16(n)) {
			return
		}
		if len(t.block(n)) < t.blksize {
			return
		}
	}
}

func (t *scriptedTransfer) block(n int) []byte {
	from := min((n-1)*t.blksize, len(t.data))
	return t.data[from:min(from+t.blksize, len(t.data))]
}

// exchange sends b, or nothing, and waits for the ACK of a block.
func (t *scriptedTransfer) exchange(b []byte, block uint16) bool {
	if b != nil {
		t.send(b)
	}
	buf := make([]byte, packetBuffer)
	t.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		n, _, err := t.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return false
		}
		p, _ := parsePacket(buf[:n])
		switch {
		case p.op == opACK && p.block == block:
			return true
		case p.op == opERROR:
			t.mu.Lock()
			t.closings = append(t.closings, p)
			t.mu.Unlock()
			return false
		}
	}
}

func (t *scriptedTransfer) send(b []byte) { t.conn.WriteToUDPAddrPort(b, t.to) }

// sendStray sends a wrong block from another port and notes the answer.
func (t *scriptedTransfer) sendStray(block uint16) {
	conn := listenLoopback(t.t)
	defer conn.Close()
	conn.WriteToUDPAddrPort(appendDATA(nil, block, []byte("not this one")), t.to)
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, packetBuffer)
	n, _, err := conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		return
	}
	if p, err := parsePacket(buf[:n]); err == nil {
		t.mu.Lock()
		t.strayGot = append(t.strayGot, p)
		t.mu.Unlock()
	}
}
