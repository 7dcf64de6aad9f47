package newc

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// ErrFormat is damage in an archive. Errors that wrap it say where.
var ErrFormat = errors.New("malformed cpio archive")

// Reader reads one archive, up to and with its trailer. The library's own reader loses
// device numbers, takes bad digits for 0 and does not notice a body that is cut off, so
// that headers are decoded here. It is not for concurrent use.
type Reader struct {
	r    *bufio.Reader
	off  int64 // read so far
	left int64 // of the body
	pad  int64 // after the body
}

// NewReader reads from r, which stands at the first header.
func NewReader(r *bufio.Reader) *Reader { return &Reader{r: r} }

// Next skips the rest of the entry before and reads a header. After the trailer it
// answers io.EOF, and r stands right behind it.
func (r *Reader) Next() (Entry, error) {
	if err := r.skip(r.left + r.pad); err != nil {
		return Entry{}, err
	}
	r.left, r.pad = 0, 0
	at := r.off
	e, err := r.header()
	if err != nil {
		return Entry{}, fmt.Errorf("header at byte %d: %w", at, err)
	}
	if e.Name == trailer {
		return Entry{}, io.EOF
	}
	r.left, r.pad = e.Size, -e.Size&3
	return e, nil
}

// Read reads the body of the entry that Next returned.
func (r *Reader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.r.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	r.off += int64(n)
	if err == io.EOF {
		err = fmt.Errorf("body ends at byte %d, %d bytes early: %w", r.off, r.left, ErrFormat)
	}
	return n, err
}

func (r *Reader) skip(n int64) error {
	for n > 0 {
		k, err := r.r.Discard(int(min(n, 1<<20)))
		r.off += int64(k)
		n -= int64(k)
		if err != nil {
			return fmt.Errorf("archive ends at byte %d, inside an entry: %w", r.off, ErrFormat)
		}
	}
	return nil
}

func (r *Reader) header() (Entry, error) {
	var h [headerLen]byte
	if err := r.full(h[:]); err != nil {
		return Entry{}, err
	}
	magic := string(h[:magicLen])
	if magic != "070701" && magic != "070702" {
		return Entry{}, fmt.Errorf("magic %q: %w", magic, ErrFormat)
	}
	var f [13]uint32
	for n := range f {
		v, err := field(h[magicLen+8*n:][:8])
		if err != nil {
			return Entry{}, err
		}
		f[n] = v
	}
	e := Entry{
		Ino: f[0], Mode: f[1], UID: f[2], GID: f[3], Links: f[4], Time: f[5], Size: int64(f[6]),
		Dev: Device{f[7], f[8]}, RDev: Device{f[9], f[10]},
	}
	if f[11] < 1 || f[11] > maxName {
		return Entry{}, fmt.Errorf("name of %d bytes: %w", f[11], ErrFormat)
	}
	name := make([]byte, f[11]+-(headerLen+f[11])&3)
	if err := r.full(name); err != nil {
		return Entry{}, err
	}
	end := bytes.IndexByte(name, 0)
	if end != int(f[11])-1 {
		return Entry{}, fmt.Errorf("name %q is not ended by its last byte: %w", name[:f[11]], ErrFormat)
	}
	e.Name = string(name[:end])
	return e, nil
}

func (r *Reader) full(b []byte) error {
	n, err := io.ReadFull(r.r, b)
	r.off += int64(n)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("archive ends at byte %d without a trailer: %w", r.off, ErrFormat)
	}
	return err
}

// field decodes eight hexadecimal digits of either case.
func field(b []byte) (uint32, error) {
	var raw [4]byte
	if _, err := hex.Decode(raw[:], b); err != nil {
		return 0, fmt.Errorf("field %q is no hexadecimal number: %w", b, ErrFormat)
	}
	return uint32(raw[0])<<24 | uint32(raw[1])<<16 | uint32(raw[2])<<8 | uint32(raw[3]), nil
}
