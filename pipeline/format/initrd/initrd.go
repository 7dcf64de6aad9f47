// Package initrd reads what a kernel takes as its initramfs: any number of cpio archives
// in a row, each compressed or not, with NUL bytes between them
// (Documentation/driver-api/early-userspace/buffer-format.rst).
package initrd

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/newc"
)

// Align is what every part is padded to with NUL bytes. The kernel finds a plain archive
// only there, and firmware before 2020 (Pi 5: before November 2023) hands over parts of
// other lengths damaged (raspberrypi/firmware#1318, #1843).
const Align = 4

// Padding is the number of NUL bytes that a part of n bytes needs.
func Padding(n int64) int64 { return -n & (Align - 1) }

// Spacing is the number of NUL bytes that end whatever stands in n bytes, so that another
// part can follow: [Padding], and four more, which end an lz4 frame. It has no end of its
// own, and a kernel reads the next four bytes as the length of a block.
func Spacing(n int64) int64 { return Padding(n) + Align }

// Limits bound what all archives together may ask for. Zero values stand for the default.
type Limits struct {
	newc.Limits

	// Ratio is how many times as large as its input the output of a decoder may be, once
	// it is larger than 64 MiB; 500. What real root file systems reach is below 20,
	// what gzip can reach is 1032.
	Ratio int64

	// Archives is how many there may be in a row: 100. Each costs a decoder, whose window
	// alone may have 128 MiB.
	Archives int

	// Text is how many bytes the names and the targets of symlinks may have that a tree
	// keeps, together: 64 MiB.
	Text int64
}

// OrDefault fills in the defaults.
func (l Limits) OrDefault() Limits {
	l.Limits = l.Limits.OrDefault()
	if l.Ratio == 0 {
		l.Ratio = 500
	}
	if l.Archives == 0 {
		l.Archives = 100
	}
	if l.Text == 0 {
		l.Text = 64 << 20
	}
	return l
}

// ratioFrom is from how many plain bytes on the ratio counts.
const ratioFrom = 64 << 20

// Place is where an entry stands.
type Place struct {
	Archive int   // from 1; every compressed member counts as one, and every plain archive
	Offset  int64 // of the header: bytes of plain data from the archive's start
}

func (p Place) String() string { return fmt.Sprintf("archive %d, byte %d", p.Archive, p.Offset) }

// Walk calls visit for every entry of every archive of r, in order, with a reader of its
// body, within the default limits. It stops at the first error, which says which archive
// it is in; archives count from 1. What a kernel would not unpack is an error.
func Walk(r io.Reader, visit func(e newc.Entry, body io.Reader) error) error {
	return WalkLimits(r, Limits{}, func(_ Place, e newc.Entry, body io.Reader) error { return visit(e, body) })
}

// WalkLimits is [Walk] with places and limits. An error of the latter wraps
// [newc.ErrLimit].
func WalkLimits(r io.Reader, l Limits, visit func(p Place, e newc.Entry, body io.Reader) error) error {
	return newWalker(r, l, visit).walk()
}

// walker walks through archives.
type walker struct {
	limits  Limits
	visit   func(Place, newc.Entry, io.Reader) error
	began   func(Member)     // may be nil, as the next two
	ended   func(newc.Entry) // an archive's trailer was read
	closed  func(end int64)  // a member was read
	in      *counter
	r       *bufio.Reader
	archive int
	entries int64
	plain   int64 // bytes decoded
	at      Place
}

func newWalker(r io.Reader, l Limits, visit func(Place, newc.Entry, io.Reader) error) *walker {
	in := &counter{r: r}
	return &walker{archive: 1, limits: l.OrDefault(), visit: visit, in: in, r: bufio.NewReaderSize(in, 64<<10)}
}

// pos is how many bytes of the input were used.
func (w *walker) pos() int64 { return w.in.n - int64(w.r.Buffered()) }

func (w *walker) walk() error {
	for ; ; w.archive++ {
		if _, err := skipNUL(w.r); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		w.at = Place{w.archive, 0}
		if w.archive > w.limits.Archives {
			return fmt.Errorf("at byte %d of the file: more than %d archives: %w", w.pos(), w.limits.Archives, newc.ErrLimit)
		}
		if err := w.member(); err != nil {
			return fmt.Errorf("archive %d: %w", w.archive, err)
		}
		if w.closed != nil {
			w.closed(w.pos())
		}
	}
}

