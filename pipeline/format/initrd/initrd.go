// Package initrd reads what a kernel takes as its initramfs: any number of cpio archives
// in a row, each compressed or not, with NUL bytes between them
// (Documentation/driver-api/early-userspace/buffer-format.rst).
package initrd

import (
	"bufio"
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

// Walk calls visit for every entry of every archive of r, in order, with a reader of its
// body. It stops at the first error, which says which archive it is in; archives count
// from 1.
func Walk(r io.Reader, visit func(e newc.Entry, body io.Reader) error) error {
	br := bufio.NewReaderSize(r, 64<<10)
	for n := 1; ; n++ {
		if err := skipNUL(br); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := member(br, visit); err != nil {
			return fmt.Errorf("archive %d: %w", n, err)
		}
	}
}

// member walks the archive that r stands at. A plain one ends with its trailer, a
// compressed one with the compressed data, in which again several may follow each other.
func member(r *bufio.Reader, visit func(newc.Entry, io.Reader) error) error {
	z, format, err := codec.NewReader(r)
	if err != nil {
		return err
	}
	defer z.Close()
	if format == codec.None {
		return archive(r, visit)
	}
	inner := bufio.NewReaderSize(z, 64<<10)
	for {
		if err := skipNUL(inner); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := archive(inner, visit); err != nil {
			return err
		}
	}
}

func archive(r *bufio.Reader, visit func(newc.Entry, io.Reader) error) error {
	cr := newc.NewReader(r)
	for {
		e, err := cr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := visit(e, cr); err != nil {
			return fmt.Errorf("entry %s: %w", e.Name, err)
		}
	}
}

// skipNUL reads NUL bytes and answers io.EOF where nothing else is left.
func skipNUL(r *bufio.Reader) error {
	for {
		b, err := r.ReadByte()
		if err != nil {
			return err
		}
		if b != 0 {
			return r.UnreadByte()
		}
	}
}
