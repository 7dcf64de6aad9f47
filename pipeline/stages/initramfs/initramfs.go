// Package initramfs is the stage that puts the recipe's own files on top of a base
// archive. The base's bytes stay as they are; what is added is one more archive behind
// it, and later entries win in the kernel.
package initramfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"text/template"

	"piimg/pipeline"
	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
	"piimg/pipeline/stages/uroot"
	"piimg/recipes"
	"piimg/store"
)

// Stage is the initramfs stage.
type Stage struct{}

type params struct {
	Name        string            `json:"name"`
	Base        recipes.Ref       `json:"base"`
	Compression codec.Format      `json:"compression"`
	Overlays    []string          `json:"overlays"`
	Files       []recipes.File    `json:"files"` // templates are rendered, as Content
	Symlinks    []recipes.Symlink `json:"symlinks"`
	Nodes       []recipes.Node    `json:"nodes"`
}

func (Stage) Name() string { return "initramfs" }
func (Stage) Version() int { return 1 }

// Plan renders the templates and declares the base and all files beside the recipe.
func (Stage) Plan(w pipeline.Wish) (*pipeline.Step, error) {
	i := w.Recipe.Initramfs
	if i == nil {
		return nil, nil
	}
	p := params{
		Name: i.Name, Base: i.Base, Compression: codec.Format(i.Compression),
		Overlays: i.Overlays, Symlinks: i.Symlinks, Nodes: i.Nodes,
	}
	s := &pipeline.Step{Tools: []pipeline.Tool{
		{Name: "compress", Version: func(context.Context) (string, error) { return codec.Encoder, nil }},
	}}
	if i.Base.String() == "uroot" {
		s.Needs = []string{"uroot"}
	} else {
		s.Reads(i.Base)
	}
	if i.Modules != nil {
		s.Needs = append(s.Needs, "modules")
	}
	s.Locals = append(s.Locals, i.Overlays...)
	for _, f := range i.Files {
		rendered, err := render(f, w)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", w.Recipe.Pos(f.Key), f.Key, err)
		}
		s.Reads(f.From)
		p.Files = append(p.Files, rendered)
	}
	s.Params = p
	return s, nil
}

// render turns a template into content.
func render(f recipes.File, w pipeline.Wish) (recipes.File, error) {
	if f.Template == "" {
		return f, nil
	}
	t, err := template.New(f.Path).Option("missingkey=error").Parse(f.Template)
	if err != nil {
		return f, err
	}
	var b bytes.Buffer
	data := recipes.TemplateData{Name: w.Recipe.Name, Recipe: w.Digest.String(), Epoch: w.Recipe.Epoch}
	if err := t.Execute(&b, data); err != nil {
		return f, err
	}
	f.Content, f.Template = b.String(), ""
	return f, nil
}

// Run stores the base as it is and the overlay as a second part.
func (Stage) Run(ctx context.Context, job *pipeline.Job) error {
	var p params
	if err := job.Params(&p); err != nil {
		return err
	}
	base, err := baseBlob(ctx, job, p)
	if err != nil {
		return job.At("initramfs.base", err)
	}
	inBase, err := contents(ctx, job, base)
	if err != nil {
		return job.At("initramfs.base", err)
	}
	if err := noModules(inBase, job.NeedFact("modules", "modules.release")); err != nil {
		return fmt.Errorf("initramfs.modules: %w", err)
	}
	top, err := collect(ctx, job, p)
	if err != nil {
		return err
	}
	if err := top.addParents(inBase); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	job.From(p.Name, "initramfs.base", p.Base.String())
	for name, i := range top {
		if !i.weak {
			job.From(p.Name+"!"+name, i.key, i.from)
		}
	}
	if len(top) == 0 && initrd.Padding(base.Size) == 0 {
		return job.Join(ctx, p.Name, base)
	}
	overlay, err := job.Blob(ctx, func(w io.Writer) error {
		// A base of odd length is padded by the part behind it, so that its own
		// bytes stay as they are.
		if _, err := w.Write(make([]byte, initrd.Padding(base.Size))); err != nil {
			return err
		}
		return initrd.WritePart(w, p.Compression, func(w io.Writer) error { return top.write(w, job.Epoch()) })
	})
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	return job.Join(ctx, p.Name, base, overlay)
}

// baseBlob is the base archive in the store.
func baseBlob(ctx context.Context, job *pipeline.Job, p params) (store.Blob, error) {
	if p.Base.String() == "uroot" {
		made := job.Need("uroot")
		if len(made) != 1 || made[0].Path != uroot.Output {
			return store.Blob{}, errors.New("the uroot stage made no archive")
		}
		return made[0].Parts[0], nil
	}
	fsys, name, err := job.One(ctx, p.Base)
	if err != nil {
		return store.Blob{}, err
	}
	return job.Blob(ctx, func(w io.Writer) error {
		f, err := fsys.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	})
}

// contents are the types of what the base has, by path. Reading them also proves that the
// base is an initramfs at all.
func contents(ctx context.Context, job *pipeline.Job, base store.Blob) (map[string]uint32, error) {
	r, err := job.Open(ctx, store.NewFile("base", 0o644, base))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	types := map[string]uint32{}
	err = initrd.Walk(r, func(e newc.Entry, _ io.Reader) error {
		types[path.Clean(e.Name)] = e.Type()
		return nil
	})
	return types, err
}
