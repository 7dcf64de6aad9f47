package web

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"piimg/store/serve"
)

// Headers that say how long an answer may be kept.
const (
	cacheForEver = "public, max-age=31536000, immutable"
	cacheNever   = "no-cache"
)

// handler answers requests. It is no http.ServeMux, because that one redirects.
type handler struct {
	front   Front
	stall   time.Duration
	metrics http.Handler
	share   http.Handler
	report  http.Handler
	log     *slog.Logger
	flood   *serve.Flood // log of requests that are refused though there may be such a file
}

// Handler is the handler of a Server, for who brings a server of their own.
func Handler(cfg Config, f Front) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &handler{
		front: f, stall: cmp.Or(cfg.Stall, defaultStall), metrics: cfg.Metrics, share: cfg.Share, report: cfg.Report,
		log: cfg.Log, flood: serve.NewFlood(cfg.Log, 1, time.Now),
	}
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	allow(control, h.stall)
	if r.ContentLength != 0 {
		// Nobody reads the body; it must not hold up the end of the answer either.
		_ = control.SetReadDeadline(time.Now().Add(headerTimeout))
		w.Header().Set("Connection", "close")
	}
	if err := h.answer(w, control, r); err != nil {
		h.refuse(w, r, err)
	}
}

// errMethod: the request wants something other than to read.
var errMethod = errors.New("method not allowed")

// errNotReady: there is nothing to serve yet.
var errNotReady = errors.New("not ready")

// answer answers r, or returns the error that is the answer.
func (h *handler) answer(w http.ResponseWriter, control *http.ResponseController, r *http.Request) error {
	if h.report != nil && isReport(r) {
		h.report.ServeHTTP(&steady{w, control, h.stall}, r)
		return nil
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return errMethod
	}
	switch r.URL.Path {
	case "/healthz":
		plain(w, r, http.StatusOK, "ok")
		return nil
	case "/readyz":
		return h.ready(w, r)
	case "/metrics":
		if h.metrics != nil {
			h.metrics.ServeHTTP(w, r)
			return nil
		}
	}
	if r.URL.Path == "/v2" || strings.HasPrefix(r.URL.Path, "/v2/") {
		h.v2(w, r)
		return nil
	}
	if strings.HasPrefix(r.URL.Path, "/store/") && h.share != nil {
		http.StripPrefix("/store", h.share).ServeHTTP(&steady{w, control, h.stall}, r)
		return nil
	}
	return h.file(w, r)
}

// isReport says whether r is for the handler of reports, the only one that boards may write to.
func isReport(r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.URL.Path, serve.ReportPath)
	if !ok || rest != "" && rest[0] != '/' {
		return false
	}
	return r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodPost
}

func (h *handler) ready(w http.ResponseWriter, r *http.Request) error {
	if err := h.front.Ready(); err != nil {
		return errors.Join(errNotReady, err)
	}
	plain(w, r, http.StatusOK, "ready")
	return nil
}

// refuse maps err to a status and a text that gives nothing away.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, text, level := http.StatusServiceUnavailable, "not available now", slog.LevelError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		status, text, level = http.StatusNotFound, "file not found", slog.LevelDebug
	case errors.Is(err, errMethod):
		w.Header().Set("Allow", "GET, HEAD")
		status, text, level = http.StatusMethodNotAllowed, "method not allowed", slog.LevelDebug
	case errors.Is(err, errNotReady):
		text, level = "not ready", slog.LevelWarn
	case errors.Is(err, context.Canceled):
		level = slog.LevelDebug // the client has gone
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	h.noteAt(level, r, err, status)
	plain(w, r, status, text)
}

// note logs why r gets no file.
func (h *handler) note(r *http.Request, err error, status int) {
	level := slog.LevelError
	if status < http.StatusInternalServerError || errors.Is(err, context.Canceled) {
		level = slog.LevelDebug
	}
	h.noteAt(level, r, err, status)
}

func (h *handler) noteAt(level slog.Level, r *http.Request, err error, status int) {
	log := h.flood.Log
	if level == slog.LevelDebug {
		log = h.log.Log
	}
	log(r.Context(), level, "file is not served", "protocol", "http", "client", r.RemoteAddr,
		"method", r.Method, "name", r.URL.Path, "status", status, "err", err)
}

// plain answers with one line of text.
func plain(w http.ResponseWriter, r *http.Request, status int, text string) {
	text += "\n"
	head := w.Header()
	head.Set("Content-Type", "text/plain; charset=utf-8")
	head.Set("Content-Length", strconv.Itoa(len(text)))
	head.Set("Cache-Control", cacheNever)
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write([]byte(text))
	}
}

// file sends the file that r names.
func (h *handler) file(w http.ResponseWriter, r *http.Request) error {
	return h.send(w, r, h.front.Open)
}

// send sends the file that open opens for r.
func (h *handler) send(w http.ResponseWriter, r *http.Request, open func(context.Context, serve.Request) (*serve.File, error)) error {
	client, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return err
	}
	client = netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
	f, err := open(r.Context(), serve.Request{Client: client, Name: r.URL.Path, Protocol: "http"})
	if err != nil {
		return err
	}
	defer f.Close()
	describe(w.Header(), f)
	if !singleRange(r.Header) {
		r.Header.Del("Range")
	}
	in := newSource(f, h.stall)
	out := newMeter(w, r, in, h.stall)
	http.ServeContent(out, r, "", time.Time{}, in)
	result := out.result(f.Size)
	if result == serve.Failed {
		h.log.Error("transfer failed", "protocol", "http", "client", client, "name", f.Name, "err", in.err)
	}
	f.Done(result, out.sent)
	return nil
}

// describe sets the headers of f.
func describe(head http.Header, f *serve.File) {
	head.Set("ETag", `"`+f.Digest.String()+`"`)
	head.Set("Content-Type", "application/octet-stream")
	if path.Ext(f.Name) == ".txt" {
		head.Set("Content-Type", "text/plain; charset=utf-8")
	}
	head.Set("Cache-Control", cacheNever)
	if f.Immutable {
		head.Set("Cache-Control", cacheForEver)
	}
}

// singleRange says whether head asks for one range of bytes. Several would be answered
// in parts with a boundary between them, which no boot client reads, and the last 0
// bytes with a range that ends before it starts. A server may ignore a range, so
// whoever asks for such a thing gets the whole file.
func singleRange(head http.Header) bool {
	ranges := head.Values("Range")
	if len(ranges) != 1 || strings.Contains(ranges[0], ",") {
		return false
	}
	if suffix, ok := strings.CutPrefix(ranges[0], "bytes=-"); ok {
		return strings.Trim(suffix, "0") != ""
	}
	return strings.HasPrefix(ranges[0], "bytes=") && ranges[0] != "bytes="
}
