// Package bootfs is the last stage: it writes config.txt and cmdline.txt and makes up
// the files that a board boots from.
package bootfs

import (
	"bytes"
	"context"
	"debug/pe"
	"fmt"
	"io"
	"io/fs"
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
	EFI       recipes.Ref       `json:"efi,omitzero"`
}

// efiName is where UEFI firmware on arm64 looks for what it starts (UEFI specification,
// 3.5.1.1).
const efiName = "EFI/BOOT/BOOTAA64.EFI"

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
	s := &pipeline.Step{Needs: parts}
	if r.Output != nil {
		p.EFI = r.Output.EFI
		s.Reads(p.EFI)
	}
	s.Params = p
	return s, nil
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
	if p.EFI.Path != "" {
		if err := copyEFI(ctx, job, p.EFI); err != nil {
			return job.At("output.efi", err)
		}
	}
	job.From("config.txt", "config", "")
	job.From("cmdline.txt", "kernel.cmdline", "")
	if err := job.Write(ctx, "config.txt", text(configTxt(p))); err != nil {
		return err
	}
	return job.Write(ctx, "cmdline.txt", text(p.Cmdline+"\n"))
}

// copyEFI copies the program that UEFI firmware starts, if it is one.
func copyEFI(ctx context.Context, job *pipeline.Job, from recipes.Ref) error {
	fsys, name, err := job.One(ctx, from)
	if err != nil {
		return err
	}
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	program, err := pe.NewFile(bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("%s is no program for UEFI: %w", from, err)
	}
	if program.Machine != pe.IMAGE_FILE_MACHINE_ARM64 {
		return fmt.Errorf("%s is a program for UEFI on another processor (machine %#x, arm64 is %#x)", from, program.Machine, pe.IMAGE_FILE_MACHINE_ARM64)
	}
	job.From(efiName, "output.efi", from.At(name))
	return job.Copy(ctx, fsys, name, efiName)
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
