package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ReportPath is where front ends tell what they have seen of boards, as JSON, to whoever
// asks over HTTP: a [Boot] for the latest boot of each board, without its events, and below
// that, at the name of a board, its last boots, the oldest first.
const ReportPath = "/report/boards"

// Report answers what is asked at ReportPath and below. Nothing of it is a secret of a board.
func (f *Front) Report() http.Handler { return &report{front: f} }

type report struct {
	front *Front

	mu    sync.Mutex
	doc   []byte    // the list
	until time.Time // as long as it is good enough
}

func (r *report) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	doc, err := r.answer(strings.TrimPrefix(q.URL.Path, ReportPath))
	status := http.StatusOK
	if err != nil {
		status, doc = http.StatusServiceUnavailable, []byte(`{"error":"not available now"}`)
		if errors.Is(err, fs.ErrNotExist) {
			status, doc = http.StatusNotFound, []byte(`{"error":"not found"}`)
		} else {
			r.front.nothing.Log(q.Context(), slog.LevelError, "trails cannot be read", "err", err)
		}
	}
	head := w.Header()
	head.Set("Content-Type", "application/json")
	head.Set("Content-Length", strconv.Itoa(len(doc)))
	head.Set("Cache-Control", "no-cache")
	w.WriteHeader(status)
	if q.Method != http.MethodHead {
		_, _ = w.Write(doc)
	}
}

// answer is the document at path, below ReportPath.
func (r *report) answer(path string) ([]byte, error) {
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

// lastBoots are those of the board id, which may be another name of it.
func (f *Front) lastBoots(id string) ([]Boot, error) {
	id = f.canonical(id)
	f.mu.Lock()
	st := f.stations[id]
	f.mu.Unlock()
	now := f.cfg.Now()
	if st == nil {
		boots, err := readTrail(f.trailFile(id))
		return Diagnosed(boots, now), err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.trail) == 0 {
		return nil, fmt.Errorf("board %s: %w", id, fs.ErrNotExist)
	}
	return st.trail.boots(now), nil
}

// Diagnosed are the boots of a board, the oldest first, with what can be said of each now.
func Diagnosed(boots []Boot, now time.Time) []Boot {
	for n := range boots {
		var before *Boot
		if n > 0 {
			before = &boots[n-1]
		}
		boots[n].Diagnosis = Diagnose(boots[n], before, now)
	}
	return boots
}
