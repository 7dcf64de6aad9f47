package codec

import (
	"bytes"
	"errors"
	"io"
	"runtime"

	"github.com/klauspost/compress/flate"
)

const (
	chunkSize  = 512 << 10 // bytes of plain data that one processor encodes at a time
	windowSize = 32 << 10  // how far back deflate may refer
	maxWorkers = 8         // bounds the memory
)

// Deflater compresses to deflate blocks on all processors. Its output is cut into chunks
// by length alone and each is encoded with the 32 KiB before it as its dictionary, so that
// the bytes depend neither on the number of processors nor on timing. Every chunk ends on
// a byte border, and none is marked as the last one: whoever owns the stream ends it. It
// is not for concurrent use.
type Deflater struct {
	w       io.Writer
	level   int
	window  []byte // up to 32 KiB before chunk
	chunk   []byte
	queue   []chan deflated // in order
	idle    []*flate.Writer
	workers int
	err     error
}

// deflated is a chunk's result.
type deflated struct {
	b   []byte
	z   *flate.Writer
	err error
}

// NewDeflater compresses to w. What it has been given is in w after [Deflater.Flush].
func NewDeflater(w io.Writer, l Level) *Deflater {
	return &Deflater{w: w, level: l.gzip(), workers: min(runtime.GOMAXPROCS(0), maxWorkers)}
}

// Write takes p and answers errors of earlier chunks.
func (d *Deflater) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k := min(len(p), chunkSize-len(d.chunk))
		d.chunk = append(d.chunk, p[:k]...)
		p = p[k:]
		if len(d.chunk) == chunkSize {
			d.start()
		}
	}
	return n, d.err
}

// Flush waits until all that was written is in w.
func (d *Deflater) Flush() error {
	if len(d.chunk) > 0 {
		d.start()
	}
	for len(d.queue) > 0 {
		d.collect()
	}
	return d.err
}

// Skip tells that the decoder gets p, which is not in w, before what is written next.
// Everything has to be flushed.
func (d *Deflater) Skip(p []byte) error {
	if len(d.chunk) > 0 || len(d.queue) > 0 {
		return errors.New("deflate: unflushed data before skipped data")
	}
	d.slide(p)
	return d.err
}

// slide appends p to the window.
func (d *Deflater) slide(p []byte) {
	p = p[max(0, len(p)-windowSize):]
	keep := d.window[max(0, len(d.window)+len(p)-windowSize):]
	d.window = append(append(make([]byte, 0, windowSize), keep...), p...)
}

// start has the chunk encoded while the next one is gathered.
func (d *Deflater) start() {
	if len(d.queue) == d.workers {
		d.collect()
	}
	var z *flate.Writer
	if n := len(d.idle); n > 0 {
		z, d.idle = d.idle[n-1], d.idle[:n-1]
	}
	done := make(chan deflated, 1)
	go func(chunk, window []byte, level int) { done <- encode(z, chunk, window, level) }(d.chunk, d.window, d.level)
	d.queue = append(d.queue, done)
	d.slide(d.chunk)
	d.chunk = make([]byte, 0, min(chunkSize, 2*len(d.chunk)))
}

// collect writes the oldest chunk.
func (d *Deflater) collect() {
	r := <-d.queue[0]
	d.queue = d.queue[1:]
	if r.z != nil {
		d.idle = append(d.idle, r.z)
	}
	if d.err == nil {
		d.err = r.err
	}
	if d.err == nil {
		_, d.err = d.w.Write(r.b)
	}
}

// encode encodes one chunk with z, which it makes where it is nil.
func encode(z *flate.Writer, chunk, window []byte, level int) deflated {
	out := bytes.NewBuffer(make([]byte, 0, len(chunk)/2+64))
	if z == nil {
		var err error
		if z, err = flate.NewWriter(nil, level); err != nil {
			return deflated{err: err}
		}
	}
	z.ResetDict(out, window)
	if _, err := z.Write(chunk); err != nil {
		return deflated{err: err}
	}
	if err := z.Flush(); err != nil {
		return deflated{err: err}
	}
	return deflated{b: out.Bytes(), z: z}
}
