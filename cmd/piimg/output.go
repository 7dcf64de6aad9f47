package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
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

// writeTo writes a file that is there as a whole or not at all, or stdout, and answers its digest.
func (a *app) writeTo(name string, write func(*output) error) (store.Digest, error) {
	if name == "-" {
		o := &output{w: a.out, hash: sha256.New()}
		err := write(o)
		return store.Digest(o.hash.Sum(nil)), err
	}
	var digest store.Digest
	err := placeFile(name, func(f *os.File) error {
		o := &output{w: f, file: f, hash: sha256.New()}
		err := write(o)
		digest = store.Digest(o.hash.Sum(nil))
		return err
	})
	return digest, err
}

// replaceFile writes a file as [placeFile] does, and has it on the disk.
func replaceFile(name string, write func(io.Writer) error) error {
	return placeFile(name, func(f *os.File) error {
		if err := write(f); err != nil {
			return err
		}
		return f.Sync()
	})
}

// placeFile writes a file as a whole: a reader sees the old one or the new one. A device or a
// folder of that name is left alone. It waits for no disk, which takes longer than the copy of
// an initramfs: whoever cannot make the file again uses [replaceFile].
func placeFile(name string, write func(*os.File) error) error {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return hint(fmt.Errorf("%s is there and is no file", name), "name a file; piimg write IMAGE DEVICE writes to a device")
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), ".piimg-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	err = write(tmp)
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}
