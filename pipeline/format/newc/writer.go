package newc

import (
	"fmt"
	"io"
	"time"

	"github.com/cavaliergopher/cpio"
)

// Writer writes one archive. It is not for concurrent use.
type Writer struct {
	out  *patcher
	cpio *cpio.Writer
	ino  uint32
}

// NewWriter writes an archive to w, from an offset that is a multiple of 4: the kernel
// finds an uncompressed archive nowhere else.
func NewWriter(w io.Writer) *Writer {
	out := &patcher{w: w}
	return &Writer{out: out, cpio: cpio.NewWriter(out)}
}

// WriteEntry writes e and its body, which has to have e.Size bytes; it may be nil where
// that is 0. Entries without an inode are numbered from 1 on.
func (w *Writer) WriteEntry(e Entry, body io.Reader) error {
	if err := e.check(); err != nil {
		return err
	}
	w.ino++
	if e.Ino == 0 {
		e.Ino = w.ino
	}
	if e.Links == 0 {
		e.Links = 1
		if e.Type() == Dir {
			e.Links = 2
		}
	}
	if err := w.header(e); err != nil {
		return fmt.Errorf("write entry %s: %w", e.Name, err)
	}
	if e.Size == 0 {
		return nil
	}
	n, err := io.Copy(w.cpio, body)
	if err == nil && n != e.Size {
		err = fmt.Errorf("body of %d bytes, the header says %d", n, e.Size)
	}
	if err != nil {
		return fmt.Errorf("write entry %s: %w", e.Name, err)
	}
	return nil
}

// header lets the library write the padding of the entry before and the header of e.
func (w *Writer) header(e Entry) error {
	if err := w.cpio.Flush(); err != nil {
		return err
	}
	w.out.next = &e
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

// Close writes the trailer. The archive's length is a multiple of 4.
func (w *Writer) Close() error {
	if err := w.cpio.Close(); err != nil {
		return fmt.Errorf("end archive: %w", err)
	}
	return nil
}

// patcher puts the device numbers, which the library writes as zeros, into the next
// header that passes.
type patcher struct {
	w    io.Writer
	next *Entry
}

func (p *patcher) Write(b []byte) (int, error) {
	if p.next == nil || len(b) != headerLen {
		return p.w.Write(b)
	}
	e := p.next
	p.next = nil
	h := append([]byte(nil), b...)
	copy(h[62:94], fmt.Sprintf("%08X%08X%08X%08X", e.Dev.Major, e.Dev.Minor, e.RDev.Major, e.RDev.Minor))
	return p.w.Write(h)
}
