package main

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"piimg/pipeline"
)

// progress shows what the pipeline does: a line when a step begins and ends, and on a
// terminal one that is written over with the steps that run, for how long, and what they
// say.
type progress struct {
	ui      *ui
	now     func() time.Time
	verbose bool // keep what steps say

	mu      sync.Mutex
	running []*running // in the order in which they began
	stop    chan struct{}
}

// running is a step that runs.
type running struct {
	step  string
	since time.Time
	says  string
}

// tick is how often the line is written anew.
const tick = 200 * time.Millisecond

func (p *progress) event(e pipeline.Event) {
	switch e.Kind {
	case pipeline.Started:
		p.ui.say("%-10s running (%s)", e.Step, e.Text)
		p.begin(e.Step)
	case pipeline.Finished:
		p.end(e.Step)
		p.ui.say("%-10s done in %s, %s new in the store", e.Step, e.Elapsed.Round(10*time.Millisecond), size(e.Wrote))
	case pipeline.Failed:
		p.end(e.Step)
	case pipeline.Log:
		p.log(e)
	}
}

func (p *progress) log(e pipeline.Event) {
	if p.verbose {
		p.ui.say("%-10s | %s", e.Step, e.Text)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.running {
		if r.step == e.Step {
			r.says = strings.Join(strings.Fields(e.Text), " ")
		}
	}
}

func (p *progress) begin(step string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = append(p.running, &running{step: step, since: p.now()})
	if p.ui.terminal && p.stop == nil {
		p.stop = make(chan struct{})
		go p.draw(p.stop)
	}
}

func (p *progress) end(step string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = slices.DeleteFunc(p.running, func(r *running) bool { return r.step == step })
	if len(p.running) == 0 && p.stop != nil {
		close(p.stop)
		p.stop = nil
	}
}

// draw writes the line over until stop is closed.
func (p *progress) draw(stop chan struct{}) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
			if line := p.line(); line != "" {
				p.ui.now("%s", line)
			}
		}
	}
}

// line is the step that runs longest, and how many more there are.
func (p *progress) line() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.running) == 0 {
		return ""
	}
	r := p.running[0]
	more := strings.Repeat("+", len(p.running)-1)
	return cmp.Or(more, " ") + " " + r.step + " " + p.now().Sub(r.since).Round(time.Second).String() + "  " + r.says
}
