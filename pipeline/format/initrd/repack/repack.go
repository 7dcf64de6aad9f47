// Package repack writes an initramfs anew with files added, removed, renamed and changed,
// in one pass, without unpacking anything: nothing touches the disk, and nobody has to be
// root.
//
// The order, inodes and times of the base stay, and so does its division into archives,
// each of which is one compressed member; new files come last. Where a gzip member becomes
// a gzip member, its deflate blocks are copied bit by bit where no edit touches them.
// Memory is bounded: some 40 MiB (the windows of zstd and xz come on top), and some 300
// bytes for each entry.
package repack

import (
	"context"
	"fmt"
	"io"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// Options are how to repack. The zero value keeps the compression where it can be written,
// re-uses compressed data, and takes 1970 for the time of new files.
type Options struct {
	// Format compresses every member but plain ones with others behind them: a kernel may
	// have to find those as they are. "" keeps what a member has, and gzip where that
	// cannot be written.
	Format codec.Format
	Level  codec.Level // of what is encoded anew
	// Recompress encodes gzip members from scratch.
	Recompress bool
	Epoch      uint32 // time of new files, Unix seconds
	Limits     initrd.Limits
	// ReadTree is asked for the tree of what stands before an overlay; nil reads it.
	ReadTree func(base io.ReaderAt, size int64, l initrd.Limits) (*initrd.Tree, error)
}

func (o Options) readTree(base io.ReaderAt, size int64) (*initrd.Tree, error) {
	if o.ReadTree != nil {
		return o.ReadTree(base, size, o.Limits)
	}
	return initrd.ReadTree(io.NewSectionReader(base, 0, size), o.Limits)
}

// AutoLevel is what to spend where nobody says: as little as gives most of the size where
// everything is encoded anew, and the best where that is an overlay, or a few blocks of
// gzip around the edits.
func (o Options) AutoLevel(normalize bool) codec.Level {
	if o.Recompress || normalize || o.Format == codec.Zstd {
		return codec.Default
	}
	return codec.Best
}

// Stats are what was done.
type Stats struct {
	Archives int   // members, plain or compressed
	Entries  int64 // of the base
	Added    int   // with the folders they needed
	Removed  int   // names
	Changed  int   // names with another header
	Plain    int64 // bytes of the base's plain data
	Written  int64 // bytes
	Reused   int64 // bytes of those that were copied compressed
}

// Repack writes base, of size bytes, to w with edits, padded to [initrd.Align]. The bytes
// depend on base, edits, options and [codec.Encoder] alone. After an error, what is in w
// is worth nothing; damage, names that lead out of the tree, limits, and edits that match
// nothing are errors, which name the archive, the offset and the entry, or the edit's
// label.
func Repack(ctx context.Context, base io.ReaderAt, size int64, edits Edits, w io.Writer, o Options) (Stats, error) {
	return repackOn(ctx, base, size, edits, nil, w, o)
}

// repackOn is Repack of what stands behind archives that a kernel makes under of.
func repackOn(ctx context.Context, base io.ReaderAt, size int64, edits Edits, under *initrd.Tree, w io.Writer, o Options) (Stats, error) {
	var stats Stats
	p, err := newPlan(edits, o.Epoch, &stats)
	if err != nil {
		return stats, err
	}
	if err := p.standOn(under); err != nil {
		return stats, err
	}
	out := &countWriter{w: w}
	r := repacker{base: base, size: size, plan: p, out: out, options: o, limits: o.Limits.OrDefault()}
	for last := false; !last; {
		if err := ctx.Err(); err != nil {
			return stats, err
		}
		if r.at, err = r.skipNUL(r.at); err != nil {
			return stats, err
		}
		if stats.Archives++; stats.Archives > r.limits.Archives {
			return stats, fmt.Errorf("byte %d: more than %d archives: %w", r.at, r.limits.Archives, newc.ErrLimit)
		}
		if last, err = r.member(ctx); err != nil {
			return stats, fmt.Errorf("archive %d: %w", stats.Archives, err)
		}
		if _, err := out.Write(make([]byte, initrd.Padding(out.n))); err != nil {
			return stats, err
		}
	}
	stats.Written = out.n
	if err := p.unmetEdit(); err != nil {
		return stats, err
	}
	return stats, p.lost()
}

type countWriter struct {
	w io.Writer
	n int64
}

func (c *countWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

type repacker struct {
	base    io.ReaderAt
	size    int64
	at      int64 // of base
	plan    *plan
	out     io.Writer
	options Options
	limits  initrd.Limits
}

// skipNUL answers where the next byte that is not NUL stands, or size.
func (r *repacker) skipNUL(at int64) (int64, error) {
	buf := make([]byte, 4096)
	for at < r.size {
		n, err := r.base.ReadAt(buf[:min(int64(len(buf)), r.size-at)], at)
		for i, b := range buf[:n] {
			if b != 0 {
				return at + int64(i), nil
			}
		}
		if at += int64(n); err != nil && (err != io.EOF || n == 0) {
			return at, err
		}
	}
	return at, nil
}

// member repacks the member at r.at and says whether it was the last one.
func (r *repacker) member(ctx context.Context) (bool, error) {
	section := io.NewSectionReader(r.base, r.at, r.size-r.at)
	head := make([]byte, 8)
	n, err := section.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return false, err
	}
	old := codec.Detect(head[:n])
	if old == "" {
		return false, fmt.Errorf("unknown data % x at byte %d of the file", head[:n], r.at)
	}
	if old == codec.None && r.at%initrd.Align != 0 {
		return false, fmt.Errorf("at byte %d of the file: a kernel finds plain archives only at multiples of %d", r.at, initrd.Align)
	}
	e := &editor{plan: r.plan, limits: r.limits, plain: old == codec.None}
	if err := r.open(e, section, old); err != nil {
		return false, err
	}
	defer e.src.close()
	e.isLast = func(end int64) (bool, error) {
		if !e.plain {
			end = e.src.used()
		}
		r.at += end
		next, err := r.skipNUL(r.at)
		return next == r.size, err
	}
	last, err := e.run(ctx)
	r.plan.stats.Plain += e.off
	if err != nil {
		e.sink.abandon()
		return false, err
	}
	return last, e.sink.close()
}

// open gives e its source and sink.
func (r *repacker) open(e *editor, section *io.SectionReader, old codec.Format) error {
	f := r.options.format(old, r.early(old))
	if old == codec.Gzip && f == codec.Gzip && !r.options.Recompress {
		s, err := newSpans(section)
		if err != nil {
			return err
		}
		sink, err := newSpanSink(r.out, s.stream(), r.options.Level, r.plan.stats)
		if err != nil {
			return err
		}
		e.src, e.sink = newAhead(s), sink
		return nil
	}
	z, err := codec.NewWriterLevel(r.out, f, r.options.Level)
	if err != nil {
		return err
	}
	e.sink = encodeSink{z}
	if old == codec.None {
		e.src = &plainSource{r: section, buf: make([]byte, chunkSize)}
		return nil
	}
	var d decoder
	if old == codec.Gzip {
		d, err = newSpans(section) // twice as fast as the library
	} else {
		d, err = newPacked(section)
	}
	if err != nil {
		return err
	}
	e.src = newAhead(d)
	return nil
}

// early says whether a plain archive has others behind it. Where it stands alone, all of
// the base is plain.
func (r *repacker) early(old codec.Format) bool {
	if old != codec.None {
		return false
	}
	end, err := r.plainEnd()
	return err == nil && end < r.size
}

// plainEnd is where the next archive behind a plain one begins, or size. It reads headers
// alone.
func (r *repacker) plainEnd() (int64, error) {
	return plainEnd(r.base, r.at, r.size, r.limits, r.skipNUL)
}
