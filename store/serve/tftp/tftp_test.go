package tftp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	lib "github.com/pin/tftp/v3"

	"piimg/store/serve"
	"piimg/store/serve/servetest"
	"piimg/store/serve/tftp"
)

// piOptions are those of the firmware, which asks for nothing else.
func piOptions(blksize int) []string {
	return []string{"tsize", "0", "blksize", strconv.Itoa(blksize)}
}

// TestOptions checks the OACK: it is always there, with the true size.
func TestOptions(t *testing.T) {
	body := servetest.Pattern(3000)
	front, _ := servetest.NewFront(t, map[string][]byte{"config.txt": body, "empty": nil})
	s := listen(t, tftp.Config{}, front)
	tests := []struct {
		what    string
		options []string
		want    map[string]string
	}{
		{"EEPROM of today", piOptions(1468), map[string]string{"tsize": "3000", "blksize": "1468"}},
		{"EEPROM of 2020", piOptions(1024), map[string]string{"tsize": "3000", "blksize": "1024"}},
		{"bootcode.bin", []string{"tsize", "0"}, map[string]string{"tsize": "3000"}},
		{"more than the cap", piOptions(65464), map[string]string{"tsize": "3000", "blksize": "1468"}},
		{"a size in the request", []string{"tsize", "77"}, map[string]string{"tsize": "3000"}},
		{"window and timeout", []string{"windowsize", "16", "timeout", "3", "tsize", "0"}, map[string]string{"windowsize": "16", "timeout": "3", "tsize": "3000"}},
		{"more than the largest window", []string{"windowsize", "65535"}, map[string]string{"windowsize": "64"}},
		{"options in capitals", []string{"TSIZE", "0", "BlkSize", "1024"}, map[string]string{"tsize": "3000", "blksize": "1024"}},
		{"an option twice", []string{"blksize", "1024", "blksize", "600", "tsize", "0"}, map[string]string{"tsize": "3000", "blksize": "1024"}},
		{"unknown options", []string{"multicast", "", "rollover", "1", "tsize", "0"}, map[string]string{"tsize": "3000"}},
		{"values that are none", []string{"windowsize", "0", "timeout", "0", "timeout", "256", "tsize", "0"}, map[string]string{"tsize": "3000"}},
		{"the least block size", []string{"tsize", "0", "blksize", "8"}, map[string]string{"tsize": "3000", "blksize": "8"}},
		{"a block size below the least", []string{"tsize", "0", "blksize", "7"}, map[string]string{"tsize": "3000"}},
		{"a block size that is none", []string{"tsize", "0", "blksize", "x"}, map[string]string{"tsize": "3000"}},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			r := newRaw(t, s.Addr())
			r.request(opRRQ, servetest.BoardID+"/config.txt", tt.options...)
			if diff := cmp.Diff(tt.want, r.options()); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
			r.ack(0)
			size := 512
			if b, ok := tt.want["blksize"]; ok {
				size, _ = strconv.Atoi(b)
			}
			if p := r.want(opDATA, 1); !bytes.Equal(p.body, body[:size]) {
				t.Errorf("first block has %d bytes, want %d", len(p.body), size)
			}
			r.fail(0, "Early terminate")
		})
	}
}

