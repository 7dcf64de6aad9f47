package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"piimg/store"
)

// page is how many objects one answer lists.
const page = 1000

// listing is the answer to a question for objects.
type listing struct {
	Objects []store.Info `json:"objects"`
	More    bool         `json:"more"` // there are others after these
}

// Objects is what can be read; a store.Bucket is some.
type Objects interface {
	Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
	Stat(ctx context.Context, key string) (store.Info, error)
	List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error]
}

// Handler shares b, whose keys are the paths of requests without their leading slash. Only
// objects whose keys start with one of prefixes are shared, and without any all of them.
// Errors go to report, where it is not nil, and the client hears that something went wrong.
func Handler(b Objects, report func(*http.Request, error), prefixes ...string) http.Handler {
	return &handler{b, report, prefixes}
}

type handler struct {
	bucket   Objects
	report   func(*http.Request, error)
	prefixes []string
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		answer(w, http.StatusMethodNotAllowed, "method not allowed")
		return
	}
	key := strings.TrimPrefix(r.URL.Path, "/")
	err := h.object(w, r, key)
	if key == "" {
		err = h.list(w, r)
	}
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		answer(w, http.StatusNotFound, "no such object")
	default:
		if h.report != nil {
			h.report(r, err)
		}
		w.Header().Set("Retry-After", "5")
		answer(w, http.StatusServiceUnavailable, "not available now")
	}
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}

// shared says whether key may be read.
func (h *handler) shared(key string) bool {
	if len(h.prefixes) == 0 {
		return true
	}
	for _, p := range h.prefixes {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}

// object sends the object under key, or the range of it that is asked for.
func (h *handler) object(w http.ResponseWriter, r *http.Request, key string) error {
	if key == "" {
		return nil
	}
	if store.CheckKey(key) != nil || !h.shared(key) {
		return fmt.Errorf("%q: %w", key, fs.ErrNotExist)
	}
	info, err := h.bucket.Stat(r.Context(), key)
	if err != nil {
		return err
	}
	o := &object{get: func(off int64) (io.ReadCloser, error) { return h.bucket.Get(r.Context(), key, off, -1) }, size: info.Size}
	defer o.Close()
	if err := o.open(); err != nil { // before anything is promised
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-cache")
	if strings.Contains(r.Header.Get("Range"), ",") {
		r.Header.Del("Range")
	}
	content, err := o.content()
	if err != nil {
		return err
	}
	http.ServeContent(w, r, "", info.Time.Truncate(time.Second), content)
	return nil
}

// small is how many bytes are read before they are sent. Only objects of fewer bytes are
// ever replaced by others, and no answer may be of two of them.
const small = 1 << 20

// content is what is sent of o: a file as it is, for the kernel to send by itself, and a
// small object as it was when it was read.
func (o *object) content() (io.ReadSeeker, error) {
	if s, ok := o.body.(io.ReadSeeker); ok {
		return s, nil
	}
	if o.size > small {
		return o, nil
	}
	all, err := io.ReadAll(io.LimitReader(o.body, 2*small))
	return bytes.NewReader(all), err
}

// below are the prefixes of what is shared and starts with prefix, in the order of their
// keys: nobody makes the store go through anything else.
func (h *handler) below(prefix string) []string {
	if h.shared(prefix) {
		return []string{prefix}
	}
	var all []string
	for _, p := range h.prefixes {
		if strings.HasPrefix(p, prefix) {
			all = append(all, p)
		}
	}
	slices.Sort(all)
	return all
}

// fill adds what is found to l, as far as there is room on the page.
func (l *listing) fill(found iter.Seq2[store.Info, error]) error {
	if l.More {
		return nil
	}
	for info, err := range found {
		if err != nil {
			return err
		}
		if l.More = len(l.Objects) == page; l.More {
			break
		}
		l.Objects = append(l.Objects, info)
	}
	return nil
}

// list sends a page of the objects that are asked for.
func (h *handler) list(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	l := listing{Objects: []store.Info{}}
	for _, prefix := range h.below(q.Get("prefix")) {
		if err := l.fill(h.bucket.List(r.Context(), prefix, q.Get("after"))); err != nil {
			return err
		}
	}
	doc, err := json.Marshal(l)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(doc)))
	w.Header().Set("Cache-Control", "no-cache")
	_, err = w.Write(doc)
	if err != nil {
		return nil // the client has gone
	}
	return nil
}

// object is an object of a bucket as something to seek in.
type object struct {
	get  func(off int64) (io.ReadCloser, error)
	size int64
	off  int64
	body io.ReadCloser // from off on; nil after a seek
}

func (o *object) open() error {
	if o.body != nil {
		return nil
	}
	body, err := o.get(o.off)
	o.body = body
	return err
}

func (o *object) Read(p []byte) (int, error) {
	if err := o.open(); err != nil {
		return 0, err
	}
	n, err := o.body.Read(p)
	o.off += int64(n)
	return n, err
}

func (o *object) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += o.off
	case io.SeekEnd:
		off += o.size
	}
	if off < 0 {
		return 0, errors.New("seek before the start")
	}
	if off != o.off {
		o.Close()
		o.off = off
	}
	return off, nil
}

func (o *object) Close() error {
	if o.body == nil {
		return nil
	}
	err := o.body.Close()
	o.body = nil
	return err
}
