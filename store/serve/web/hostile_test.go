package web_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"piimg/store/serve/servetest"
	"piimg/store/serve/web"
)

// TestFaultRow34SlowClientsHugeHeadersManyRanges has clients that never finish their
// requests, never take an answer, and ask for too much, and others who want a file.
func TestFaultRow34SlowClientsHugeHeadersManyRanges(t *testing.T) {
	front, _ := servetest.NewFront(t, map[string][]byte{"vmlinuz": servetest.Pattern(16 << 20), "config.txt": []byte("a=1\n")})
	s := listen(t, web.Config{PerClient: 40, Stall: 3 * time.Second}, front)
	dial := func(from string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := d.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	var slow []net.Conn
	for n := range 60 {
		conn := dial("127.0.0.9")
		defer conn.Close()
		switch n % 3 {
		case 0: // a header that never ends
			io.WriteString(conn, "GET /91cdf03d/config.txt HTTP/1.1\r\nHost: x\r\nX-")
		case 1: // an answer that nobody takes
			io.WriteString(conn, "GET /91cdf03d/vmlinuz HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		slow = append(slow, conn)
	}
	good := dial("127.0.0.1")
	defer good.Close()
	io.WriteString(good, "GET /91cdf03d/vmlinuz HTTP/1.1\r\nHost: x\r\nRange: bytes="+strings.Repeat("0-1,", 1000)+"5-6\r\nConnection: close\r\n\r\n")
	r, err := http.ReadResponse(bufio.NewReader(good), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != 200 || !bytes.Equal(body, servetest.Pattern(16<<20)) {
		t.Errorf("a thousand ranges, while others are slow: %s, %d bytes, %v", r.Status, len(body), err)
	}
	for _, conn := range slow { // each is hung up on, in the end
		conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
		if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Fatalf("a slow connection is still open: %v", err)
		}
	}
	huge := dial("127.0.0.1")
	defer huge.Close()
	go io.WriteString(huge, "GET /91cdf03d/config.txt HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n")
	if r, err := http.ReadResponse(bufio.NewReader(huge), nil); err == nil && r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a megabyte of headers: %s", r.Status)
	}
}

// FuzzRequest sends anything as a request: the answer is a status of ours, with its length.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"GET /91cdf03d/config.txt HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v2/dev/manifests/latest HTTP/1.1\r\nHost: x\r\nRange: bytes=1-2\r\n\r\n",
		"GET /store/?prefix=a&after=%00 HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /report HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer 91cdf03d-AAAA\r\nContent-Length: 2\r\n\r\nup",
		"POST /report/secrets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer -\r\n\r\n",
		"GET /report/boards/91cdf03d HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v2/dev/referrers/sha256:0000000000000000000000000000000000000000000000000000000000000000?artifactType=%00 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /net_install/boot.img HTTP/1.1\r\nHost: x\r\n\r\n",
		"HEAD /by-digest/sha256:00/x HTTP/1.0\r\nIf-Range: \"x\"\r\n\r\n",
		"GET http://y/../..//env/dev/config.txt HTTP/1.1\r\nHost: x\r\nIf-None-Match: W/\"\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		front, _ := servetest.NewFront(t, files)
		r.RemoteAddr = "192.0.2.1:1234"
		rec := httptest.NewRecorder()
		web.Handler(web.Config{Report: front.Report(true)}, front).ServeHTTP(rec, r)
		switch rec.Code {
		case 200, 206, 304, 403, 404, 405, 412, 416:
		default:
			t.Errorf("%q: status %d", raw, rec.Code)
		}
		if location := rec.Header().Get("Location"); location != "" {
			t.Errorf("%q: sent to %s", raw, location)
		}
	})
}
