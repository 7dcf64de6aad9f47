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
	"piimg/recipes"
	"piimg/store"
)

// base is the archive to build on, to be read from anywhere.
type base struct {
	io.ReaderAt
	io.Closer
	size   int64
	stored *store.Blob // what it is in the store already
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
		if err == nil && len(made[0].Parts) == 1 {
			b.stored = &made[0].Parts[0]
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
	return spool(job, f)
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

func (b *base) reader() io.Reader { return io.NewSectionReader(b, 0, b.size) }

// tree is what a kernel makes of the base. A base that it would not unpack to the end is
// an error.
func (b *base) tree(l initrd.Limits) (*initrd.Tree, error) {
	t, err := initrd.ReadTree(b.reader(), l)
	if err == nil {
		err = t.Stopped()
	}
	return t, err
}

// store stores the base as it is.
func (b *base) store(ctx context.Context, job *pipeline.Job) (store.Blob, error) {
	if b.stored != nil {
		return *b.stored, nil
	}
	return job.Blob(ctx, func(w io.Writer) error {
		_, err := io.Copy(w, b.reader())
		return err
	})
}
