package newc

import (
	"fmt"
	"io"
	"time"

	"github.com/cavaliergopher/cpio"
)

// Writer writes one archive. It is not for concurrent use.
type Writer struct {
	// Exact writes Ino and Links as they are, 0 included.
	Exact bool

	out  *patcher
	cpio *cpio.Writer
	ino  uint32
	last Entry
}

// NewWriter writes an archive to w, from an offset that is a multiple of 4: the kernel
// finds an uncompressed archive nowhere else.
func NewWriter(w io.Writer) *Writer {
	out := &patcher{w: w}
	return &Writer{out: out, cpio: cpio.NewWriter(out)}
}

// WriteEntry writes e and its body, which has to have e.Size bytes; it may be nil where
// that is 0. Entries without an inode are numbered from 1 on, which may meet a number that
// the caller gave; only entries of more than one link are told apart by it. Where e.Summed
// is set, e.Sum has to be the [Sum] of the body.
func (w *Writer) WriteEntry(e Entry, body io.Reader) error {
	if err := e.check(); err != nil {
		return err
	}
	w.ino++
	if !w.Exact {
		e = w.number(e)
	}
	if err := w.header(e); err != nil {
		return fmt.Errorf("write entry %s: %w", e.Name, err)
	}
	if e.Size == 0 {
		return nil
	}
	if err := w.body(e, body); err != nil {
		return fmt.Errorf("write entry %s: %w", e.Name, err)
	}
	return nil
}

func (w *Writer) number(e Entry) Entry {
	if e.Ino == 0 {
		e.Ino = w.ino
	}
	if e.Links == 0 {
		e.Links = 1
		if e.Type() == Dir {
			e.Links = 2
		}
	}
	return e
}

func (w *Writer) body(e Entry, body io.Reader) error {
	sum := summer{w: w.cpio, on: e.Summed && e.Type() == Regular}
	n, err := io.Copy(&sum, body)
	switch {
	case err != nil:
		return err
	case n != e.Size:
		return fmt.Errorf("body of %d bytes, the header says %d", n, e.Size)
	case sum.on && sum.sum != e.Sum:
		return fmt.Errorf("body has checksum %08x, the header says %08x", sum.sum, e.Sum)
	}
	return nil
}

// summer adds up what it passes on.
type summer struct {
	w   io.Writer
	on  bool
	sum uint32
}

func (s *summer) Write(p []byte) (int, error) {
	if s.on {
		s.sum += Sum(p)
	}
	return s.w.Write(p)
}

// header lets the library write the padding of the entry before and the header of e.
func (w *Writer) header(e Entry) error {
	if err := w.cpio.Flush(); err != nil {
		return err
	}
	w.out.next, w.last = &e, e
	return w.cpio.WriteHeader(&cpio.Header{
		Name:    e.Name,
		Inode:   int64(e.Ino),
		Mode:    cpio.FileMode(e.Mode),
		Uid:     int(e.UID),
		Guid:    int(e.GID),
		Links:   int(e.Links),
		ModTime: time.Unix(int64(e.Time), 0),
		Size:    e.Size,
	})
}

// Close writes the trailer, with the magic of the last entry: GNU cpio takes entries of
// another magic than the first one's for damage. The archive's length is a multiple of 4.
func (w *Writer) Close() error {
	if w.last.Summed {
		if err := w.cpio.Flush(); err != nil {
			return fmt.Errorf("end archive: %w", err)
		}
		w.out.next = &Entry{Name: Trailer, Links: 1, Summed: true}
	}
	if err := w.cpio.Close(); err != nil {
		return fmt.Errorf("end archive: %w", err)
	}
	return nil
}

// patcher puts its own header in the place of the next one of the library, which writes
// device numbers as zeros.
type patcher struct {
	w    io.Writer
	next *Entry
}

func (p *patcher) Write(b []byte) (int, error) {
	if p.next == nil || len(b) != HeaderLen {
		return p.w.Write(b)
	}
	e := *p.next
	p.next = nil
	return p.w.Write(appendFields(make([]byte, 0, HeaderLen), e, len(e.Name)+1))
}