// TestNoOptions is the boot ROM of a Pi 3: blocks of 512 bytes and no OACK.
func TestNoOptions(t *testing.T) {
	body := servetest.Pattern(1024)
	front, _ := servetest.NewFront(t, map[string][]byte{"bootcode.bin": body, "empty": nil})
	s := listen(t, tftp.Config{}, front)
	r := newRaw(t, s.Addr())
	r.request(opRRQ, servetest.BoardID+"/bootcode.bin")
	var got []byte
	for block, size := range []int{512, 512, 0} {
		p := r.want(opDATA, uint16(block+1))
		if len(p.body) != size {
			t.Errorf("block %d has %d bytes, want %d", block+1, len(p.body), size)
		}
		got = append(got, p.body...)
		r.ack(uint16(block + 1))
	}
	if !bytes.Equal(got, body) {
		t.Error("other bytes arrived")
	}
	if e := servetest.LastEvent(t, front, 1); e.Result != serve.OK || e.Bytes != 1024 {
		t.Errorf("event %+v, want 1024 bytes taken", e)
	}

	r = newRaw(t, s.Addr())
	r.request(opRRQ, servetest.BoardID+"/empty", piOptions(1468)...)
	if diff := cmp.Diff(map[string]string{"blksize": "1468", "tsize": "0"}, r.options()); diff != "" {
		t.Errorf("options of an empty file (-want +got):\n%s", diff)
	}
	r.ack(0)
	if p := r.want(opDATA, 1); len(p.body) != 0 {
		t.Errorf("empty file came with %d bytes", len(p.body))
	}
	r.ack(1)
}

// TestFaultRow28Names checks that an error with code 1 comes at once, for whatever name.
func TestFaultRow28Names(t *testing.T) {
	front, _ := servetest.NewFront(t, map[string][]byte{"config.txt": servetest.Pattern(100)})
	s := listen(t, tftp.Config{Hold: time.Hour}, front) // what does not come at once does not come
	for _, name := range []string{
		servetest.BoardID + "/recovery.elf", "recovery.elf", "", "/", "..", "../../etc/passwd", "/etc/passwd",
		servetest.BoardID + "/../" + servetest.BoardID + "/config.txt", servetest.BoardID + "/./config.txt", servetest.BoardID + `\config.txt`,
		servetest.BoardID + "/..\\config.txt", servetest.BoardID + "/%2e%2e/config.txt", servetest.BoardID + "/\xff\xfe", "c:config.txt",
		servetest.BoardID + "/config.txt\n", servetest.BoardID + "/" + strings.Repeat("x", 400),
	} {
		r := newRaw(t, s.Addr())
		r.request(opRRQ, name, piOptions(1024)...)
		p := r.want(opERROR, 1)
		if string(p.body) != "file not found\x00" {
			t.Errorf("%q: the client is told %q", name, p.body)
		}
	}
	r := newRaw(t, s.Addr())
	r.request(opRRQ, servetest.BoardID+"//config.txt", piOptions(1024)...)
	r.options()
	r.fail(0, "Early terminate")
}

// TestNUL cuts a name off where the protocol says that it ends: the rest is no mode.
func TestNUL(t *testing.T) {
	front, _ := servetest.NewFront(t, map[string][]byte{"config.txt": servetest.Pattern(100)})
	s := listen(t, tftp.Config{}, front)
	r := newRaw(t, s.Addr())
	r.request(opRRQ, servetest.BoardID+"/conf\x00ig.txt")
	r.want(opERROR, 4)
}

// TestFaultRow35Probes stops transfers in the three ways that firmware does.
func TestFaultRow35Probes(t *testing.T) {
	front, _ := servetest.NewFront(t, map[string][]byte{"start4.elf": servetest.Pattern(9000), "config.txt": servetest.Pattern(100)})
	s := listen(t, tftp.Config{}, front)
	events := 0
	probed := func(what string, bytes int64) {
		t.Helper()
		events++
		if e := servetest.LastEvent(t, front, events); e.Result != serve.Probe || e.Bytes != bytes {
			t.Errorf("%s: %+v, want a probe with %d bytes", what, e, bytes)
		}
	}

	r := newRaw(t, s.Addr())
	r.request(opRRQ, servetest.BoardID+"/start4.elf", piOptions(1024)...)
	r.options()
	r.fail(0, "Early terminate")
	probed("error after the OACK", 0)

	r = newRaw(t, s.Addr())
	r.request(opRRQ, servetest.BoardID+"/start4.elf", piOptions(1024)...)
	r.options()
	r.ack(0)
	r.want(opDATA, 1)
	r.fail(0, "Early terminate")
	probed("error after the first block", 0)

	r = newRaw(t, s.Addr())
	r.request(opRRQ, servetest.BoardID+"/start4.elf", piOptions(1024)...)
	r.options()
	r.ack(0)
	r.want(opDATA, 1)
	next := newRaw(t, s.Addr())
	next.request(opRRQ, servetest.BoardID+"/start4.elf", piOptions(1024)...)
	next.options()
	next.ack(0)
	next.want(opDATA, 1)
	r.fail(0, "Early terminate")
	probed("error after the next request", 0)
	next.ack(1)
	next.want(opDATA, 2)
	next.fail(8, "option refused")
	probed("option refused after one block", 1024)

	r = newRaw(t, s.Addr())
	r.request(opRRQ, servetest.BoardID+"/start4.elf", piOptions(1024)...)
	r.options()
	r.fail(3, "disk full")
	events++
	if e := servetest.LastEvent(t, front, events); e.Result != serve.Aborted {
		t.Errorf("disk full: %+v, want aborted", e)
	}
}

