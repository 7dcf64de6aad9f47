package initrd

import (
	"io"

	"piimg/pipeline/format/codec"
)

// WritePart writes what write writes as one compressed member, padded to [Align]:
// [WritePartLevel] with [codec.Best].
func WritePart(w io.Writer, f codec.Format, write func(w io.Writer) error) error {
	return WritePartLevel(w, f, codec.Best, write)
}

// WritePartLevel writes what write writes as one compressed member, padded to [Align].
func WritePartLevel(w io.Writer, f codec.Format, l codec.Level, write func(w io.Writer) error) error {
	count := &countingWriter{w: w}
	z, err := codec.NewWriterLevel(count, f, l)
	if err != nil {
		return err
	}
	err = write(z)
	if cerr := z.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	_, err = w.Write(make([]byte, Padding(count.n)))
	return err
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
