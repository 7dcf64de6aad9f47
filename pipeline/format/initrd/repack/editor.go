package repack

import (
	"context"
	"errors"
	"fmt"
	"io"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// editor passes the archives of one member from a source to a sink.
type editor struct {
	src    source
	sink   sink
	plan   *plan
	limits initrd.Limits
	plain  bool                          // the member ends behind the first trailer
	isLast func(end int64) (bool, error) // whether nothing follows the member

	buf  []byte // old data that is undecided, from off on
	own  []byte // the memory of buf where it is not the source's
	off  int64
	read int64
	eof  bool
	sum  uint32
}

const (
	ratioFrom  = 64 << 20 // bytes, as in initrd.Limits
	maxPadding = 1 << 20  // NUL bytes behind a trailer
)

// more sees to it that n old bytes are there, and says whether they are.
func (e *editor) more(ctx context.Context, n int) (bool, error) {
	for len(e.buf) < n && !e.eof {
		if len(e.buf) > 0 { // the source's memory is about to go
			e.own = append(e.own[:0], e.buf...)
		}
		b, block, err := e.src.next(ctx)
		if err == io.EOF {
			e.eof, e.buf = true, e.own[:len(e.buf)]
			break
		}
		if err != nil {
			return false, err
		}
		if block.Bit >= 0 {
			e.sink.block(block)
		}
		if len(e.buf) > 0 {
			e.own = append(e.own, b...)
			e.buf = e.own
		} else {
			e.buf = b
		}
		if e.read += int64(len(b)); e.read > ratioFrom && e.read/e.limits.Ratio > e.src.used() || e.plan.stats.Plain+e.read > e.limits.Size {
			return false, fmt.Errorf("%d bytes of plain data out of %d: %w", e.read, e.src.used(), newc.ErrLimit)
		}
	}
	return len(e.buf) >= n, nil
}

func (e *editor) keep(n int) error {
	err := e.sink.keep(e.buf[:n])
	e.buf, e.off = e.buf[n:], e.off+int64(n)
	return err
}

func (e *editor) drop(n int) error {
	e.buf, e.off = e.buf[n:], e.off+int64(n)
	return e.sink.drop(int64(n))
}

// run edits the member up to its end. After it, off is the length of its plain data.
func (e *editor) run(ctx context.Context) (last bool, err error) {
	for {
		at := e.off
		name, err := e.entry(ctx)
		if err != nil {
			if name != "" {
				return false, fmt.Errorf("entry %.80q at byte %d: %w", name, at, err)
			}
			return false, fmt.Errorf("byte %d: %w", at, err)
		}
		if name != newc.Trailer {
			continue
		}
		if ended, last, err := e.trailer(ctx); err != nil || ended {
			return last, err
		}
	}
}

var errTruncated = fmt.Errorf("the archive ends here, inside an entry or without a trailer: %w", newc.ErrFormat)

// entry handles the entry at buf and answers its name; a trailer is left where it is.
func (e *editor) entry(ctx context.Context) (string, error) {
	if ok, err := e.more(ctx, newc.HeaderLen); err != nil || !ok {
		return "", orTruncated(err)
	}
	entry, n, err := newc.DecodeHeader(e.buf, e.limits.Name)
	if err != nil {
		return "", err
	}
	e.plan.summed = entry.Summed
	head := newc.HeaderLen + newc.NameLen(n)
	if ok, err := e.more(ctx, head); err != nil || !ok {
		return "", orTruncated(err)
	}
	if entry.Name, err = newc.DecodeName(e.buf[newc.HeaderLen:head], n); err != nil || entry.Name == newc.Trailer {
		if err == nil && entry.Size != 0 {
			err = fmt.Errorf("trailer with a body of %d bytes: %w", entry.Size, newc.ErrFormat)
		}
		return entry.Name, err
	}
	if e.plan.text += int64(n); e.plan.text > e.limits.Text {
		return entry.Name, fmt.Errorf("names of more than %d bytes: %w", e.limits.Text, newc.ErrLimit)
	}
	if e.plan.stats.Entries++; e.plan.stats.Entries > e.limits.Entries {
		return entry.Name, fmt.Errorf("more than %d entries: %w", e.limits.Entries, newc.ErrLimit)
	}
	v, err := e.plan.decide(entry)
	if err == nil {
		err = e.apply(ctx, entry, v, head)
	}
	return entry.Name, err
}

func orTruncated(err error) error {
	if err == nil {
		err = errTruncated
	}
	return err
}

// apply does what the plan says to the entry at buf.
func (e *editor) apply(ctx context.Context, old newc.Entry, v verdict, head int) error {
	for _, dir := range v.before {
		if err := e.sink.insert(e.plan.header(dir)); err != nil {
			return err
		}
	}
	switch {
	case v.drop:
		if err := e.drop(head); err != nil {
			return err
		}
	case v.change:
		if err := e.change(old, v, head); err != nil {
			return err
		}
	default:
		if err := e.keep(head); err != nil {
			return err
		}
	}
	return e.body(ctx, old, v)
}

// change writes the header anew; where the name stays, only the fields.
func (e *editor) change(old newc.Entry, v verdict, head int) error {
	h := newc.AppendHeader(nil, v.entry)
	if v.entry.Name == old.Name {
		h, head = h[:newc.HeaderLen], newc.HeaderLen
	}
	if err := e.sink.insert(h); err != nil {
		return err
	}
	if err := e.drop(head); err != nil {
		return err
	}
	if v.entry.Name == old.Name {
		if err := e.keep(newc.NameLen(len(old.Name) + 1)); err != nil {
			return err
		}
	}
	if len(v.body) == 0 {
		return nil
	}
	return e.sink.insert(append(v.body, make([]byte, -len(v.body)&3)...))
}

// body passes the body of an entry on, or not.
func (e *editor) body(ctx context.Context, old newc.Entry, v verdict) error {
	e.sum = 0
	summed := old.Summed && old.Type() == newc.Regular
	for left := old.Size; left > 0; {
		n, err := e.some(ctx, left)
		if err != nil {
			return err
		}
		if summed {
			e.sum += newc.Sum(e.buf[:n])
		}
		if v.spool != nil {
			v.spool.spool = append(v.spool.spool, e.buf[:n]...)
		}
		if err := e.pass(n, v.drop); err != nil {
			return err
		}
		left -= int64(n)
	}
	if summed && e.sum != old.Sum {
		return fmt.Errorf("checksum %08x, the header says %08x: %w", e.sum, old.Sum, newc.ErrFormat)
	}
	pad := int(-old.Size & 3)
	if ok, err := e.more(ctx, pad); err != nil || !ok {
		return orTruncated(err)
	}
	return e.pass(pad, v.drop)
}

func (e *editor) pass(n int, drop bool) error {
	if drop {
		return e.drop(n)
	}
	return e.keep(n)
}

// some is how many old bytes are there, 1 or more and n at most.
func (e *editor) some(ctx context.Context, n int64) (int, error) {
	if ok, err := e.more(ctx, 1); err != nil || !ok {
		return 0, orTruncated(err)
	}
	return int(min(n, int64(len(e.buf)))), nil
}

// trailer handles the trailer at buf and the NUL bytes behind it. What is added goes
// before the last trailer of all.
func (e *editor) trailer(ctx context.Context) (ended, last bool, err error) {
	head := newc.HeaderLen + newc.NameLen(len(newc.Trailer)+1)
	n := head
	for {
		ok, err := e.more(ctx, n+1)
		if err != nil {
			return false, false, err
		}
		if !ok || e.buf[n] != 0 {
			break
		}
		if n++; n-head > maxPadding {
			return false, false, fmt.Errorf("byte %d: more than %d bytes of padding: %w", e.off, maxPadding, newc.ErrLimit)
		}
	}
	if e.plain {
		n = head
	} else if len(e.buf) > n {
		if (e.off+int64(n))%initrd.Align != 0 {
			return false, false, errors.New("an archive at no multiple of 4 bytes, where the kernel does not find it")
		}
		e.plan.serial++
		return false, false, e.keep(n)
	}
	e.plan.serial++
	if last, err = e.isLast(e.off + int64(n)); err != nil {
		return true, last, err
	}
	if last {
		if err := e.add(ctx); err != nil {
			return true, last, err
		}
	}
	return true, last, e.keep(n)
}

// add writes the new files.
func (e *editor) add(ctx context.Context) error {
	all, err := e.plan.added()
	if err != nil {
		return err
	}
	for _, a := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.addOne(a); err != nil {
			return wrong(a.Label, "add %s: %w", a.Entry.Name, err)
		}
		e.plan.stats.Added++
	}
	return nil
}