// TestOverlap runs transfers of one client side by side.
func TestOverlap(t *testing.T) {
	body := servetest.Pattern(5000)
	front, _ := servetest.NewFront(t, map[string][]byte{"vmlinuz": body})
	s := listen(t, tftp.Config{}, front)
	clients := make([]*raw, 8)
	for n := range clients {
		clients[n] = newRaw(t, s.Addr())
		clients[n].request(opRRQ, servetest.BoardID+"/vmlinuz", piOptions(1024)...)
	}
	got := make([]bytes.Buffer, len(clients))
	for _, r := range clients {
		r.options()
		r.ack(0)
	}
	for block := uint16(1); block <= 5; block++ {
		for n, r := range clients {
			got[n].Write(r.want(opDATA, block).body)
			r.ack(block)
		}
	}
	for n := range got {
		if !bytes.Equal(got[n].Bytes(), body) {
			t.Errorf("client %d got other bytes", n)
		}
	}
}

// TestFaultRow35RepeatedRequest sends the same request twice from the same port, as a client does
// that has missed the answer: it gets that again, and has one transfer.
func TestFaultRow35RepeatedRequest(t *testing.T) {
	for range 20 {
		if repeatedRequest(t) {
			return
		}
	}
	t.Error("this machine is too slow for the test to say anything")
}

// repeatedRequest says whether it came to an end. It does not where the machine was so slow
// that a request in mid-transfer is rightly taken for that of a board which starts anew.
func repeatedRequest(t *testing.T) bool {
	front, _ := servetest.NewFront(t, map[string][]byte{"config.txt": servetest.Pattern(100)})
	const floor = 2 * time.Second
	s := listen(t, tftp.Config{Floor: floor, Timeout: time.Minute}, front)
	r := newRaw(t, s.Addr())
	ask := func() { r.request(opRRQ, servetest.BoardID+"/config.txt", piOptions(1024)...) }
	ask()
	r.options()
	ask() // a copy that the network made is not answered twice
	if p := r.read(30 * time.Millisecond); p.op != 0 {
		t.Fatalf("a copy of the request got %s", p)
	}
	time.Sleep(floor)
	ask()
	r.options()
	sent := time.Now()
	r.ack(0)
	r.want(opDATA, 1)
	ask() // late, and no longer of interest
	if p := r.read(100 * time.Millisecond); p.op != 0 {
		if time.Since(sent) > time.Second {
			return false
		}
		t.Errorf("a request in mid-transfer got %s", p)
	}
	r.ack(1)
	if p := r.read(200 * time.Millisecond); p.op != 0 {
		t.Errorf("after the end came %s", p)
	}
	if e := servetest.LastEvent(t, front, 1); e.Result != serve.OK {
		t.Errorf("event %+v, want one transfer", e)
	}
	return true
}

