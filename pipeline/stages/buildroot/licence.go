package buildroot

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"piimg/pipeline"
)

// kernelLicence are the files of the kernel's source that say its licence. Today's COPYING
// only names the others; that of older kernels has the whole text, and they are not there.
var kernelLicence = []string{"COPYING", "LICENSES/preferred/GPL-2.0", "LICENSES/exceptions/Linux-syscall-note"}

// writeLicence keeps the licence of the kernel, where Buildroot has compiled one, as one file.
func (s *Workspace) writeLicence(ctx context.Context, job *pipeline.Job) error {
	dir, ok := s.kernelSource()
	if !ok {
		return nil
	}
	const name = "COPYING.linux"
	job.From(name, "buildroot", "COPYING of the kernel, and what it names")
	return job.Write(ctx, name, func(w io.Writer) error { return joinLicence(w, os.DirFS(dir)) })
}

// joinLicence writes the files of the licence that source has, one behind the other.
func joinLicence(w io.Writer, source fs.FS) error {
	for n, name := range kernelLicence {
		text, err := fs.ReadFile(source, name)
		if n > 0 && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if n > 0 {
			text = append([]byte("\n---- "+name+"\n\n"), text...)
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// kernelSource is the folder with the source of the kernel, where Buildroot has compiled one
// and its licence lies there.
func (s *Workspace) kernelSource() (dir string, ok bool) {
	stamps := s.packages["linux"].StampDir
	if stamps == "" || !filepath.IsLocal(stamps) {
		return "", false
	}
	dir = filepath.Join(s.Output, stamps)
	info, err := os.Stat(filepath.Join(dir, "COPYING"))
	return dir, err == nil && info.Mode().IsRegular()
}
