package main

import (
	"time"

	"piimg/pipeline"
)

// progress shows what the pipeline does: a line for each step that runs, and what it says
// on a line that is written over.
type progress struct {
	ui      *ui
	verbose bool // keep what steps say

}

func (p *progress) event(e pipeline.Event) {
	switch e.Kind {
	case pipeline.Started:
		p.ui.say("%-10s %s", e.Step, e.Text)
	case pipeline.Finished:
		p.ui.say("%-10s done in %s, %s new in the store", e.Step, e.Elapsed.Round(10*time.Millisecond), size(e.Wrote))
	case pipeline.Log:
		if p.verbose {
			p.ui.say("%-10s | %s", e.Step, e.Text)
		} else {
			p.ui.now("%-10s | %s", e.Step, e.Text)
		}
	}
}