// walkOver is walk, and goes on behind archives without a trailer, as a kernel does.
func (w *walker) walkOver(cut func()) error {
	err := w.walk()
	for errors.Is(err, newc.ErrNoTrailer) {
		cut()
		w.archive++
		err = w.walk()
	}
	return err
}

// errMisaligned is a plain archive that the kernel does not find.
var errMisaligned = errors.New("the kernel finds a plain archive only at multiples of 4 bytes: pad what is before it")

// member walks the archive that r stands at. A plain one ends with its trailer, a
// compressed one with the compressed data, in which again several may follow each other.
func (w *walker) member() error {
	start := w.pos()
	z, format, err := codec.NewReader(w.r)
	if err != nil {
		return fmt.Errorf("at byte %d of the file: %w", start, err)
	}
	defer z.Close()
	if w.began != nil {
		w.began(Member{Offset: start, Format: format})
	}
	if format == codec.None {
		if start%Align != 0 {
			return fmt.Errorf("at byte %d of the file: %w", start, errMisaligned)
		}
		_, err := w.one(w.r, 0)
		return err
	}
	inner := bufio.NewReaderSize(&guard{w: w, z: z}, 64<<10)
	for off := int64(0); ; {
		n, err := skipNUL(inner)
		if err == nil && n > 0 || err == io.EOF {
			err = cmp.Or(w.checkFront(format, off, err), err)
		}
		if off += n; err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("byte %d: %w", off, err)
		}
		if w.at.Offset = off; off%Align != 0 {
			return fmt.Errorf("byte %d: %w", off, errMisaligned)
		}
		n, err = w.one(inner, off)
		if off += n; err != nil {
			return err
		}
	}
}

// checkFront refuses NUL bytes, or nothing, at the front of the first member: only behind
// an archive is the kernel ready to skip them. It refuses nothing in an lz4 frame, which
// was cut off behind its magic.
func (w *walker) checkFront(f codec.Format, off int64, err error) error {
	switch {
	case off > 0:
		return nil
	case err == io.EOF && (w.archive == 1 || f == codec.LZ4):
		return errors.New("there is no archive in it")
	case w.archive == 1:
		return errors.New("the kernel wants the first archive at the front of what is compressed, with no NUL bytes before it")
	}
	return nil
}

// one walks one archive, which begins at base of the member's plain data.
func (w *walker) one(r *bufio.Reader, base int64) (int64, error) {
	l := w.limits.Limits
	l.Entries -= w.entries
	cr := newc.NewReaderLimits(r, l)
	cr.Base = base
	for {
		e, err := cr.Next()
		w.at.Offset = cr.Offset()
		if err == io.EOF {
			if w.ended != nil {
				w.ended(cr.End)
			}
			return cr.Consumed(), nil
		}
		if err != nil {
			return cr.Consumed(), err
		}
		w.entries++
		if err := w.visit(w.at, e, cr); err != nil {
			return cr.Consumed(), at(w.at, e, err)
		}
	}
}

// at says which entry an error is about, where it does not say so itself.
func at(p Place, e newc.Entry, err error) error {
	if told := (*newc.EntryError)(nil); errors.As(err, &told) {
		return err
	}
	return &newc.EntryError{Name: e.Name, Offset: p.Offset, Err: err}
}

// guard stops a decoder that gives too much.
type guard struct {
	w *walker
	z io.Reader
}

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.z.Read(p)
	w := g.w
	w.plain += int64(n)
	if w.plain > w.limits.Size {
		return n, fmt.Errorf("more than %d bytes of plain data: %w", w.limits.Size, newc.ErrLimit)
	}
	// Decoders say late what they have used of the buffer, so that all of it counts.
	if w.plain > ratioFrom && w.plain/w.limits.Ratio > w.in.n {
		return n, fmt.Errorf("%d bytes of plain data out of %d: %w", w.plain, w.in.n, newc.ErrLimit)
	}
	return n, err
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// skipNUL reads NUL bytes and answers how many, and io.EOF where nothing else is left.
func skipNUL(r *bufio.Reader) (int64, error) {
	for n := int64(0); ; n++ {
		b, err := r.ReadByte()
		if err != nil {
			return n, err
		}
		if b != 0 {
			return n, r.UnreadByte()
		}
	}
}
