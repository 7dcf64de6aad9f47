package web_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
	"piimg/store/serve"
	"piimg/store/serve/servetest"
	"piimg/store/serve/web"
)

// ask sends text as it is, with CRLF for its line ends, and reads one answer.
func ask(t *testing.T, s *web.Server, text string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	io.WriteString(conn, strings.ReplaceAll(text, "\n", "\r\n")+"\r\n\r\n")
	method, _, _ := strings.Cut(text, " ")
	r, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return r, string(body)
}

var files = map[string][]byte{
	"config.txt":               []byte("enable_uart=1\n"),
	"empty":                    nil,
	"overlays/disable-bt.dtbo": servetest.Pattern(100),
	"vmlinuz":                  servetest.Pattern(1000),
}

// TestFaultRow28Targets sends request targets as they would never leave a browser.
func TestFaultRow28Targets(t *testing.T) {
	front, image := servetest.NewFront(t, files)
	s := listen(t, web.Config{}, front)
	for target, want := range map[string]int{
		"/91cdf03d/config.txt":                         200,
		"//91cdf03d//config.txt":                       200,
		"///91cdf03d/config.txt":                       200,
		"/91cdf03d//overlays//disable-bt.dtbo":         200,
		"/91cdf03d/config.txt?x=y":                     200,
		"/91cdf03d/con%66ig.txt":                       200,
		"http://elsewhere/91cdf03d/config.txt":         200,
		"/env/dev/config.txt":                          200,
		"/by-digest/" + image.String() + "/config.txt": 200,
		"/healthz":                             200,
		"/readyz":                              200,
		"/":                                    404,
		"//":                                   404,
		"/91cdf03d":                            404,
		"/91cdf03d/":                           404,
		"/91cdf03d/overlays":                   404,
		"/91cdf03d/overlays/":                  404,
		"/91cdf03d/index.html":                 404,
		"/91cdf03d/../91cdf03d/config.txt":     404,
		"/91cdf03d/./config.txt":               404,
		"/91cdf03d/..%2f91cdf03d/config.txt":   404,
		"/..%2f..%2fetc/passwd":                404,
		"/%2e%2e/config.txt":                   404,
		"/91cdf03d/%2e%2e/91cdf03d/config.txt": 404,
		"/91cdf03d/%252e%252e/config.txt":      404,
		"/91cdf03d/config.txt%00":              404,
		"/91cdf03d/%00config.txt":              404,
		"/91cdf03d%5cconfig.txt":               404,
		`/91cdf03d\config.txt`:                 404,
		"/91cdf03d/c%C3%B6nfig.txt":            404,
		"/91cdf03d/config.txt%20":              404,
		"/by-digest/" + store.Digest{1}.String() + "/config.txt": 404,
		"/by-digest/" + store.Sum(nil).String() + "/config.txt":  404,
		"/by-digest/sha256:..%2f..%2f/config.txt":                404,
		"/store/piimg-store.json":                                404,
		"/report/boards":                                         404,
		"/report/boards/91cdf03d":                                404,
		"/metrics":                                               404,
		"/91cdf03d/" + strings.Repeat("a", 4000):                 404,
		"*":                                                      404,
	} {
		r, body := ask(t, s, "GET "+target+" HTTP/1.1\nHost: x")
		if r.StatusCode != want {
			t.Errorf("%.60q: %s, want %d", target, r.Status, want)
		}
		if r.Header.Get("Location") != "" || r.Header.Get("Server") != "" {
			t.Errorf("%.60q: headers %v", target, r.Header)
		}
		if want == 404 && body != "file not found\n" {
			t.Errorf("%.60q: the client is told %q", target, body)
		}
		if r.ContentLength < 0 || r.TransferEncoding != nil {
			t.Errorf("%.60q: length %d, transfer encoding %v", target, r.ContentLength, r.TransferEncoding)
		}
	}
}

