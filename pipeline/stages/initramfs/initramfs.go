// Package initramfs is the stage that changes a base archive as the recipe says. Where all
// of it can be done by one more archive behind the base, the base's bytes stay as they are:
// later entries win in the kernel. Otherwise the base is written anew, in one pass.
package initramfs

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"text/template"

	"piimg/pipeline"
	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/initrd/repack"
	"piimg/recipes"
)

// Stage is the initramfs stage.
type Stage struct{}

type params struct {
	Name        string            `json:"name"`
	Base        recipes.Ref       `json:"base"`
	Mode        string            `json:"mode"`
	Compression codec.Format      `json:"compression"`
	Level       string            `json:"level"`
	Recompress  bool              `json:"recompress"`
	Normalize   bool              `json:"normalize"`
	Rewrites    bool              `json:"rewrites"` // whatever the base has
	Overlays    []string          `json:"overlays"`
	Files       []recipes.File    `json:"files"` // templates are rendered, as Content
	Dirs        []recipes.Dir     `json:"dirs"`
	Symlinks    []recipes.Symlink `json:"symlinks"`
	Nodes       []recipes.Node    `json:"nodes"`
	Remove      []string          `json:"remove"`
	Renames     []recipes.Rename  `json:"renames"`
	Chmods      []recipes.Chmod   `json:"chmods"`
	Chowns      []recipes.Chown   `json:"chowns"`
	Limits      recipes.Limits    `json:"limits,omitzero"`
}

func (Stage) Name() string { return "initramfs" }
func (Stage) Version() int { return 4 }

