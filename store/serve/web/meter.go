package web

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"piimg/store/serve"
)

// meter is a ResponseWriter that gives a client time as long as it takes something,
// and keeps what http.ServeContent does not tell.
type meter struct {
	http.ResponseWriter
	file    *source
	control *http.ResponseController
	stall   time.Duration
	head    bool // no body is asked for

	status   int
	sent     int64
	writeErr error
}

func newMeter(w http.ResponseWriter, r *http.Request, f *source, stall time.Duration) *meter {
	return &meter{
		ResponseWriter: w,
		file:           f,
		control:        http.NewResponseController(w),
		stall:          stall,
		head:           r.Method == http.MethodHead,
	}
}

func (m *meter) WriteHeader(status int) {
	m.status = status
	m.ResponseWriter.WriteHeader(status)
}

func (m *meter) Write(p []byte) (int, error) {
	allow(m.control, m.stall)
	n, err := m.ResponseWriter.Write(p)
	m.sent += int64(n)
	if err != nil {
		m.writeErr = err
	}
	return n, err
}

// ReadFrom lets the connection send the file by itself where it can.
func (m *meter) ReadFrom(r io.Reader) (int64, error) {
	allow(m.control, m.stall)
	to, ok := m.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(writerOnly{m}, r)
	}
	n, err := to.ReadFrom(r)
	m.sent += n
	if err != nil {
		m.writeErr = err
	}
	return n, err
}

// steady gives a client time as long as it takes something.
type steady struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
}

func (s *steady) Write(p []byte) (int, error) {
	allow(s.control, s.stall)
	return s.ResponseWriter.Write(p)
}

// allow gives the client time until it has to have taken something. A ResponseWriter
// that knows no deadlines has none.
func allow(c *http.ResponseController, stall time.Duration) {
	_ = c.SetWriteDeadline(time.Now().Add(stall))
}

// result says how the transfer of a file of size bytes went, once it has ended.
func (m *meter) result(size int64) serve.Result {
	switch {
	case m.file.err != nil:
		return serve.Failed
	case m.writeErr != nil:
		return serve.Aborted
	case m.status == http.StatusNotModified:
		return serve.OK // the client has it
	case m.head || m.status != http.StatusOK && m.status != http.StatusPartialContent:
		return serve.Probe
	case strconv.FormatInt(m.sent, 10) != m.Header().Get("Content-Length"):
		return serve.Aborted
	case m.end(size) < size:
		return serve.Probe // it wanted a piece from the middle
	}
	return serve.OK
}

// end is the offset of the byte after the last one sent.
func (m *meter) end(size int64) int64 {
	var first, last int64
	if n, _ := fmt.Sscanf(m.Header().Get("Content-Range"), "bytes %d-%d/", &first, &last); n == 2 {
		return last + 1
	}
	return size
}