// TestMethods lets nobody do anything but read.
func TestMethods(t *testing.T) {
	front, _ := servetest.NewFront(t, files)
	s := listen(t, web.Config{}, front)
	for _, target := range []string{"/91cdf03d/config.txt", "/healthz", "/readyz", "/nothing", "*"} {
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "get"} {
			r, body := ask(t, s, method+" "+target+" HTTP/1.1\nHost: x\nContent-Length: 5\n\nhello")
			if r.StatusCode != 405 || r.Header.Get("Allow") != "GET, HEAD" || body != "method not allowed\n" {
				t.Errorf("%s %s: %s, Allow %q, %q", method, target, r.Status, r.Header.Get("Allow"), body)
			}
		}
	}
}

// answer is what a client sees of a file.
type answer struct {
	Status                                      int
	Type, Length, Range, ETag, Cache, Encodings string
	Body                                        string
}

func see(r *http.Response, body string) answer {
	h := r.Header
	return answer{
		r.StatusCode, h.Get("Content-Type"), h.Get("Content-Length"), h.Get("Content-Range"), h.Get("ETag"),
		h.Get("Cache-Control"), strings.Join(append(r.TransferEncoding, h.Values("Content-Encoding")...), ","), body,
	}
}

// TestRanges asks for parts of a file in every way.
func TestRanges(t *testing.T) {
	front, _ := servetest.NewFront(t, files)
	s := listen(t, web.Config{}, front)
	all := string(files["vmlinuz"])
	etag := `"` + store.Sum(files["vmlinuz"]).String() + `"`
	whole := answer{200, "application/octet-stream", "1000", "", etag, "no-cache", "", all}
	part := func(from, to int) answer {
		a := whole
		a.Status, a.Body = 206, all[from:to]
		a.Length, a.Range = fmt.Sprint(to-from), fmt.Sprintf("bytes %d-%d/1000", from, to-1)
		return a
	}
	for header, want := range map[string]answer{
		"X: y":                                             whole,
		"Range: bytes=0-":                                  part(0, 1000),
		"Range: bytes=0-0":                                 part(0, 1),
		"Range: bytes=990-":                                part(990, 1000),
		"Range: bytes=10-19":                               part(10, 20),
		"Range: bytes=10-5000":                             part(10, 1000),
		"Range: bytes=-10":                                 part(990, 1000),
		"Range: bytes=-5000":                               part(0, 1000),
		"Range: bytes=0-1,5-6":                             whole,
		"Range: bytes=0-1, -1":                             whole,
		"Range: bytes=0-1\nRange: bytes=5-":                whole,
		"Range: bytes=":                                    whole,
		"Range: bytes=-0":                                  whole,
		"Range: lines=1-2":                                 whole,
		"Range: bytes=10-\nIf-Range: " + etag:              part(10, 1000),
		"Range: bytes=10-\nIf-Range: \"sha256:0\"":         whole,
		"Accept-Encoding: gzip, deflate, br":               whole,
		"If-None-Match: \"sha256:0\"":                      whole,
		"If-Modified-Since: Tue, 01 Dec 2099 00:00:00 GMT": whole,
	} {
		for _, version := range []string{"1.0", "1.1"} {
			r, body := ask(t, s, "GET /91cdf03d/vmlinuz HTTP/"+version+"\nHost: x\n"+header)
			if diff := cmp.Diff(want, see(r, body)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", header, diff)
			}
			if r.Header.Get("Accept-Ranges") != "bytes" {
				t.Errorf("%s: Accept-Ranges %q", header, r.Header.Get("Accept-Ranges"))
			}
		}
		r, body := ask(t, s, "HEAD /91cdf03d/vmlinuz HTTP/1.1\nHost: x\n"+header)
		want.Body = ""
		if diff := cmp.Diff(want, see(r, body)); diff != "" {
			t.Errorf("HEAD %s (-want +got):\n%s", header, diff)
		}
	}
	for _, header := range []string{"bytes=1000-", "bytes=20-10", "bytes=x-", "bytes=--5"} {
		r, _ := ask(t, s, "GET /91cdf03d/vmlinuz HTTP/1.1\nHost: x\nRange: "+header)
		if r.StatusCode != 416 {
			t.Errorf("Range %s: %s, want 416", header, r.Status)
		}
	}
	for _, header := range []string{etag, `"sha256:0", ` + etag, "W/" + etag, "*"} {
		r, body := ask(t, s, "GET /91cdf03d/vmlinuz HTTP/1.1\nHost: x\nIf-None-Match: "+header)
		if r.StatusCode != 304 || body != "" || r.Header.Get("ETag") != etag {
			t.Errorf("If-None-Match %s: %s, ETag %s", header, r.Status, r.Header.Get("ETag"))
		}
	}
}