// TestLostPackets loses the OACK, a block and an acknowledgement.
func TestLostPackets(t *testing.T) {
	front, _ := servetest.NewFront(t, map[string][]byte{"config.txt": servetest.Pattern(1500)})
	const timeout = 2 * time.Second
	s := listen(t, tftp.Config{Timeout: timeout}, front)
	r := newRaw(t, s.Addr())
	r.request(opRRQ, servetest.BoardID+"/config.txt", piOptions(1024)...)
	r.options()
	if p := r.read(2 * timeout); p.op != 0 {
		t.Fatalf("a client that has not answered got %s", p)
	}
	r.request(opRRQ, servetest.BoardID+"/config.txt", piOptions(1024)...)
	r.options()
	r.ack(0)
	r.want(opDATA, 1)
	r.want(opDATA, 1)
	r.ack(1)
	r.ack(1) // a doubled acknowledgement sends nothing twice
	r.want(opDATA, 2)
	r.ack(2)
	if p := r.read(200 * time.Millisecond); p.op != 0 {
		t.Errorf("after the end came %s", p)
	}
	if e := servetest.LastEvent(t, front, 1); e.Result != serve.OK || e.Bytes != 1500 {
		t.Errorf("event %+v, want all 1500 bytes taken", e)
	}
}

// TestSilentClient goes away in the middle.
func TestSilentClient(t *testing.T) {
	front, _ := servetest.NewFront(t, map[string][]byte{"vmlinuz": servetest.Pattern(9000)})
	s := listen(t, tftp.Config{Timeout: 2 * time.Second, Retries: 1}, front)
	r := newRaw(t, s.Addr())
	r.request(opRRQ, servetest.BoardID+"/vmlinuz", piOptions(1024)...)
	r.options()
	for block := range uint16(3) {
		r.ack(block)
		r.want(opDATA, block+1)
	}
	if e := servetest.LastEvent(t, front, 1); e.Result != serve.Aborted || e.Bytes != 2048 {
		t.Errorf("event %+v, want aborted after 2048 bytes", e)
	}
}

func TestWriteRequest(t *testing.T) {
	front, _ := servetest.NewFront(t, map[string][]byte{"config.txt": servetest.Pattern(10)})
	s := listen(t, tftp.Config{}, front)
	r := newRaw(t, s.Addr())
	r.request(opWRQ, servetest.BoardID+"/config.txt")
	if p := r.read(patience); p.op != opERROR {
		t.Errorf("a write request got %s", p)
	}
}

// TestGarbage sends what is no request; the server goes on.
func TestGarbage(t *testing.T) {
	front, _ := servetest.NewFront(t, map[string][]byte{"config.txt": servetest.Pattern(10)})
	s := listen(t, tftp.Config{}, front)
	r := newRaw(t, s.Addr())
	for _, b := range [][]byte{
		{}, {0}, {0, 1}, {0, 1, 0}, {0, 1, 'a', 'b'}, {0, 1, 0, 0}, {0, 1, 'a', 0, 'o', 0, 'x'}, {0, 9, 1, 1},
		{0, opACK, 0, 1}, {0, opDATA, 0, 1, 2}, {0, opERROR, 0, 0, 0}, bytes.Repeat([]byte{0xff}, 1400),
		append([]byte{0, 1}, bytes.Repeat([]byte{'a'}, 1400)...),
	} {
		r.write(s.Addr(), b)
	}
	r = newRaw(t, s.Addr())
	r.request(opRRQ, servetest.BoardID+"/config.txt")
	r.want(opDATA, 1)
	r.ack(1)
}

// TestFaultRow35RollOver takes a file with more blocks of 512 bytes than a block number can count.
func TestFaultRow35RollOver(t *testing.T) {
	body := servetest.Pattern(40 << 20)
	front, _ := servetest.NewFront(t, map[string][]byte{"vmlinuz": body})
	s := listen(t, tftp.Config{}, front)
	c, err := lib.NewClient(s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.RequestTSize(true)
	from, err := c.Receive(servetest.BoardID+"/vmlinuz", "octet")
	if err != nil {
		t.Fatal(err)
	}
	if size, ok := from.(lib.IncomingTransfer).Size(); !ok || size != int64(len(body)) {
		t.Errorf("size %d, %v, want %d", size, ok, len(body))
	}
	var got bytes.Buffer
	got.Grow(len(body))
	if _, err := from.WriteTo(&got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), body) {
		t.Errorf("%d bytes came, and not the right ones", got.Len())
	}
	if e := servetest.LastEvent(t, front, 1); e.Result != serve.OK || e.Bytes != int64(len(body)) {
		t.Errorf("event %+v", e)
	}
}

