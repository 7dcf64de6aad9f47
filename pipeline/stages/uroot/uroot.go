// Package uroot is the stage that builds a userland out of Go programs with u-root
// (github.com/u-root/u-root): all commands in one static linux/arm64 binary, in a cpio
// archive with symlinks to it.
package uroot

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"piimg/pipeline"
	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
)

// Stage is the uroot stage.
type Stage struct{}

type params struct {
	From        string       `json:"from"`
	Commands    []string     `json:"commands"` // sorted: their order has no meaning
	Init        string       `json:"init"`
	Shell       string       `json:"shell"`
	Compression codec.Format `json:"compression"`
}

// Output is the name of the archive that the stage makes, compressed as the recipe says
// and padded.
const Output = "uroot.cpio"

func (Stage) Name() string { return "uroot" }
func (Stage) Version() int { return 1 }

// Plan asks for a build where the initramfs is based on it.
func (Stage) Plan(w pipeline.Wish) (*pipeline.Step, error) {
	u, i := w.Recipe.URoot, w.Recipe.Initramfs
	if u == nil || i == nil || i.Base.String() != "uroot" {
		return nil, nil
	}
	return &pipeline.Step{
		Params:  params{u.From, slices.Sorted(slices.Values(u.Commands)), u.Init, u.Shell, codec.Format(i.Compression)},
		Sources: []string{u.From},
		Tools: []pipeline.Tool{
			{Name: "go", Version: goVersion},
			{Name: "compress", Version: func(context.Context) (string, error) { return codec.Encoder, nil }},
		},
	}, nil
}

// Run builds u-root, lets it build the archive, and compresses that.
func (Stage) Run(ctx context.Context, job *pipeline.Job) error {
	var p params
	if err := job.Params(&p); err != nil {
		return err
	}
	src, err := checkout(ctx, job, p)
	if err != nil {
		return err
	}
	archive, err := build(ctx, job, p, src)
	if err != nil {
		return err
	}
	return job.Write(ctx, Output, func(w io.Writer) error { return compress(w, archive, p.Compression) })
}

// checkout copies the source: the go command has to find a module that it may treat as
// the main one, and the module cache is read-only.
func checkout(ctx context.Context, job *pipeline.Job, p params) (string, error) {
	fsys, err := job.Source(ctx, p.From)
	if err != nil {
		return "", err
	}
	for _, c := range p.Commands {
		if _, err := fs.Stat(fsys, path.Join("cmds", c)); err != nil {
			return "", job.At("uroot.commands", fmt.Errorf("source %s has no command %s: %w", p.From, c, fs.ErrNotExist))
		}
	}
	dir, err := job.Dir()
	if err != nil {
		return "", err
	}
	src := filepath.Join(dir, "src")
	if err := os.CopyFS(src, fsys); err != nil {
		return "", fmt.Errorf("copy source %s: %w", p.From, err)
	}
	return src, nil
}

// build runs u-root and returns the archive.
func build(ctx context.Context, job *pipeline.Job, p params, src string) (string, error) {
	tool, err := findGo(ctx)
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(src)
	env := tool.env(dir, job.Offline())
	builder := filepath.Join(dir, "u-root")
	if err := job.Exec(ctx, src, env, tool.path, "build", "-trimpath", "-o", builder, "."); err != nil {
		return "", err
	}
	archive := filepath.Join(dir, Output)
	argv := []string{builder, "-o", archive, "-initcmd=" + p.Init, "-defaultsh=" + p.Shell}
	for _, c := range p.Commands {
		argv = append(argv, "./cmds/"+c)
	}
	return archive, job.Exec(ctx, src, append(env, "GOOS=linux", "GOARCH=arm64"), argv...)
}

func compress(w io.Writer, archive string, f codec.Format) error {
	in, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer in.Close()
	return initrd.WritePart(w, f, func(w io.Writer) error {
		_, err := io.Copy(w, in)
		return err
	})
}
