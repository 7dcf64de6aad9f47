package initramfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"piimg/pipeline"
	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
	"piimg/pipeline/stages/uroot"
	"piimg/pipeline/trees"
	"piimg/recipes"
	"piimg/store"
)

// base is the archive to build on, to be read from anywhere.
type base struct {
	io.ReaderAt
	io.Closer
	size   int64
	parts  []store.Blob // that it has in a store, where it comes from one
	stored bool         // which is that of the job
}

func openBase(ctx context.Context, job *pipeline.Job, ref recipes.Ref) (*base, error) {
	if ref.String() == "uroot" {
		made := job.Need("uroot")
		if len(made) != 1 || made[0].Path != uroot.Output {
			return nil, errors.New("the uroot stage made no archive")
		}
		r, err := job.Open(ctx, made[0])
		if err != nil {
			return nil, err
		}
		b, err := spool(job, r)
		if err == nil {
			b.parts, b.stored = made[0].Parts, true
		}
		return b, err
	}
	if ref.String() == "none" {
		return noBase()
	}
	fsys, name, err := job.One(ctx, ref)
	if err != nil {
		return nil, err
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	if at, ok := f.(io.ReaderAt); ok {
		return sized(f, at)
	}
	b, err := spool(job, f)
	if s, ok := f.(pipeline.Stored); ok && err == nil {
		b.parts = s.Stored().Parts
	}
	return b, err
}

// noBase is an archive without entries: all of the initramfs is what the recipe adds.
func noBase() (*base, error) {
	var b bytes.Buffer
	err := initrd.WritePart(&b, codec.None, func(w io.Writer) error { return newc.NewWriter(w).Close() })
	return &base{ReaderAt: bytes.NewReader(b.Bytes()), Closer: io.NopCloser(nil), size: int64(b.Len())}, err
}

func sized(f fs.File, at io.ReaderAt) (*base, error) {
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &base{ReaderAt: at, Closer: f, size: info.Size()}, nil
}

// spool copies r, which it closes, to a file of the job's own.
func spool(job *pipeline.Job, r io.ReadCloser) (*base, error) {
	defer r.Close()
	f, err := scratch(job)
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(f, r)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &base{ReaderAt: f, Closer: f, size: n}, nil
}

// scratch is an empty file that goes with the job.
func scratch(job *pipeline.Job) (*os.File, error) {
	dir, err := job.Dir()
	if err != nil {
		return nil, err
	}
	return os.CreateTemp(dir, "scratch-")
}

// treesOf are the trees that are known from earlier jobs.
func treesOf(job *pipeline.Job) trees.Cache {
	if job.Check() {
		return trees.Cache{}
	}
	return trees.In(job.Cache())
}

// tree is what a kernel makes of the base. A base that it would not unpack to the end, or
// that has no end, is an error.
func (b *base) tree(job *pipeline.Job, l initrd.Limits) (*initrd.Tree, error) {
	t, err := treesOf(job).Read(b, b.size, l)
	if err == nil {
		err = t.Damage()
	}
	return t, err
}

// store stores the first n bytes of the base, in the parts that they have where they come
// from, so that images which are made from each other share them. It answers how many
// bytes the parts hold: NUL bytes that fill up to n belong to the part behind.
func (b *base) store(ctx context.Context, job *pipeline.Job, n int64) (parts []store.Blob, end int64, err error) {
	for _, p := range b.parts {
		if end+p.Size > n {
			break
		}
		if !b.stored {
			if p, err = b.storeRange(ctx, job, end, end+p.Size); err != nil {
				return nil, 0, err
			}
		}
		parts, end = append(parts, p), end+p.Size
	}
	if n-end < initrd.Align+initrd.Spacing(end) && b.isNUL(end, n) && len(parts) > 0 {
		return parts, end, nil
	}
	p, err := b.storeRange(ctx, job, end, n)
	return append(parts, p), n, err
}

func (b *base) storeRange(ctx context.Context, job *pipeline.Job, from, to int64) (store.Blob, error) {
	return job.Blob(ctx, func(w io.Writer) error {
		_, err := io.Copy(w, io.NewSectionReader(b, from, to-from))
		return err
	})
}

// isNUL says whether the bytes, few of them, are NUL.
func (b *base) isNUL(from, to int64) bool {
	buf := make([]byte, to-from)
	_, err := b.ReadAt(buf, from)
	return (err == nil || err == io.EOF) && len(bytes.Trim(buf, "\x00")) == 0
}