func TestNetascii(t *testing.T) {
	front, _ := servetest.NewFront(t, map[string][]byte{"overlays.txt": []byte("one\ntwo\n")})
	s := listen(t, tftp.Config{}, front)
	c, err := lib.NewClient(s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	from, err := c.Receive(servetest.BoardID+"/overlays.txt", "netascii")
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := from.WriteTo(&got); err != nil || got.String() != "one\ntwo\n" {
		t.Errorf("%q, %v", got.String(), err)
	}
}

// TestManyClients takes a file 200 times at once.
func TestManyClients(t *testing.T) {
	body := servetest.Pattern(50_000)
	front, _ := servetest.NewFront(t, map[string][]byte{"vmlinuz": body})
	s := listen(t, tftp.Config{Transfers: 200, Waiting: 200}, front)
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if err := fetch(s, "vmlinuz", body); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func fetch(s *tftp.Server, name string, want []byte) error {
	c, err := lib.NewClient(s.Addr().String())
	if err != nil {
		return err
	}
	c.SetBlockSize(1468)
	from, err := c.Receive(servetest.BoardID+"/"+name, "octet")
	if err != nil {
		return err
	}
	var got bytes.Buffer
	if _, err := from.WriteTo(&got); err != nil {
		return err
	}
	if !bytes.Equal(got.Bytes(), want) {
		return fmt.Errorf("%s: %d bytes came, and not the right ones", name, got.Len())
	}
	return nil
}

// opener fails as often as it has errors, and then opens what front does.
type opener struct {
	front tftp.Opener
	mu    sync.Mutex
	errs  []error
}

func (o *opener) Open(ctx context.Context, r serve.Request) (*serve.File, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.errs) > 0 {
		err := o.errs[0]
		o.errs = o.errs[1:]
		return nil, err
	}
	return o.front.Open(ctx, r)
}

// broken never opens anything.
type broken struct{ err error }

func (b broken) Open(context.Context, serve.Request) (*serve.File, error) { return nil, b.err }

var errAway = errors.New("dial tcp s3.internal:9000: password=x")

// TestTrouble keeps what went wrong inside, and a board from taking it for a missing file.
func TestTrouble(t *testing.T) {
	const hold = 300 * time.Millisecond
	s := listen(t, tftp.Config{Hold: hold}, broken{errAway})
	r := newRaw(t, s.Addr())
	sent := time.Now()
	r.request(opRRQ, servetest.BoardID+"/start4.elf")
	if p := r.want(opERROR, 0); string(p.body) != "not available now\x00" {
		t.Errorf("the client is told %q", p.body)
	}
	if took := time.Since(sent); took < hold {
		t.Errorf("the answer took %s, want %s", took, hold)
	}

	s = listen(t, tftp.Config{Hold: time.Minute}, broken{fs.ErrNotExist})
	r = newRaw(t, s.Addr())
	r.request(opRRQ, servetest.BoardID+"/start4.elf")
	if p := r.want(opERROR, 1); string(p.body) != "file not found\x00" {
		t.Errorf("the client is told %q", p.body)
	}
}

// TestTroubleLog does not write a line for every request.
func TestTroubleLog(t *testing.T) {
	var log strings.Builder
	s, stop := start(t, tftp.Config{Hold: time.Millisecond, Log: slog.New(slog.NewTextHandler(&log, nil))}, broken{errAway})
	for range 50 {
		r := newRaw(t, s.Addr())
		r.request(opRRQ, servetest.BoardID+"/start4.elf")
		r.want(opERROR, 0)
	}
	time.Sleep(time.Second)
	r := newRaw(t, s.Addr())
	r.request(opRRQ, servetest.BoardID+"/start4.elf")
	r.want(opERROR, 0)
	stop()
	if n := strings.Count(log.String(), "file is not served"); n > 10 || !strings.Contains(log.String(), "left_out=") {
		t.Errorf("%d lines for 51 requests, want one a second with a count:\n%s", n, &log)
	}
}

// TestTroubleEnds serves a request that was held, once that is possible. It takes no
// slot meanwhile.
func TestTroubleEnds(t *testing.T) {
	front, _ := servetest.NewFront(t, map[string][]byte{"start4.elf": servetest.Pattern(100)})
	s := listen(t, tftp.Config{Hold: 2 * time.Second, Transfers: 1}, &opener{front: front, errs: []error{errAway}})
	held, other := newRaw(t, s.Addr()), newRaw(t, s.Addr())
	held.request(opRRQ, servetest.BoardID+"/start4.elf", piOptions(1024)...)
	time.Sleep(100 * time.Millisecond)
	for _, r := range []*raw{other, held} {
		if r == other {
			r.request(opRRQ, servetest.BoardID+"/start4.elf", piOptions(1024)...)
		}
		r.options()
		r.fail(0, "Early terminate")
	}
}

// TestTroubleAtStop does not let a request that is held hold up the end of the server.
func TestTroubleAtStop(t *testing.T) {
	s, stop := start(t, tftp.Config{Hold: time.Hour, Grace: 100 * time.Millisecond}, broken{errAway})
	r := newRaw(t, s.Addr())
	r.request(opRRQ, servetest.BoardID+"/start4.elf")
	time.Sleep(100 * time.Millisecond)
	stop() // long before an hour is over
	// It is told nothing: an error would be a missing file, and silence is a reason to ask
	// again, whoever serves then.
	if p := r.read(100 * time.Millisecond); p.op != 0 {
		t.Errorf("the client is told %s", p)
	}
}

// TestLimit fills the only place: the next request waits, keeps its place when it is
// repeated, and is served once.
func TestLimit(t *testing.T) {
	front, _ := servetest.NewFront(t, map[string][]byte{"vmlinuz": servetest.Pattern(9000)})
	cfg := unhurried
	cfg.Transfers = 1
	s := listen(t, cfg, front)
	first, patient := newRaw(t, s.Addr()), newRaw(t, s.Addr())
	first.request(opRRQ, servetest.BoardID+"/vmlinuz", piOptions(1024)...)
	first.options()
	first.ack(0)
	first.want(opDATA, 1)
	for range 3 {
		patient.request(opRRQ, servetest.BoardID+"/vmlinuz", piOptions(1024)...)
		if p := patient.read(100 * time.Millisecond); p.op != 0 {
			t.Fatalf("beyond the limit came %s", p)
		}
	}
	first.fail(0, "Early terminate")
	patient.options()
	if p := patient.read(100 * time.Millisecond); p.op != 0 {
		t.Fatalf("after the options came %s", p)
	}
	patient.fail(0, "Early terminate")
}

// TestLimitOfOneBoard: a board that asks for more at once than it may waits for its own files
// to end, and keeps nobody else waiting.
func TestLimitOfOneBoard(t *testing.T) {
	front, _ := servetest.NewFront(t, map[string][]byte{"vmlinuz": servetest.Pattern(9000)})
	cfg := unhurried
	cfg.BoardTransfers = 2
	s := listen(t, cfg, front)
	ask := func(name string) *raw {
		r := newRaw(t, s.Addr())
		r.request(opRRQ, name, piOptions(1024)...)
		return r
	}
	first, second := ask(servetest.BoardID+"/vmlinuz"), ask(servetest.BoardID+"//vmlinuz")
	first.options()
	second.options()
	third := ask(servetest.BoardID + "/vmlinuz")
	other := ask("env/dev/vmlinuz")
	other.options()
	if p := third.read(100 * time.Millisecond); p.op != 0 {
		t.Fatalf("beyond the limit came %s", p)
	}
	first.fail(0, "Early terminate")
	third.options()
	for _, r := range []*raw{second, third, other} {
		r.fail(0, "Early terminate")
	}
}

// TestWaiting asks for more than may wait: what is too much is not answered, of one
// address, and of all together.
func TestWaiting(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  tftp.Config
	}{
		{"one address", tftp.Config{Waiting: 4}},
		{"all", tftp.Config{Transfers: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.Hold = 4 * time.Second
			s := listen(t, tt.cfg, broken{errAway})
			var all []*raw
			for range 8 {
				r := newRaw(t, s.Addr())
				r.request(opRRQ, servetest.BoardID+"/start4.elf")
				all = append(all, r)
			}
			for n, r := range all {
				within := patience
				if n >= 4 { // those that wait for long come first
					within = 200 * time.Millisecond
				}
				p := r.read(within)
				if want := n < 4; want != (string(p.body) == "not available now\x00") {
					t.Errorf("request %d got %s", n, p)
				}
			}
			if st := s.Stats(); st.Dropped != 4 || st.Trouble != 4 {
				t.Errorf("%+v, want 4 dropped and 4 told of the trouble", st)
			}
		})
	}
}

