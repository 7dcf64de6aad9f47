package main

import (
	"crypto/sha256"
	"hash"
	"io"
	"os"
	"path/filepath"

	"piimg/store"
)

// output is what is written, with its hash.
type output struct {
	w    io.Writer
	file *os.File // that w is; nil for what is no file
	hash hash.Hash
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	o.hash.Write(p[:n])
	return n, err
}

// begin writes the first n bytes of base, of which h is the hash. From file to file the
// kernel copies them, if it can without moving any.
func (o *output) begin(base *os.File, n int64, h hash.Hash) error {
	o.hash = h
	if o.file == nil {
		_, err := io.Copy(o.w, io.NewSectionReader(base, 0, n))
		return err
	}
	if _, err := base.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := io.CopyN(o.file, base, n)
	return err
}

// writeTo writes a file that is there as a whole or not at all, and answers its digest.
func (a *app) writeTo(name string, write func(*output) error) (store.Digest, error) {
	if name == "-" {
		o := &output{w: a.out, hash: sha256.New()}
		err := write(o)
		return store.Digest(o.hash.Sum(nil)), err
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return store.Digest{}, err
	}
	defer os.Remove(tmp.Name())
	o := &output{w: tmp, file: tmp, hash: sha256.New()}
	err = write(o)
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return store.Digest{}, err
	}
	return store.Digest(o.hash.Sum(nil)), os.Rename(tmp.Name(), name)
}
