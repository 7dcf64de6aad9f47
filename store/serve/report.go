package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Paths below which front ends and boards tell each other things over HTTP.
const (
	// ReportPath is where a board says that it is up, by POST with its token.
	ReportPath = "/report"
	// SecretsPath is where it is handed its secret files, by POST with its token over HTTPS.
	SecretsPath = ReportPath + "/secrets"
	// BoardsPath is where everybody reads what was seen of boards, as JSON: a [Boot] for the
	// latest boot of each board, without its events, and below that, at the name of a board,
	// its last boots, the oldest first. Nothing of it is a secret of a board.
	BoardsPath = ReportPath + "/boards"
)

// Report answers what is asked at ReportPath and below; what was seen of boards only where
// that is shared.
func (f *Front) Report(share bool) http.Handler { return &report{front: f, share: share} }

type report struct {
	front *Front
	share bool

	mu    sync.Mutex
	doc   []byte    // the list
	until time.Time // as long as it is good enough
}

func (r *report) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	kind, doc, err := "application/json", []byte(nil), fs.ErrNotExist
	below, seen := strings.CutPrefix(q.URL.Path, BoardsPath)
	switch {
	case q.Method != http.MethodPost && seen && !r.share:
		http.Error(w, "not shared", http.StatusNotFound) // not JSON: nothing is said of any board
		return
	case q.Method != http.MethodPost && seen:
		doc, err = r.boards(below)
	case q.Method == http.MethodPost && q.URL.Path == ReportPath:
		kind = "text/plain; charset=utf-8"
		doc, err = []byte("ok\n"), r.front.alive(bearer(q), clientOf(q), protocol(q))
	case q.Method == http.MethodPost && q.URL.Path == SecretsPath && q.TLS != nil:
		kind = "application/x-cpio"
		doc, err = r.front.handOver(q.Context(), bearer(q), clientOf(q))
	}
	status := http.StatusOK
	if err != nil {
		kind = "application/json"
		status, doc = r.refusal(q, err)
	}
	head := w.Header()
	head.Set("Content-Type", kind)
	head.Set("Content-Length", strconv.Itoa(len(doc)))
	head.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if q.Method != http.MethodHead {
		_, _ = w.Write(doc)
	}
}

// refusal is the answer to q that err is, in texts that give nothing away.
func (r *report) refusal(q *http.Request, err error) (int, []byte) {
	switch {
	case errors.Is(err, errToken):
		return http.StatusForbidden, []byte(`{"error":"not the token of a board's present boot"}`)
	case errors.Is(err, errGone):
		return http.StatusGone, []byte(`{"error":"handed over already, or too late"}`)
	case errors.Is(err, fs.ErrNotExist):
		return http.StatusNotFound, []byte(`{"error":"not found"}`)
	}
	r.front.nothing.Log(q.Context(), slog.LevelError, "report is not answered", "client", q.RemoteAddr, "name", q.URL.Path, "err", err)
	return http.StatusServiceUnavailable, []byte(`{"error":"not available now"}`)
}

// bearer is the token that q shows.
func bearer(q *http.Request) string {
	token, _ := strings.CutPrefix(q.Header.Get("Authorization"), "Bearer ")
	return strings.TrimSpace(token)
}

func protocol(q *http.Request) string {
	if q.TLS != nil {
		return "https"
	}
	return "http"
}

func clientOf(q *http.Request) netip.AddrPort {
	addr, _ := netip.ParseAddrPort(q.RemoteAddr)
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}

// boards is the document at path, below BoardsPath.
func (r *report) boards(path string) ([]byte, error) {
	if path == "" || path == "/" {
		return r.list()
	}
	name, ok := strings.CutPrefix(path, "/")
	id, known := r.front.cfg.Fleet.Board(name)
	if !ok || !known {
		return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	boots, err := r.front.lastBoots(id)
	if err != nil {
		return nil, err
	}
	return json.Marshal(boots)
}

// list is the latest boot of each board, as it was when somebody asked last, for ten times
// as long as it takes to find out: the trails of thousands of boards lie in files, and
// anybody may ask.
func (r *report) list() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	began := r.front.cfg.Now()
	if began.Before(r.until) {
		return r.doc, nil
	}
	r.front.flushTrails()
	kept, err := eachTrail(filepath.Join(r.front.cfg.Dir, trailDir))
	if err != nil {
		return nil, err
	}
	latest := []Boot{}
	for _, boots := range kept {
		last := Diagnosed(boots, began)[len(boots)-1]
		last.Events = nil
		latest = append(latest, last)
	}
	r.doc, err = json.Marshal(latest)
	now := r.front.cfg.Now()
	r.until = now.Add(10 * now.Sub(began))
	return r.doc, err
}
