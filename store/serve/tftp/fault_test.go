package tftp_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"piimg/store/serve"
	"piimg/store/serve/servetest"
	"piimg/store/serve/tftp"
)

// TestFaultRow33HalfOpen: ten thousand requests whose clients are never heard of again
// cost neither descriptors nor goroutines, boards are served meanwhile, and in the end
// nothing is left of them.
func TestFaultRow33HalfOpen(t *testing.T) {
	body := servetest.Pattern(50_000)
	front, _ := servetest.NewFront(t, map[string][]byte{"vmlinuz": body})
	s, stop := start(t, tftp.Config{Transfers: 2000, Grace: time.Nanosecond}, front)
	goroutines, files := runtime.NumGoroutine(), len(openFiles(t))
	const half = 10_000
	for n := range half {
		conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 3, byte(n/250), byte(n%250+1))}, net.UDPAddrFromAddrPort(s.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "\x00\x01%s/vmlinuz\x00octet\x00tsize\x000\x00blksize\x001468\x00", servetest.BoardID)
		conn.Close()
		if n%1000 == 999 {
			if g, f := runtime.NumGoroutine()-goroutines, len(openFiles(t))-files; g > 2100 || f > 10 {
				t.Errorf("after %d requests there are %d more goroutines and %d more open files", n+1, g, f)
			}
			if err := fetch(s, "vmlinuz", body); err != nil {
				t.Errorf("after %d requests: %v", n+1, err)
			}
		}
	}
	stop() // the last client has its file before the server has its last ACK
	if st := s.Stats(); st.Ended[serve.OK] != 10 || st.Evicted == 0 || st.Dropped > 0 {
		t.Errorf("in the end: %+v", st)
	}
}

func openFiles(t *testing.T) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// TestFaultRow35AfterTheError: what a client sends after it has ended a transfer is
// nothing to anybody.
func TestFaultRow35AfterTheError(t *testing.T) {
	front, _ := servetest.NewFront(t, map[string][]byte{"vmlinuz": servetest.Pattern(9000)})
	s := listen(t, unhurried, front)
	r := newRaw(t, s.Addr())
	r.request(opRRQ, servetest.BoardID+"/vmlinuz", piOptions(1024)...)
	r.options()
	r.ack(0)
	r.want(opDATA, 1)
	r.fail(0, "Early terminate")
	r.ack(1)
	r.fail(0, "Early terminate")
	r.ack(2)
	if p := r.read(100 * time.Millisecond); p.op != 0 {
		t.Errorf("after the end came %s", p)
	}
	if e := servetest.LastEvent(t, front, 1); e.Result != serve.Probe {
		t.Errorf("event %+v, want a probe", e)
	}
}

// TestFaultRow32UnknownNetworks: who is in no network that is served gets one answer, and
// no file is looked for.
func TestFaultRow32UnknownNetworks(t *testing.T) {
	s := listen(t, tftp.Config{Networks: []tftp.Network{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}}}, nil)
	r := newRaw(t, s.Addr())
	for range 100 {
		r.request(opRRQ, "x")
		if p := r.want(opERROR, 2); len(p.body)+4 > len("..x.octet.") {
			t.Fatalf("the answer %s is longer than the question", p)
		}
	}
	if st := s.Stats(); st.Refused != 100 {
		t.Errorf("%+v, want 100 refused", st)
	}
}

// TestAnswersFromWhereItWasAsked asks a server that listens at every address.
func TestAnswersFromWhereItWasAsked(t *testing.T) {
	front, _ := servetest.NewFront(t, map[string][]byte{"config.txt": servetest.Pattern(100)})
	for _, listenAt := range []string{"0.0.0.0:0", "[::]:0", ":0"} {
		for _, single := range []bool{false, true} {
			servetest.NoLeaks(t)
			s, _ := startAt(t, listenAt, tftp.Config{SinglePort: single}, front)
			for _, asked := range []string{"127.0.0.1", "127.9.9.9", "::1"} {
				at := netip.MustParseAddr(asked)
				if at.Is6() && listenAt == "0.0.0.0:0" {
					continue
				}
				conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: at.AsSlice()})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				r := &raw{t: t, conn: conn, listen: netip.AddrPortFrom(at, s.Addr().Port())}
				r.request(opRRQ, servetest.BoardID+"/config.txt", piOptions(1024)...)
				r.options()
				if from := r.server; from.Addr().Unmap() != at || (from.Port() == s.Addr().Port()) != single {
					t.Errorf("listening at %s, single port %v: asked %s, answered from %s", listenAt, single, asked, from)
				}
				r.ack(0)
				r.want(opDATA, 1)
				r.ack(1)
			}
		}
	}
}