// TestHeaders compares what says how long and as what an answer may be kept.
func TestHeaders(t *testing.T) {
	front, image := servetest.NewFront(t, files)
	s := listen(t, web.Config{}, front)
	etag := func(name string) string { return `"` + store.Sum(files[name]).String() + `"` }
	for target, want := range map[string]answer{
		"/91cdf03d/config.txt": {200, "text/plain; charset=utf-8", "14", "", etag("config.txt"), "no-cache", "", "enable_uart=1\n"},
		"/91cdf03d/empty":      {200, "application/octet-stream", "0", "", etag("empty"), "no-cache", "", ""},
		"/env/dev/config.txt":  {200, "text/plain; charset=utf-8", "14", "", etag("config.txt"), "no-cache", "", "enable_uart=1\n"},
		"/by-digest/" + image.String() + "/config.txt": {200, "text/plain; charset=utf-8", "14", "", etag("config.txt"),
			"public, max-age=31536000, immutable", "", "enable_uart=1\n"},
		"/by-digest/" + image.String() + "/nothing": {404, "text/plain; charset=utf-8", "15", "", "", "no-cache", "", "file not found\n"},
		"/healthz": {200, "text/plain; charset=utf-8", "3", "", "", "no-cache", "", "ok\n"},
		"/readyz":  {200, "text/plain; charset=utf-8", "6", "", "", "no-cache", "", "ready\n"},
	} {
		r, body := ask(t, s, "GET "+target+" HTTP/1.1\nHost: x")
		if diff := cmp.Diff(want, see(r, body)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", target, diff)
		}
	}
}

// TestResults checks what the board's trail says of each kind of request.
func TestResults(t *testing.T) {
	front, _ := servetest.NewFront(t, files)
	s := listen(t, web.Config{}, front)
	etag := store.Sum(files["vmlinuz"]).String()
	for n, tt := range []struct {
		request string
		result  serve.Result
		bytes   int64
	}{
		{"HEAD /91cdf03d/vmlinuz", serve.Probe, 0},
		{"GET /91cdf03d/nothing", serve.Missing, 0},
		{"GET /91cdf03d/config.txt", serve.OK, 14},
		{"GET /91cdf03d/vmlinuz\nRange: bytes=10-19", serve.Probe, 10},
		{"GET /91cdf03d/vmlinuz\nRange: bytes=1000-", serve.Probe, 0},
		{"GET /91cdf03d/vmlinuz\nRange: bytes=900-", serve.OK, 100},
		{"GET /91cdf03d/vmlinuz\nIf-None-Match: \"" + etag + "\"", serve.OK, 0},
	} {
		first, rest, _ := strings.Cut(tt.request, "\n")
		ask(t, s, strings.TrimSuffix(first+" HTTP/1.1\nHost: x\n"+rest, "\n"))
		e := servetest.LastEvent(t, front, n+1)
		if tt.result == serve.Probe && tt.bytes == 0 {
			e.Bytes = 0 // of the error's text
		}
		if e.Result != tt.result || e.Bytes != tt.bytes || e.Protocol != "http" {
			t.Errorf("%s: event %+v, want %s with %d bytes", tt.request, e, tt.result, tt.bytes)
		}
	}
	if b := front.Boards(); b[0].Milestone != serve.Kernel && b[0].Milestone != serve.ConfigRead {
		t.Errorf("milestone %s", b[0].Milestone)
	}
}

