package newc

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// ErrFormat is damage in an archive. Errors that wrap it say where.
var ErrFormat = errors.New("malformed cpio archive")

// ErrNoTrailer is an archive that ends between two entries. It wraps [ErrFormat]; a kernel
// does not mind (init/initramfs.c forgets hard links at a trailer, nothing else).
var ErrNoTrailer = fmt.Errorf("archive ends without a trailer: %w", ErrFormat)

// ErrLimit is an archive larger than its reader was told to take.
var ErrLimit = errors.New("archive exceeds a limit")

// Limits bound what an archive may ask for. Zero values stand for the default.
type Limits struct {
	Name    int   // bytes of a name with its NUL; 4096, which is the kernel's limit
	Entries int64 // of an archive; 1<<20
	Size    int64 // bytes of an archive, plain; 16 GiB
}

// OrDefault fills in the defaults.
func (l Limits) OrDefault() Limits {
	if l.Name == 0 {
		l.Name = maxName
	}
	if l.Entries == 0 {
		l.Entries = 1 << 20
	}
	if l.Size == 0 {
		l.Size = 16 << 30
	}
	return l
}

// Reader reads one archive, up to and with its trailer. The library's own reader loses
// device numbers, takes bad digits for 0, does not verify checksums and does not notice a
// body that is cut off, so that archives are decoded here. It is not for concurrent use.
type Reader struct {
	// Base is where the archive begins in what the offsets of errors count from; 0.
	Base int64

	// End is the trailer, once Next has answered io.EOF. Nothing reads its fields.
	End Entry

	r      *bufio.Reader
	limits Limits
	name   []byte
	off    int64 // read so far
	at     int64 // header of the current entry
	count  int64
	entry  Entry
	left   int64 // of the body
	pad    int64 // after the body
	sum    uint32
}

// NewReader reads from r, which stands at the first header, within the default limits.
func NewReader(r *bufio.Reader) *Reader { return NewReaderLimits(r, Limits{}) }

// NewReaderLimits reads from r, which stands at the first header.
func NewReaderLimits(r *bufio.Reader, l Limits) *Reader {
	return &Reader{r: r, limits: l.OrDefault()}
}

// Offset is where the header of the current entry begins, in bytes from where Base counts
// from; after an error, of the entry that is damaged.
func (r *Reader) Offset() int64 { return r.Base + r.at }

// Consumed is how many bytes of the archive were read.
func (r *Reader) Consumed() int64 { return r.off }

// Next skips the rest of the entry before and reads a header. After the trailer it
// answers io.EOF, and the underlying reader stands right behind it. Other errors wrap
// [ErrFormat], [ErrNoTrailer], [ErrLimit] or the underlying reader's and name the offset.
func (r *Reader) Next() (Entry, error) {
	if err := r.finish(); err != nil {
		return Entry{}, err
	}
	r.at, r.entry = r.off, Entry{}
	e, err := r.header()
	if err != nil {
		return Entry{}, fmt.Errorf("header at byte %d: %w", r.Offset(), err)
	}
	if e.Name == Trailer {
		return Entry{}, r.trailer(e)
	}
	r.entry = e
	if r.count++; r.count > r.limits.Entries {
		return Entry{}, r.failed(fmt.Errorf("more than %d entries: %w", r.limits.Entries, ErrLimit))
	}
	if r.off+e.Size > r.limits.Size {
		return Entry{}, r.failed(fmt.Errorf("more than %d bytes: %w", r.limits.Size, ErrLimit))
	}
	r.left, r.pad, r.sum = e.Size, -e.Size&3, 0
	if e.Size == 0 {
		return e, r.checkSum() // the kernel looks at that of an empty file, too
	}
	return e, nil
}

// trailer is io.EOF: the kernel takes no entry with a body for the end, unless it is a file.
func (r *Reader) trailer(e Entry) error {
	if e.Size != 0 {
		return fmt.Errorf("header at byte %d: trailer with a body of %d bytes: %w", r.Offset(), e.Size, ErrFormat)
	}
	r.End = e
	return io.EOF
}

