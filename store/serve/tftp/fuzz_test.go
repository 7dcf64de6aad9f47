package tftp

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"piimg/store/serve/servetest"
)

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte("91cdf03d/start4.elf\x00octet\x00tsize\x000\x00blksize\x001468\x00"))
	f.Add([]byte("a\x00NetAscii\x00windowsize\x0016\x00timeout\x00255\x00x"))
	f.Add([]byte("\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRequest(b)
		if err != nil {
			return
		}
		if len(r.options) > maxOptions {
			t.Fatalf("%d options", len(r.options))
		}
		terms := agree(r.options, 1<<40, 1468, 64)
		if terms.blksize < minBlockSize || terms.blksize > 1468 || terms.window < 1 || terms.window > 64 || terms.timeout < 0 {
			t.Fatalf("%+v of %q", terms, b)
		}
	})
}

// FuzzEngine sends packets of several clients in any order and with any pauses. Nothing
// crashes, nothing is left once they are silent, and clients that never acknowledge get no
// more bytes than they have sent, but for the loan.
func FuzzEngine(f *testing.F) {
	name := servetest.BoardID + "/vmlinuz"
	rrq := append([]byte{0, opRRQ}, name+"\x00octet\x00blksize\x00600\x00windowsize\x004\x00"...)
	step := func(client byte, pause uint16, packet []byte) []byte {
		b := binary.BigEndian.AppendUint16([]byte{client}, pause)
		return append(append(b, byte(len(packet))), packet...)
	}
	ack := func(n byte) []byte { return []byte{0, opACK, 0, n} }
	var boot []byte
	for _, s := range [][]byte{step(1, 0, rrq), step(1, 1, ack(0)), step(2, 1, rrq), step(1, 1, ack(4)), step(1, 3000, ack(2)), step(2, 9, []byte("\x00\x05\x00\x00x\x00"))} {
		boot = append(boot, s...)
	}
	f.Add(boot)
	f.Add(step(3, 60_000, append([]byte{0, opRRQ}, name+"\x00netascii\x00"...)))
	f.Add(append(step(1, 0, append([]byte{0, opRRQ}, name+"\x00octet\x00"...)), step(1, 1, ack(1))...))
	large := []byte("\x00\x01" + servetest.BoardID + "/initrd\x00octet\x00blksize\x001400\x00")
	var crowd []byte
	for _, s := range [][]byte{step(1, 0, large), step(2, 1, large), step(3, 1, large), step(1, 1, ack(0)), step(2, 2000, large), step(3, 1, []byte("\x00\x05\x00\x00x\x00")), step(1, 40_000, ack(1))} {
		crowd = append(crowd, s...)
	}
	f.Add(crowd)
	front, _ := servetest.NewFront(f, map[string][]byte{"vmlinuz": servetest.Pattern(3000), "initrd": servetest.Pattern(largeFile)})
	f.Fuzz(func(t *testing.T, script []byte) {
		s := newSimOf(t, Config{Transfers: 2, BoardTransfers: 1, Waiting: 2, Promise: largeFile, Networks: []Network{
			{Prefix: netip.MustParsePrefix("10.0.0.0/8")}, {Prefix: netip.MustParsePrefix("10.0.0.2/32"), Rate: 2000},
		}}, 1, front)
		acknowledged := false
		for len(script) >= 4 {
			client, pause, n := script[0], binary.BigEndian.Uint16(script[1:]), min(int(script[3]), len(script)-4)
			packet := script[4 : 4+n]
			script = script[4+n:]
			s.run(time.Duration(pause) * time.Millisecond)
			s.bytesIn += int64(n)
			s.e.receive(&address{peer: peer{ip: netip.AddrFrom4([4]byte{10, 0, 0, client % 4}).As16(), port: 7}}, packet)
			s.settle()
			acknowledged = acknowledged || n >= 4 && packet[1] == opACK
			if e := s.e; e.turns.running > 2 || e.turns.running < 0 || e.turns.waiting < 0 {
				t.Fatalf("%+v", e.turns)
			}
		}
		if most := s.bytesIn + loanMost + int64(s.e.now.Seconds()+1)*loanRate; !acknowledged && s.bytes > most {
			t.Fatalf("%d bytes for %d", s.bytes, s.bytesIn)
		}
		s.wantIdle()
	})
}
