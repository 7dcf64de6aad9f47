// Package kernel is the stage that takes a kernel, its device trees and the overlays
// that the recipe turns on.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"piimg/pipeline"
	"piimg/pipeline/format/arm64"
	"piimg/recipes"
)

// Stage is the kernel stage.
type Stage struct{}

type params struct {
	Kernel       recipes.Ref   `json:"kernel"`
	Name         string        `json:"name"`
	Licence      recipes.Ref   `json:"licence"` // "" for what the kernel's source calls so
	DTBs         []recipes.Ref `json:"dtbs"`
	Overlays     []string      `json:"overlays"` // names, without parameters
	OverlaysFrom recipes.Ref   `json:"overlays_from"`
	Ship         []string      `json:"ship"`
	Boards       []board       `json:"boards"`
}

// board is what the choice of an overlay depends on.
type board struct {
	Name     string `json:"name"`
	Platform string `json:"platform"`
}

func (Stage) Name() string { return "kernel" }
func (Stage) Version() int { return 2 }

// Plan declares the kernel, the device trees and, where overlays are wanted, their folder.
func (Stage) Plan(w pipeline.Wish) (*pipeline.Step, error) {
	r := w.Recipe
	p := params{
		Kernel: r.Kernel.File, Name: r.Kernel.Name, Licence: r.Kernel.Licence, DTBs: r.DTB.Files,
		Overlays: overlayNames(r.DTB.Overlays), OverlaysFrom: r.DTB.OverlaysFrom, Ship: r.DTB.Ship,
	}
	for _, b := range w.Boards {
		p.Boards = append(p.Boards, board{b.Model, b.Platform})
	}
	s := &pipeline.Step{}
	s.Reads(p.Kernel)
	if p.Licence.Path != "" {
		s.Reads(p.Licence)
	}
	s.Reads(p.DTBs...)
	if p.OverlaysFrom.Path == "" && len(p.Overlays)+len(p.Ship) > 0 {
		return nil, errors.New("dtb.overlays_from: the recipe uses overlays and does not say where they are")
	}
	if p.OverlaysFrom.Path != "" {
		s.Reads(p.OverlaysFrom)
	}
	s.Params = p
	return s, nil
}

// Run copies the kernel and the trees, and resolves each overlay for each board.
func (Stage) Run(ctx context.Context, job *pipeline.Job) error {
	var p params
	if err := job.Params(&p); err != nil {
		return err
	}
	if err := copyKernel(ctx, job, p); err != nil {
		return job.At("kernel.file", err)
	}
	if err := copyLicence(ctx, job, p); err != nil {
		return job.At("kernel.licence", err)
	}
	for n, r := range p.DTBs {
		key := fmt.Sprintf("dtb.files[%d]", n)
		if err := job.CopyAll(ctx, r, key); err != nil {
			return job.At(key, err)
		}
	}
	if p.OverlaysFrom.Path == "" {
		return nil
	}
	return copyOverlays(ctx, job, p)
}

// copyKernel copies the kernel and finds out its release. A file that no 64-bit board
// can start is refused here, by name: later it would only be a board that stays dark.
func copyKernel(ctx context.Context, job *pipeline.Job, p params) error {
	fsys, name, err := job.One(ctx, p.Kernel)
	if err != nil {
		return err
	}
	release, err := inspect(fsys, name)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Kernel, err)
	}
	if release != "" {
		job.Fact("kernel.release", release)
	}
	job.From(p.Name, "kernel.file", p.Kernel.At(name))
	return job.Copy(ctx, fsys, name, p.Name)
}

// licence is the name among the boot files of the text of Linux's licence, which asks to go
// along with copies of it. Raspberry Pi calls it so.
const licence = "COPYING.linux"

// licences are the names that it has in sources of kernels.
var licences = []string{licence, "LICENSE.linux", "LICENCE.linux"}

// copyLicence copies the text that the recipe names, or else what the kernel's source has.
func copyLicence(ctx context.Context, job *pipeline.Job, p params) error {
	if p.Licence.Path != "" {
		fsys, name, err := job.One(ctx, p.Licence)
		if err != nil {
			return err
		}
		job.From(licence, "kernel.licence", p.Licence.At(name))
		return job.Copy(ctx, fsys, name, licence)
	}
	if p.Kernel.Source == "" {
		return nil // beside the recipe nothing is read that it does not name
	}
	fsys, kernel, err := job.One(ctx, p.Kernel)
	if err != nil {
		return err
	}
	for _, dir := range []string{path.Dir(kernel), "."} {
		for _, base := range licences {
			name := path.Join(dir, base)
			if info, err := fs.Stat(fsys, name); err == nil && info.Mode().IsRegular() {
				job.From(licence, "kernel.file", p.Kernel.At(name))
				return job.Copy(ctx, fsys, name, licence)
			}
		}
	}
	return nil
}

// inspect checks the header of a kernel and returns its release, "" where it is compressed.
func inspect(fsys fs.FS, name string) (string, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 4096)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", err
	}
	h, err := arm64.ParseHeader(head[:n])
	if err != nil || h.Gzip {
		return "", err
	}
	release, err := arm64.Release(f)
	if errors.Is(err, arm64.ErrNoRelease) {
		return "", nil // a kernel that was built without one boots all the same
	}
	return release, err
}
