package tftp_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"piimg/store/serve/tftp"
)

const (
	opRRQ = 1 + iota
	opWRQ
	opDATA
	opACK
	opERROR
	opOACK
)

// patience is how long a busy machine may take for what has to come.
const patience = time.Minute

// unhurried sends nothing again for as long as a test lasts: where silence is looked for, a
// busy machine may have been slow to answer.
var unhurried = tftp.Config{Timeout: 5 * time.Minute, Floor: 5 * time.Minute}

// raw is a TFTP client that sends what it is told to.
type raw struct {
	t      *testing.T
	conn   *net.UDPConn
	server netip.AddrPort // of the transfer, once it has answered
	listen netip.AddrPort
}

func newRaw(t *testing.T, server netip.AddrPort) *raw {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &raw{t: t, conn: conn, listen: server, server: server}
}

// request sends a request for name with options as the firmware writes it.
func (r *raw) request(op uint16, name string, options ...string) {
	b := binary.BigEndian.AppendUint16(nil, op)
	for _, s := range append([]string{name, "octet"}, options...) {
		b = append(append(b, s...), 0)
	}
	r.write(r.listen, b)
}

func (r *raw) ack(block uint16) {
	r.write(r.server, binary.BigEndian.AppendUint16([]byte{0, opACK}, block))
}

func (r *raw) fail(code uint16, text string) {
	b := binary.BigEndian.AppendUint16([]byte{0, opERROR}, code)
	r.write(r.server, append(append(b, text...), 0))
}

func (r *raw) write(to netip.AddrPort, b []byte) {
	r.t.Helper()
	if _, err := r.conn.WriteToUDPAddrPort(b, to); err != nil {
		r.t.Fatal(err)
	}
}

// packet is what the server sent. Number is a block's number or an error's code.
type packet struct {
	op     uint16
	number uint16
	body   []byte
}

func (p packet) String() string {
	names := []string{"nothing", "RRQ", "WRQ", "DATA", "ACK", "ERROR", "OACK"}
	if p.op == opDATA {
		return fmt.Sprintf("DATA %d (%d bytes)", p.number, len(p.body))
	}
	return fmt.Sprintf("%s %d %q", names[p.op], p.number, p.body)
}

// read is the next packet, and nothing where none comes within the time.
func (r *raw) read(within time.Duration) packet {
	r.t.Helper()
	r.conn.SetReadDeadline(time.Now().Add(within))
	b := make([]byte, 1<<16)
	n, from, err := r.conn.ReadFromUDPAddrPort(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return packet{}
	}
	if err != nil || n < 4 {
		r.t.Fatalf("read: %d bytes, %v", n, err)
	}
	r.server = from
	p := packet{op: binary.BigEndian.Uint16(b)}
	if p.op == opOACK {
		p.body = b[2:n]
		return p
	}
	p.number, p.body = binary.BigEndian.Uint16(b[2:]), b[4:n]
	return p
}

// want reads a packet and compares its kind and number. A block that comes again, because
// this client was slow to acknowledge it, is passed over where the next one is wanted.
func (r *raw) want(op, number uint16) packet {
	r.t.Helper()
	p := r.read(patience)
	for op == opDATA && p.op == opDATA && p.number == number-1 {
		p = r.read(patience)
	}
	if p.op != op || p.number != number {
		r.t.Fatalf("got %s, want %s", p, packet{op: op, number: number})
	}
	return p
}

// options reads an OACK.
func (r *raw) options() map[string]string {
	r.t.Helper()
	words := strings.Split(string(bytes.TrimSuffix(r.want(opOACK, 0).body, []byte{0})), "\x00")
	all := map[string]string{}
	for n := 0; n+1 < len(words); n += 2 {
		all[words[n]] = words[n+1]
	}
	return all
}
