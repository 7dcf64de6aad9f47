// Package modules is the stage that takes kernel modules, with all that they need, for the
// initramfs. What it makes are files of the initramfs, lib/modules/<release>/…, and none
// that a board asks for.
package modules

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"piimg/pipeline"
	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/kmod"
	"piimg/recipes"
)

// Stage is the modules stage.
type Stage struct{}

type params struct {
	From       recipes.Ref `json:"from"`
	Select     []string    `json:"select"`
	Decompress bool        `json:"decompress"`
}

func (Stage) Name() string { return "modules" }
func (Stage) Version() int { return 1 }

// Plan declares the source, and needs the kernel for its release.
func (Stage) Plan(w pipeline.Wish) (*pipeline.Step, error) {
	if w.Recipe.Initramfs == nil || w.Recipe.Initramfs.Modules == nil {
		return nil, nil
	}
	m := w.Recipe.Initramfs.Modules
	p := params{From: recipes.Ref{Source: m.From, Path: m.Path}, Select: m.Select, Decompress: m.Decompress}
	s := &pipeline.Step{Params: p, Needs: []string{"kernel"}}
	s.Reads(p.From)
	return s, nil
}

// Run copies the modules and writes depmod's files for them.
func (Stage) Run(ctx context.Context, job *pipeline.Job) error {
	var p params
	if err := job.Params(&p); err != nil {
		return err
	}
	err := run(ctx, job, p)
	if err != nil {
		return fmt.Errorf("initramfs.modules: %w", err)
	}
	return nil
}

func run(ctx context.Context, job *pipeline.Job, p params) error {
	fsys, matches, err := job.Glob(ctx, p.From)
	if err != nil {
		return err
	}
	kernel := job.NeedFact("kernel", "kernel.release")
	if kernel == "" {
		job.Log("the kernel image does not say its release, so the modules are not checked against it")
	}
	folder, err := releaseFolder(fsys, matches, kernel)
	if err != nil {
		return fmt.Errorf("%s: %w", p.From, err)
	}
	err = install(ctx, job, p, fsys, folder)
	if err != nil {
		return fmt.Errorf("%s: %w", recipes.Ref{Source: p.From.Source, Path: folder}, err)
	}
	return nil
}

// install makes the modules that p selects, of the release in a folder, outputs.
func install(ctx context.Context, job *pipeline.Job, p params, fsys fs.FS, folder string) error {
	dir, err := fs.Sub(fsys, folder)
	if err != nil {
		return err
	}
	tree, err := kmod.Open(dir, unpack)
	if err != nil {
		return err
	}
	set, err := tree.Select(p.Select)
	var unknown *kmod.UnknownError
	if errors.As(err, &unknown) {
		return fmt.Errorf("select[%d]: %w", slices.Index(p.Select, unknown.Pattern), err)
	}
	if err != nil {
		return err
	}
	for _, name := range set.Builtin {
		job.Log("%s is built into the kernel", name)
	}
	release := path.Base(folder)
	if err := builtFor(set, release); err != nil {
		return err
	}
	at := func(m *kmod.Module) string { return m.Path }
	if p.Decompress {
		at = (*kmod.Module).Plain
	}
	top := path.Join("lib/modules", release)
	for _, m := range set.Modules {
		if err := copyModule(ctx, job, tree, dir, m, path.Join(top, at(m))); err != nil {
			return err
		}
	}
	files, err := set.Files(at)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := job.Write(ctx, path.Join(top, f.Name), copied(bytes.NewReader(f.Data))); err != nil {
			return err
		}
	}
	job.Fact("modules.release", release)
	return nil
}

// builtFor refuses modules of another release than their folder's: the kernel would, too.
func builtFor(set *kmod.Set, release string) error {
	for _, m := range set.Modules {
		if r := m.Release(); r != "" && r != release {
			return fmt.Errorf("%s was built for kernel %s, and would be refused by %s", m.Path, r, release)
		}
	}
	return nil
}

// copyModule makes a module the output called to, unpacked where to says so.
func copyModule(ctx context.Context, job *pipeline.Job, tree *kmod.Tree, dir fs.FS, m *kmod.Module, to string) error {
	var r io.ReadCloser
	var err error
	if strings.HasSuffix(to, m.Path) {
		r, err = dir.Open(m.Path)
	} else {
		r, err = tree.OpenModule(m.Path)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	return job.Write(ctx, to, copied(r))
}

func copied(r io.Reader) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	}
}

// unpack reads the compressed formats that modules come in.
func unpack(r io.Reader) (io.ReadCloser, error) {
	z, _, err := codec.NewReader(bufio.NewReader(r))
	return z, err
}