// TestClientGone hangs up, or falls silent, in the middle of a large file.
func TestClientGone(t *testing.T) {
	front, _ := servetest.NewFront(t, map[string][]byte{"vmlinuz": servetest.Pattern(32 << 20)})
	s := listen(t, web.Config{Stall: 200 * time.Millisecond}, front)
	for n, hangUp := range []bool{true, false} {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, "GET /91cdf03d/vmlinuz HTTP/1.1\r\nHost: x\r\n\r\n")
		io.ReadFull(conn, make([]byte, 1000))
		if hangUp {
			conn.Close()
		}
		if e := servetest.LastEvent(t, front, n+1); e.Result != serve.Aborted || e.Bytes >= 32<<20 {
			t.Errorf("event %+v, want aborted", e)
		}
	}
}

// TestSlowClient takes longer than any limit, but always something.
func TestSlowClient(t *testing.T) {
	body := servetest.Pattern(16 << 20)
	front, _ := servetest.NewFront(t, map[string][]byte{"vmlinuz": body})
	s := listen(t, web.Config{Stall: 3 * time.Second, Idle: 3 * time.Second}, front)
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	io.WriteString(conn, "GET /91cdf03d/vmlinuz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	got := 0
	for buf := make([]byte, 1<<20); ; {
		n, err := io.ReadFull(r.Body, buf)
		got += n
		if err != nil {
			break
		}
		time.Sleep(300 * time.Millisecond)
	}
	if got != len(body) {
		t.Errorf("%d bytes came, want %d", got, len(body))
	}
}

// TestSlowHeader never finishes its request.
func TestSlowHeader(t *testing.T) {
	front, _ := servetest.NewFront(t, files)
	s := listen(t, web.Config{}, front)
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /91cdf03d/vmlinuz HTTP/1.1\r\nHost")
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("the connection is still open: %v", err)
	}
}

// closed is a front end that has nothing, for a reason.
type closed struct{ err error }

func (c closed) Open(context.Context, serve.Request) (*serve.File, error) { return nil, c.err }
func (c closed) Ready() error                                             { return c.err }
func (c closed) Manifest(context.Context, store.Digest) ([]byte, error)   { return nil, c.err }
func (c closed) Referrers(context.Context, store.Digest) ([]store.Referrer, error) {
	return nil, c.err
}
func (c closed) Environments() []serve.Environment { return nil }
func (c closed) Blob(context.Context, serve.Request, store.Digest) (*serve.File, error) {
	return nil, c.err
}

// TestInternalErrors keeps what went wrong inside.
func TestInternalErrors(t *testing.T) {
	s := listen(t, web.Config{}, closed{errors.New("dial tcp s3.internal:9000: password=x")})
	for target, want := range map[string]string{
		"/91cdf03d/config.txt": "not available now\n",
		"/readyz":              "not ready\n",
		"/v2/dev/referrers/" + store.Sum(nil).String(): `{"errors":[{"code":"UNAVAILABLE","message":"not available now"}]}`,
	} {
		r, body := ask(t, s, "GET "+target+" HTTP/1.1\nHost: x")
		if r.StatusCode != 503 || body != want || r.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %s, %q, headers %v", target, r.Status, body, r.Header)
		}
	}
	if r, _ := ask(t, s, "GET /healthz HTTP/1.1\nHost: x"); r.StatusCode != 200 {
		t.Errorf("healthz: %s", r.Status)
	}
}

// TestTroubleLog does not write a line for every request that the front end has to refuse.
func TestTroubleLog(t *testing.T) {
	var log strings.Builder
	h := web.Handler(web.Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, closed{errors.New("away")})
	request := func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/91cdf03d/config.txt", nil)) }
	for range 1000 {
		request()
	}
	time.Sleep(time.Second)
	request()
	if n := strings.Count(log.String(), "file is not served"); n > 10 || !strings.Contains(log.String(), "left_out=") {
		t.Errorf("%d lines for 1001 requests, want one a second with a count:\n%s", n, &log)
	}
}

