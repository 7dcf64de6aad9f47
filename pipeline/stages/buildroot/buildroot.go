// Package buildroot is the stage that lets Buildroot (https://buildroot.org) compile a
// system: it writes an external tree with the recipe's configuration and overlays, runs
// make with an environment of its own, and takes what lies in output/images.
//
// README.md says how rebuilds go, and what was learnt about Buildroot as a subprocess.
package buildroot

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"piimg/pipeline"
	"piimg/recipes"
)

// Stage is the buildroot stage.
type Stage struct{}

type params struct {
	Name      string   `json:"name"` // of the recipe
	Tree      string   `json:"tree"`
	Defconfig string   `json:"base_defconfig"`
	Options   []string `json:"options"`
	External  []string `json:"external"`
	Overlays  []string `json:"overlays"`
}

func (Stage) Name() string { return recipes.FromBuildroot }
func (Stage) Version() int { return 3 }

// Plan declares the tree, the external trees, the overlays, the host's tools and whatever
// of the machine the options point to.
func (Stage) Plan(w pipeline.Wish) (*pipeline.Step, error) {
	b := w.Recipe.Buildroot
	if b == nil {
		return nil, nil
	}
	s := &pipeline.Step{
		Params:  paramsOf(w.Recipe),
		Sources: []string{b.Tree},
		Locals:  append(append([]string{}, b.External...), b.Overlays...),
		Tools:   []pipeline.Tool{{Name: "host", Version: hostVersion}},
		Jobs:    b.Jobs,
	}
	for _, p := range machinePaths(b.Options) {
		s.Tools = append(s.Tools, pipeline.Tool{Name: p, Version: func(context.Context) (string, error) { return contentOf(p) }})
	}
	return s, nil
}

func paramsOf(r *recipes.Recipe) params {
	b := r.Buildroot
	return params{r.Name, b.Tree, b.Defconfig, b.Options, b.External, b.Overlays}
}

// machinePaths are the files and folders of the machine that options name: a toolchain,
// mostly. What they hold is part of the key.
func machinePaths(options []string) []string {
	var paths []string
	for _, line := range options {
		_, value, _ := strings.Cut(line, "=")
		if p := strings.Trim(value, `"`); path.IsAbs(p) && value != p && !strings.ContainsAny(p, " $") {
			paths = append(paths, p)
		}
	}
	return paths
}

// contentOf is the digest of a file or folder of the machine.
func contentOf(p string) (string, error) {
	var fsys fs.FS = os.DirFS(p)
	info, err := os.Stat(p)
	if err != nil {
		return "", fmt.Errorf("the options name it: %w", err)
	}
	if !info.IsDir() {
		fsys = pipeline.OneFile{Dir: os.DirFS(filepath.Dir(p)), Name: filepath.Base(p)}
	}
	d, _, err := pipeline.TreeDigest(fsys)
	return d.String(), err
}

// Run builds, and keeps the images.
func (Stage) Run(ctx context.Context, job *pipeline.Job) error {
	var p params
	if err := job.Params(&p); err != nil {
		return err
	}
	tree, err := job.Source(ctx, p.Tree)
	if err != nil {
		return err
	}
	w, err := open(ctx, p, world{
		tree: tree, local: job.Local, cache: job.Cache(), epoch: job.Epoch(), offline: job.Offline(), jobs: job.Jobs(),
		log: func(line string) { job.Log("%s", line) },
	})
	if err != nil {
		return at(job, err)
	}
	defer w.Close()
	if job.Check() {
		if err := w.clean(); err != nil {
			return err
		}
	}
	if err := w.build(ctx); err != nil {
		return at(job, err)
	}
	if err := collect(ctx, job, filepath.Join(w.Output, "images")); err != nil {
		return err
	}
	if err := job.Write(ctx, "legal/packages.json", w.writePackages); err != nil {
		return err
	}
	if err := w.writeLicence(ctx, job); err != nil {
		return err
	}
	w.prune()
	return nil
}

// at gives an error the place in the recipe that it is about.
func at(job *pipeline.Job, err error) error {
	if key := keyOf(err); key != "" {
		return job.At(key, err)
	}
	return err
}
