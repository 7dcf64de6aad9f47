package s3test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy stands in front of a server and does to some requests what networks and servers do.
// It keeps the Host header, which signatures cover.
type Proxy struct {
	URL string

	mu     sync.Mutex
	rules  []*rule
	seen   []string // method and path?query of each request
	target *url.URL
	client *http.Client

	up, down, bodies atomic.Int64
}

// Fault answers a request in the place of the server. forward asks the server.
type Fault func(w http.ResponseWriter, r *http.Request, forward func() (*http.Response, error))

type rule struct {
	match func(*http.Request) bool
	left  int // how often; below 0 for ever
	fault Fault
}

// NewProxy starts a proxy, which ends with the test.
func NewProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	target, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: target, client: &http.Client{Transport: &http.Transport{DisableCompression: true}}}
	front := httptest.NewUnstartedServer(p)
	front.Listener = counting{front.Listener, &p.up, &p.down}
	front.Start()
	p.URL = front.URL
	t.Cleanup(func() {
		front.CloseClientConnections()
		front.Close()
		p.client.CloseIdleConnections()
	})
	return p
}

// Inject has fault answer the next requests that match, as often as said; below 0 all.
func (p *Proxy) Inject(match func(*http.Request) bool, times int, fault Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, &rule{match, times, fault})
}

// Heal takes all faults out.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = nil
}

// Seen are the requests so far, as "PUT /bucket/key?query".
func (p *Proxy) Seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.seen...)
}

// Moved is how many bytes have come from the client so far and gone to it, with all that HTTP
// puts around them.
func (p *Proxy) Moved() (up, down int64) { return p.up.Load(), p.down.Load() }

// Bodies is how many bytes of these were content, in either direction.
func (p *Proxy) Bodies() int64 { return p.bodies.Load() }

// counting counts the bytes of the connections that it accepts.
type counting struct {
	net.Listener
	up, down *atomic.Int64
}

func (l counting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return counted{c, l.up, l.down}, nil
}

type counted struct {
	net.Conn
	up, down *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.up.Add(int64(n))
	return n, err
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.down.Add(int64(n))
	return n, err
}

func (p *Proxy) fault(r *http.Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, r.Method+" "+r.URL.RequestURI())
	for _, rule := range p.rules {
		if rule.left != 0 && rule.match(r) {
			rule.left--
			return rule.fault
		}
	}
	return Pass
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w = bodyWriter{w, &p.bodies}
	if r.Body != http.NoBody {
		r.Body = bodyReader{r.Body, &p.bodies}
	}
	p.fault(r)(w, r, func() (*http.Response, error) {
		out := r.Clone(r.Context())
		out.RequestURI = ""
		out.URL.Scheme, out.URL.Host = p.target.Scheme, p.target.Host
		return p.client.Do(out)
	})
}

type bodyReader struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b bodyReader) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

type bodyWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (b bodyWriter) Write(p []byte) (int, error) {
	n, err := b.ResponseWriter.Write(p)
	b.n.Add(int64(n))
	return n, err
}

// Unwrap is for http.ResponseController.
func (b bodyWriter) Unwrap() http.ResponseWriter { return b.ResponseWriter }

// Method matches a method, and Method("") all.
func Method(name string) func(*http.Request) bool {
	return func(r *http.Request) bool { return name == "" || r.Method == name }
}

// Pass changes nothing.
func Pass(w http.ResponseWriter, _ *http.Request, forward func() (*http.Response, error)) {
	send(w, forward, func(body io.Reader) io.Reader { return body })
}

func send(w http.ResponseWriter, forward func() (*http.Response, error), change func(io.Reader) io.Reader) {
	res, err := forward()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer res.Body.Close()
	for key, values := range res.Header {
		w.Header()[key] = values
	}
	w.WriteHeader(res.StatusCode)
	if _, err := io.Copy(flushed{w}, change(res.Body)); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// flushed sends what it is given at once.
type flushed struct{ w http.ResponseWriter }

func (f flushed) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	_ = http.NewResponseController(f.w).Flush()
	return n, err
}

// Status answers with an error of S3, without asking the server.
func Status(status int, code string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ func() (*http.Response, error)) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "<Error><Code>"+code+"</Code><Message>injected</Message></Error>")
	}
}

// Hang never answers.
func Hang(_ http.ResponseWriter, r *http.Request, _ func() (*http.Response, error)) {
	_, _ = io.Copy(io.Discard, r.Body) // without that nobody would notice that the client is gone
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

// Lose has the server do what was asked, and loses its answer.
func Lose(_ http.ResponseWriter, _ *http.Request, forward func() (*http.Response, error)) {
	if res, err := forward(); err == nil {
		res.Body.Close()
	}
	panic(http.ErrAbortHandler)
}

// Cut breaks the connection off after n bytes of the body.
func Cut(n int64) Fault {
	return func(w http.ResponseWriter, _ *http.Request, forward func() (*http.Response, error)) {
		send(w, forward, func(body io.Reader) io.Reader { return io.MultiReader(io.LimitReader(body, n), broken{}) })
	}
}

// Stall stands still after n bytes of the body.
func Stall(n int64) Fault {
	return func(w http.ResponseWriter, r *http.Request, forward func() (*http.Response, error)) {
		send(w, forward, func(body io.Reader) io.Reader {
			return io.MultiReader(io.LimitReader(body, n), stalled{r}, broken{})
		})
	}
}

// Trickle sends the body in pieces of n bytes with a pause before each.
func Trickle(n int, pause time.Duration) Fault {
	return func(w http.ResponseWriter, _ *http.Request, forward func() (*http.Response, error)) {
		send(w, forward, func(body io.Reader) io.Reader { return trickled{body, n, pause} })
	}
}

// Flip changes one bit of the body that the server gets.
func Flip(w http.ResponseWriter, r *http.Request, forward func() (*http.Response, error)) {
	r.Body = struct {
		io.Reader
		io.Closer
	}{&flipped{r: r.Body}, r.Body}
	Pass(w, r, forward)
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

type stalled struct{ r *http.Request }

func (s stalled) Read([]byte) (int, error) {
	<-s.r.Context().Done()
	return 0, io.EOF
}

type trickled struct {
	r     io.Reader
	n     int
	pause time.Duration
}

func (s trickled) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	return s.r.Read(p[:min(len(p), s.n)])
}

type flipped struct {
	r    io.Reader
	done bool
}

func (f *flipped) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if n > 0 && !f.done {
		p[0] ^= 1
		f.done = true
	}
	return n, err
}