// TestManyClients takes files side by side over kept connections.
func TestManyClients(t *testing.T) {
	front, _ := servetest.NewFront(t, files)
	s := listen(t, web.Config{}, front)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for name, want := range files {
				r, err := client.Get("http://" + s.Addr().String() + "/91cdf03d/" + name)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(r.Body)
				r.Body.Close()
				if err != nil || string(got) != string(want) {
					t.Errorf("%s: %d bytes, %v", name, len(got), err)
				}
			}
		})
	}
	wg.Wait()
}

// TestConnections opens more connections than there may be: the next one waits for an
// open one to end.
func TestConnections(t *testing.T) {
	front, _ := servetest.NewFront(t, files)
	s, stop := start(t, web.Config{Connections: 2}, front)
	first, second, third := dial(t, s), dial(t, s), dial(t, s)
	first.want("200 OK")
	second.want("200 OK")
	third.ask()
	third.wantSilence()
	first.Close()
	third.want("200 OK")
	dial(t, s).ask() // waits when the server stops
	stop()
}

// TestConnectionsOfOneClient hangs up on a client that has its part.
func TestConnectionsOfOneClient(t *testing.T) {
	front, _ := servetest.NewFront(t, files)
	s := listen(t, web.Config{Connections: 2, PerClient: 1}, front)
	first := dial(t, s)
	first.want("200 OK")
	second := dial(t, s)
	second.ask()
	if _, err := second.in.ReadString('\n'); err == nil {
		t.Error("a second connection of the client was answered")
	}
	first.Close()
	servetest.Await(t, "a connection once the first one has ended", func() bool {
		third := dial(t, s)
		third.ask()
		line, err := third.in.ReadString('\n')
		return err == nil && strings.Contains(line, "200 OK")
	})
}

// keptConn is a connection that asks for the same file again and again.
type keptConn struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

func dial(t *testing.T, s *web.Server) *keptConn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return &keptConn{conn, t, bufio.NewReader(conn)}
}

func (c *keptConn) ask() { io.WriteString(c, "HEAD /91cdf03d/vmlinuz HTTP/1.1\r\nHost: x\r\n\r\n") }

func (c *keptConn) want(status string) {
	c.t.Helper()
	c.ask()
	if line, err := c.in.ReadString('\n'); err != nil || !strings.Contains(line, status) {
		c.t.Errorf("answer %q, %v, want %s", line, err, status)
	}
}

func (c *keptConn) wantSilence() {
	c.t.Helper()
	c.SetDeadline(time.Now().Add(200 * time.Millisecond))
	if line, err := c.in.ReadString('\n'); err == nil {
		c.t.Errorf("answer %q, want none", line)
	}
	c.SetDeadline(time.Now().Add(time.Minute))
}

// TestStop ends a transfer that outlasts the grace time.
func TestStop(t *testing.T) {
	front, _ := servetest.NewFront(t, map[string][]byte{"vmlinuz": servetest.Pattern(32 << 20)})
	s, stop := start(t, web.Config{Grace: 10 * time.Millisecond}, front)
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /91cdf03d/vmlinuz HTTP/1.1\r\nHost: x\r\n\r\n")
	io.ReadFull(conn, make([]byte, 1000))
	stop() // does not wait until the client has read what it never reads
	if e := servetest.LastEvent(t, front, 1); e.Result != serve.Aborted {
		t.Errorf("event %+v, want aborted", e)
	}
	if _, err := net.Dial("tcp", s.Addr().String()); err == nil {
		t.Error("still listening")
	}
}

func TestListenRefuses(t *testing.T) {
	for name, cfg := range map[string]web.Config{
		"negative time":  {Addr: "127.0.0.1:0", Stall: -1},
		"negative limit": {Addr: "127.0.0.1:0", Connections: -1},
		"no address":     {Addr: "127.0.0.1"},
	} {
		if _, err := web.Listen(cfg, closed{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