// Plan renders the templates and declares the base and all files beside the recipe.
func (Stage) Plan(w pipeline.Wish) (*pipeline.Step, error) {
	i := w.Recipe.Initramfs
	if i == nil {
		return nil, nil
	}
	p := params{
		Name: i.Name, Base: i.Base, Mode: i.Mode, Compression: codec.Format(i.Compression), Level: i.Level,
		Recompress: i.Recompress, Normalize: i.Normalize, Rewrites: i.Rewrites(),
		Overlays: i.Overlays, Dirs: i.Dirs, Symlinks: i.Symlinks, Nodes: i.Nodes,
		Remove: i.Remove, Renames: i.Renames, Chmods: i.Chmods, Chowns: i.Chowns, Limits: i.Limits,
	}
	s := &pipeline.Step{Tools: []pipeline.Tool{
		{Name: "compress", Version: func(context.Context) (string, error) { return codec.Encoder, nil }},
	}}
	switch i.Base.String() {
	case "uroot":
		s.Needs = []string{"uroot"}
	case "none":
	default:
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

// render makes plain content of a template.
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

// surgery is one run of the stage.
type surgery struct {
	params
	job  *pipeline.Job
	base *base
	tree *initrd.Tree // of the base
	top  layer
}

// Run writes the archive.
func (Stage) Run(ctx context.Context, job *pipeline.Job) error {
	s := &surgery{job: job}
	if err := job.Params(&s.params); err != nil {
		return err
	}
	b, err := openBase(ctx, job, s.Base)
	if err != nil {
		return job.At("initramfs.base", err)
	}
	defer b.Close()
	s.base = b
	if s.tree, err = b.tree(job, s.Limits.Format()); err != nil {
		return job.At("initramfs.base", err)
	}
	if err := noModules(s.tree, job.NeedFact("modules", "modules.release")); err != nil {
		return job.At("initramfs.modules", err)
	}
	if s.top, err = collect(ctx, job, s.params); err != nil {
		return err
	}
	return s.at(s.write(ctx))
}

// at finds the line of the recipe that an error is about.
func (s *surgery) at(err error) error {
	var e *repack.EditError
	if errors.As(err, &e) {
		return s.job.At(e.Label, unlabelled{e})
	}
	return err
}

// unlabelled is an error whose label, the key, is said otherwise.
type unlabelled struct{ *repack.EditError }

func (u unlabelled) Error() string { return u.Err.Error() }

// write makes the edits, behind the base or in the place of it.
func (s *surgery) write(ctx context.Context) error {
	settled, err := s.edits().Settle(s.tree)
	if err != nil {
		return err
	}
	s.origins(settled)
	switch {
	case settled.Rewrites != "" && s.Mode == "append":
		return s.job.At(settled.Rewrites, fmt.Errorf(`changes %s of the base, which an archive behind it cannot, and mode is "append": take mode out`, settled.Needs))
	case settled.Rewrites != "" || s.Rewrites:
		return s.repack(ctx, settled.Edits)
	}
	return s.append(ctx, settled.Add)
}

// origins says where the entries come from that the base does not have, or not so.
func (s *surgery) origins(settled repack.Settled) {
	s.job.From(s.Name, "initramfs.base", s.Base.String())
	top := s.Name + "!"
	for _, a := range settled.Add {
		name := a.Entry.Name
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if s.tree.Lookup(dir) == nil {
				s.job.From(top+dir, a.Label, "") // made because of a
			}
		}
	}
	for _, a := range settled.Add {
		if i, ok := s.top[cmp.Or(settled.Said[a.Entry.Name], a.Entry.Name)]; ok && (!a.Weak || s.tree.Lookup(a.Entry.Name) == nil) {
			s.job.From(top+a.Entry.Name, i.key, i.from)
		}
	}
}

// edits are what the recipe asks for, labelled with its keys.
func (s *surgery) edits() repack.Edits {
	e := repack.Edits{Add: s.top.adds()}
	for n, glob := range s.Remove {
		e.Remove = append(e.Remove, repack.Remove{Label: fmt.Sprintf("initramfs.remove[%d]", n), Glob: glob})
	}
	for n, r := range s.Renames {
		e.Rename = append(e.Rename, repack.Rename{Label: fmt.Sprintf("initramfs.rename[%d]", n), From: r.From, To: r.To})
	}
	for n, c := range s.Chmods {
		e.Chmod = append(e.Chmod, repack.Chmod{Label: fmt.Sprintf("initramfs.chmod[%d]", n), Glob: c.Glob, Mode: c.Mode})
	}
	for n, c := range s.Chowns {
		e.Chown = append(e.Chown, repack.Chown{Label: fmt.Sprintf("initramfs.chown[%d]", n), Glob: c.Glob, UID: int64(c.UID), GID: int64(c.GID)})
	}
	return e
}

// append leaves the base as it is and stores what is added as one more part of it, or of
// the overlay that an image which is the base has there already.
func (s *surgery) append(ctx context.Context, adds []repack.Add) error {
	if len(adds) == 0 {
		return s.keep(ctx)
	}
	seam, err := repack.FindSeam(s.base, s.base.size, s.tree, s.options(true))
	if err != nil {
		return s.job.At("initramfs.base", err)
	}
	parts, end, err := s.base.store(ctx, s.job, seam.At)
	if err != nil {
		return s.job.At("initramfs.base", err)
	}
	overlay, err := s.job.Blob(ctx, func(w io.Writer) error {
		// What has to come between belongs to the part behind, so that the base's own
		// bytes stay as they are.
		if _, err := w.Write(make([]byte, seam.At+seam.Gap-end)); err != nil {
			return err
		}
		_, err := seam.Write(ctx, w, adds, s.options(true))
		return err
	})
	if err != nil {
		return err
	}
	return s.job.Join(ctx, s.Name, append(parts, overlay)...)
}

// keep makes the base, padded, what the stage makes.
func (s *surgery) keep(ctx context.Context) error {
	parts, end, err := s.base.store(ctx, s.job, s.base.size)
	if err != nil {
		return s.job.At("initramfs.base", err)
	}
	if n := s.base.size + initrd.Padding(s.base.size) - end; n > 0 {
		padding, err := s.job.Blob(ctx, func(w io.Writer) error {
			_, err := w.Write(make([]byte, n))
			return err
		})
		if err != nil {
			return err
		}
		parts = append(parts, padding)
	}
	return s.job.Join(ctx, s.Name, parts...)
}

func (s *surgery) repack(ctx context.Context, edits repack.Edits) error {
	write := repack.Repack
	if s.Normalize {
		write = s.normalize
	}
	var stats repack.Stats
	blob, err := s.job.Blob(ctx, func(w io.Writer) (err error) {
		stats, err = write(ctx, s.base, s.base.size, edits, w, s.options(false))
		return err
	})
	if err != nil {
		return err
	}
	s.job.Log("%s: %d added, %d removed, %d changed; %d of %d bytes are the base's own", s.Name, stats.Added, stats.Removed, stats.Changed, stats.Reused, stats.Written)
	return s.job.Join(ctx, s.Name, blob)
}

func (s *surgery) normalize(ctx context.Context, r io.ReaderAt, size int64, edits repack.Edits, w io.Writer, o repack.Options) (repack.Stats, error) {
	return repack.Normalize(ctx, r, size, edits, func() (repack.Scratch, error) { return scratch(s.job) }, w, o)
}

// options are those of the recipe; small says that an overlay alone is written.
func (s *surgery) options(small bool) repack.Options {
	o := repack.Options{Format: s.Compression, Recompress: s.Recompress, Epoch: uint32(s.job.Epoch()), Limits: s.Limits.Format(), ReadTree: treesOf(s.job).Read}
	level, said := codec.ParseLevel(s.Level)
	switch {
	case said:
		o.Level = level
	case small:
		o.Level = codec.Best
	default:
		o.Level = o.AutoLevel(s.Normalize)
	}
	return o
}
