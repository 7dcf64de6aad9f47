// Package firmware is the stage that takes the closed-source second stage (start4.elf,
// fixup4.dat and their like) and its licence from a source, unmodified: the licence
// allows redistribution of nothing else.
package firmware

import (
	"context"
	"errors"
	"io/fs"

	"piimg/pipeline"
	"piimg/recipes"
)

// Stage is the firmware stage.
type Stage struct{}

// params are what the files depend on besides the source.
type params struct {
	From    string   `json:"from"`
	Files   []string `json:"files"`   // patterns, each of which has to match
	Licence []string `json:"licence"` // patterns that need not match
}

// licences are the names under which the firmware's licence is shipped; Raspberry Pi
// spells it with a C and gokrazy with an S, and Debian, of whose package an image may be the
// source, has it in a copyright file.
var licences = []string{"LICEN[CS]E.broadcom", "copyright"}

func (Stage) Name() string { return "firmware" }
func (Stage) Version() int { return 1 }

// Plan asks for what the boards load, and for nothing where no board loads any.
func (Stage) Plan(w pipeline.Wish) (*pipeline.Step, error) {
	files := w.Recipe.Firmware.Files
	if len(files) == 0 {
		files = needed(w.Boards)
	}
	if len(files) == 0 {
		return nil, nil
	}
	from := w.Recipe.Firmware.From
	if from == "" {
		return nil, errors.New("firmware.from: the boards need firmware, and the recipe names no source of it")
	}
	return &pipeline.Step{
		Params:  params{from, files, licences},
		Sources: []string{from},
	}, nil
}

// needed are the default files of the boards, each once.
func needed(boards []recipes.Board) []string {
	var files []string
	seen := map[string]bool{}
	for _, b := range boards {
		for _, list := range [][]string{b.ROMFiles, first(b.Starts), first(b.Fixups)} {
			for _, f := range list {
				if !seen[f] {
					seen[f] = true
					files = append(files, f)
				}
			}
		}
	}
	return files
}

// first is the part of a list that the firmware prefers.
func first(list []string) []string { return list[:min(1, len(list))] }

// Run copies the files.
func (Stage) Run(ctx context.Context, job *pipeline.Job) error {
	var p params
	if err := job.Params(&p); err != nil {
		return err
	}
	for _, pattern := range p.Files {
		if err := job.CopyAll(ctx, recipes.Ref{Source: p.From, Path: pattern}, "firmware.from"); err != nil {
			return job.At("firmware.from", err)
		}
	}
	for _, pattern := range p.Licence {
		err := job.CopyAll(ctx, recipes.Ref{Source: p.From, Path: pattern}, "firmware.from")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