// TestBroadcastsAreNotAnswered: a request to everybody is to nobody.
func TestBroadcastsAreNotAnswered(t *testing.T) {
	front, _ := servetest.NewFront(t, map[string][]byte{"config.txt": servetest.Pattern(100)})
	s, _ := startAt(t, "0.0.0.0:0", tftp.Config{}, front)
	r := newRaw(t, netip.AddrPortFrom(netip.MustParseAddr("127.255.255.255"), s.Addr().Port()))
	r.request(opRRQ, servetest.BoardID+"/config.txt", piOptions(1024)...)
	if p := r.read(200 * time.Millisecond); p.op != 0 {
		t.Errorf("a broadcast was answered with %s", p)
	}
}

// TestCutUnderTransfer shortens and changes a cached file while it is sent: the client
// gets an error, and never a file that ends well.
func TestCutUnderTransfer(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"cut to a part":   func(path string) error { return os.Truncate(path, 100_000) },
		"cut to nothing":  func(path string) error { return os.Truncate(path, 0) },
		"cut in the page": func(path string) error { return os.Truncate(path, 199_999) },
		"other bytes":     func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("x"), 200_000), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			front, _ := servetest.NewFront(t, map[string][]byte{"vmlinuz": servetest.Pattern(200_000)})
			s := listen(t, tftp.Config{}, front)
			r := newRaw(t, s.Addr())
			r.request(opRRQ, servetest.BoardID+"/vmlinuz", piOptions(1024)...)
			r.options()
			r.ack(0)
			r.want(opDATA, 1)
			f, err := front.Open(t.Context(), serve.Request{Name: servetest.BoardID + "/vmlinuz"})
			if err != nil {
				t.Fatal(err)
			}
			path := cachedFile(t, f.Digest.Hex())
			f.Close()
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			for block := uint16(1); ; block++ {
				r.ack(block)
				p := r.read(patience)
				if p.op == opERROR {
					if string(p.body) != "file cannot be read\x00" {
						t.Errorf("the client is told %s", p)
					}
					return
				}
				if p.op != opDATA || len(p.body) < 1024 {
					t.Fatalf("after block %d came %s, want an error before the end", block, p)
				}
			}
		})
	}
}

// cachedFile finds the file that this process has open of a blob.
func cachedFile(t *testing.T, hex string) string {
	t.Helper()
	for _, e := range openFiles(t) {
		path, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if err == nil && strings.HasSuffix(path, hex) {
			return path
		}
	}
	t.Fatal(errors.New("the file is not open"))
	return ""
}

// TestNetasciiOptions: the size that is acknowledged is that of what is sent, over blocks
// that end within a line's end.
func TestNetasciiOptions(t *testing.T) {
	text := strings.Repeat("line\n\rx\n", 500)
	front, _ := servetest.NewFront(t, map[string][]byte{"overlays.txt": []byte(text)})
	s := listen(t, tftp.Config{}, front)
	want := strings.NewReplacer("\n", "\r\n", "\r", "\r\x00").Replace(text)
	for size := 8; size < 17; size++ {
		r := newRaw(t, s.Addr())
		r.write(r.listen, fmt.Appendf(nil, "\x00\x01%s/overlays.txt\x00NetASCII\x00tsize\x000\x00blksize\x00%d\x00", servetest.BoardID, size))
		if got := r.options()["tsize"]; got != fmt.Sprint(len(want)) {
			t.Fatalf("size %s, want %d", got, len(want))
		}
		var got strings.Builder
		for block := uint16(0); ; block++ {
			r.ack(block)
			if got.Len() == len(want) && len(want)%size != 0 {
				break
			}
			p := r.want(opDATA, block+1)
			got.Write(p.body)
			if len(p.body) < size {
				r.ack(block + 1)
				break
			}
		}
		if got.String() != want {
			t.Errorf("blocks of %d: other text came", size)
		}
	}
}
