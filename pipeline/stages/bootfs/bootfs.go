// Package bootfs is the last stage: it writes config.txt and cmdline.txt and makes up
// the files that a board boots from.
package bootfs

import (
	"context"
	"fmt"
	"io"
	"strings"

	"piimg/pipeline"
	"piimg/recipes"
)

// Stage is the bootfs stage.
type Stage struct{}

type params struct {
	Kernel    string            `json:"kernel"`
	Cmdline   string            `json:"cmdline"`
	Initramfs string            `json:"initramfs"` // "" without one
	Overlays  []string          `json:"overlays"`
	Config    []recipes.Section `json:"config"`
}

// parts are the stages whose files an image is made up of.
var parts = []string{"firmware", "kernel", "initramfs"}

func (Stage) Name() string { return "bootfs" }
func (Stage) Version() int { return 1 }

// Plan collects what config.txt has to say.
func (Stage) Plan(w pipeline.Wish) (*pipeline.Step, error) {
	r := w.Recipe
	p := params{Kernel: r.Kernel.Name, Cmdline: r.Kernel.Cmdline, Overlays: r.DTB.Overlays, Config: r.Config}
	if r.Initramfs != nil {
		p.Initramfs = r.Initramfs.Name
	}
	return &pipeline.Step{Params: p, Needs: parts}, nil
}

// Run writes the two files and keeps all that other stages have made.
func (Stage) Run(ctx context.Context, job *pipeline.Job) error {
	var p params
	if err := job.Params(&p); err != nil {
		return err
	}
	for _, part := range parts {
		for _, f := range job.Need(part) {
			job.Keep(f)
		}
	}
	job.From("config.txt", "config", "")
	job.From("cmdline.txt", "kernel.cmdline", "")
	if err := job.Write(ctx, "config.txt", text(configTxt(p))); err != nil {
		return err
	}
	return job.Write(ctx, "cmdline.txt", text(p.Cmdline+"\n"))
}

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

// configTxt is the content of config.txt. arm_64bit is said aloud because a Pi 3 starts
// a 32-bit kernel without it. Every filter is closed with [all]: filters of different
// kinds add up otherwise, and the bootloader may append a section of its own.
func configTxt(p params) string {
	var b strings.Builder
	b.WriteString("# Written by piimg. Change the recipe, not this file.\n")
	b.WriteString("arm_64bit=1\n")
	fmt.Fprintf(&b, "kernel=%s\n", p.Kernel)
	if p.Initramfs != "" {
		fmt.Fprintf(&b, "initramfs %s followkernel\n", p.Initramfs)
	}
	for _, o := range p.Overlays {
		fmt.Fprintf(&b, "dtoverlay=%s\n", o)
	}
	for _, s := range p.Config {
		if s.Filter != "" {
			fmt.Fprintf(&b, "[%s]\n", s.Filter)
		}
		for _, l := range s.Lines {
			fmt.Fprintf(&b, "%s=%s\n", l.Key, l.Value)
		}
		if s.Filter != "" {
			b.WriteString("[all]\n")
		}
	}
	return b.String()
}