// TestStop lets a transfer in progress end, and cuts off one that lasts.
func TestStop(t *testing.T) {
	body := servetest.Pattern(4000)
	front, _ := servetest.NewFront(t, map[string][]byte{"vmlinuz": body})
	for _, tt := range []struct {
		what  string
		grace time.Duration
		want  serve.Result
	}{
		{"within the grace time", time.Minute, serve.OK},
		{"after the grace time", time.Nanosecond, serve.Aborted},
	} {
		t.Run(tt.what, func(t *testing.T) {
			before := 0
			if boots := front.Trail(servetest.BoardID); len(boots) > 0 {
				before = len(boots[0].Events)
			}
			cfg := unhurried
			cfg.Grace = tt.grace
			s, stop := start(t, cfg, front)
			r := newRaw(t, s.Addr())
			r.request(opRRQ, servetest.BoardID+"/vmlinuz", piOptions(1024)...)
			r.options()
			r.ack(0)
			r.want(opDATA, 1)
			stopped := make(chan struct{})
			go func() { stop(); close(stopped) }()
			time.Sleep(50 * time.Millisecond)
			for block := uint16(1); tt.want == serve.OK && block <= 4; block++ {
				r.ack(block)
				if block < 4 {
					r.want(opDATA, block+1)
				}
			}
			if tt.want != serve.OK {
				if p := r.want(opERROR, 0); string(p.body) != "server is stopping\x00" {
					t.Errorf("the client is told %s", p)
				}
			}
			<-stopped
			if e := servetest.LastEvent(t, front, before+1); e.Result != tt.want {
				t.Errorf("event %+v, want %s", e, tt.want)
			}
		})
	}
}

func TestListenRefuses(t *testing.T) {
	for name, cfg := range map[string]tftp.Config{
		"block size below":   {Addr: "127.0.0.1:0", BlockSize: 100},
		"block size above":   {Addr: "127.0.0.1:0", BlockSize: 70000},
		"negative limit":     {Addr: "127.0.0.1:0", Transfers: -1},
		"negative waiting":   {Addr: "127.0.0.1:0", Waiting: -1},
		"negative time":      {Addr: "127.0.0.1:0", Timeout: -1},
		"floor over default": {Addr: "127.0.0.1:0", Floor: 2 * time.Second},
		"floor over timeout": {Addr: "127.0.0.1:0", Timeout: 50 * time.Millisecond, Floor: 100 * time.Millisecond},
		"no address":         {Addr: "127.0.0.1"},
		"no address of ours": {Addr: "127.0.0.1:99999"},
	} {
		if _, err := tftp.Listen(cfg, broken{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