func (e *editor) addOne(a *Add) error {
	entry := a.Entry
	if e.plan.summed && entry.Type() == newc.Regular && entry.Size > 0 {
		sum := &summer{}
		if err := a.copyTo(sum); err != nil {
			return err
		}
		entry.Sum = sum.sum
	}
	if err := e.sink.insert(e.plan.header(entry)); err != nil || entry.Size == 0 {
		return err
	}
	if err := a.copyTo(inserter{e.sink}); err != nil {
		return err
	}
	return e.sink.insert(make([]byte, -entry.Size&3))
}

// copyTo copies the body.
func (a *Add) copyTo(w io.Writer) error {
	r, err := a.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.Copy(w, io.LimitReader(r, a.Entry.Size+1))
	if err == nil && n != a.Entry.Size {
		err = fmt.Errorf("body of %d bytes or more, %d were declared", n, a.Entry.Size)
	}
	return err
}

// summer adds up the checksum of 070702.
type summer struct{ sum uint32 }

func (s *summer) Write(p []byte) (int, error) {
	s.sum += newc.Sum(p)
	return len(p), nil
}

type inserter struct{ sink }

func (i inserter) Write(p []byte) (int, error) { return len(p), i.insert(p) }

// header is that of a new file: an inode of its own, the epoch as its time, and the magic
// of the archive, since GNU cpio passes over entries of another one.
func (p *plan) header(n newc.Entry) []byte {
	p.ino++
	n.Ino, n.Links, n.Dev, n.Time, n.Summed = p.ino, 1, newc.Device{}, p.epoch, p.summed
	if n.Type() == newc.Dir {
		n.Links = 2
	}
	return newc.AppendHeader(nil, n)
}

// format is what a member is written as.
func (o Options) format(old codec.Format, early bool) codec.Format {
	switch {
	case early && old == codec.None:
		return codec.None
	case o.Format != "":
		return o.Format
	case codec.CanWrite(old):
		return old
	}
	return codec.Gzip
}