// EntryError is trouble with one entry. Only what is wrong with a header, whose name may
// not even be known, is told otherwise.
type EntryError struct {
	Name   string
	Offset int64 // of the header, as [Reader.Offset]
	Err    error
}

func (e *EntryError) Error() string {
	return fmt.Sprintf("entry %.80q at byte %d: %v", e.Name, e.Offset, e.Err)
}
func (e *EntryError) Unwrap() error { return e.Err }

func (r *Reader) failed(err error) error {
	return &EntryError{Name: r.entry.Name, Offset: r.Offset(), Err: err}
}

// Read reads the body of the entry that Next returned. A body that ends early or has
// another checksum than the header says is an [ErrFormat].
func (r *Reader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.r.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	r.off += int64(n)
	r.add(p[:n])
	switch {
	case err == io.EOF && r.left > 0:
		return n, r.short()
	case err != nil && err != io.EOF:
		return n, r.failed(err)
	case r.left == 0:
		return n, r.checkSum()
	}
	return n, nil
}

func (r *Reader) short() error {
	early := r.left
	if early == 0 {
		early = r.pad
	}
	return r.failed(fmt.Errorf("body ends at byte %d, %d bytes early: %w", r.Base+r.off, early, ErrFormat))
}

// summed says whether the kernel checks the body's sum.
func (r *Reader) summed() bool { return r.entry.Summed && r.entry.Type() == Regular }

func (r *Reader) add(b []byte) {
	if r.summed() {
		r.sum += Sum(b)
	}
}

func (r *Reader) checkSum() error {
	if r.summed() && r.sum != r.entry.Sum {
		return r.failed(fmt.Errorf("checksum %08x, the header says %08x: %w", r.sum, r.entry.Sum, ErrFormat))
	}
	return nil
}

// Sum is the checksum of 070702 over b; sums of parts add up.
func Sum(b []byte) uint32 {
	var sum uint32
	for _, c := range b {
		sum += uint32(c)
	}
	return sum
}

// finish reads the rest of a body and its padding.
func (r *Reader) finish() error {
	if r.left > 0 && r.summed() {
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{r}); err != nil {
			return err
		}
	}
	for r.left > 0 {
		n, err := r.r.Discard(int(min(r.left, 1<<20)))
		r.left -= int64(n)
		r.off += int64(n)
		if err == io.EOF {
			return r.short()
		} else if err != nil {
			return r.failed(err)
		}
	}
	n, err := r.r.Discard(int(r.pad))
	r.off += int64(n)
	r.pad -= int64(n)
	if err == io.EOF {
		return r.short()
	} else if err != nil {
		return r.failed(err)
	}
	return nil
}

func (r *Reader) header() (Entry, error) {
	var h [HeaderLen]byte
	if n, err := r.full(h[:]); n == 0 && err == io.EOF {
		return Entry{}, ErrNoTrailer
	} else if err != nil {
		return Entry{}, r.truncated(err)
	}
	e, n, err := DecodeHeader(h[:], r.limits.Name)
	if err != nil {
		return Entry{}, err
	}
	if cap(r.name) < NameLen(n) {
		r.name = make([]byte, NameLen(n))
	}
	r.name = r.name[:NameLen(n)]
	if _, err := r.full(r.name); err != nil {
		return Entry{}, r.truncated(err)
	}
	e.Name, err = DecodeName(r.name, n)
	return e, err
}

// full fills b, with the errors of io.ReadFull.
func (r *Reader) full(b []byte) (int, error) {
	n, err := io.ReadFull(r.r, b)
	r.off += int64(n)
	return n, err
}

func (r *Reader) truncated(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("archive ends at byte %d, inside it: %w", r.Base+r.off, ErrFormat)
	}
	return err
}
