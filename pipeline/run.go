package pipeline

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"time"

	"piimg/store"
)

// Result is what a finished plan has made.
type Result struct {
	Files []store.File      // of the last step, sorted by path
	Facts map[string]string // what steps found out, such as "kernel.release"
	// Origins are those of Files, and of the entries of archives among them.
	Origins map[string]store.Origin
	Ran     []string // names of the steps that ran
	Hits    []string // names of the steps that were finished already
	Wrote   int64    // bytes that were new to the store
}

// Run runs the steps that are not finished, independent ones at the same time. The first
// error ends it; what is finished by then stays finished.
func (pl *Plan) Run(ctx context.Context) (*Result, error) {
	if len(pl.nodes) == 0 {
		return nil, errors.New("the recipe asks for nothing")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sweep(pl.pipeline.Work)
	e := newExecution(pl)
	var wg sync.WaitGroup
	for _, n := range pl.nodes {
		wg.Go(func() {
			if err := e.execute(ctx, n); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return e.result(), nil
}

// execution is one run of a plan.
type execution struct {
	*Plan
	slots   chan struct{} // one for each step that may run now
	ready   map[*node]chan struct{}
	sources *sourceSet

	mu    sync.Mutex
	made  map[*node]store.Step
	ran   map[*node]bool
	wrote int64
}

func newExecution(pl *Plan) *execution {
	jobs := pl.pipeline.Jobs
	if jobs <= 0 {
		jobs = runtime.NumCPU()
	}
	e := &execution{
		Plan: pl, slots: make(chan struct{}, jobs), ready: map[*node]chan struct{}{},
		made: map[*node]store.Step{}, ran: map[*node]bool{}, sources: newSourceSet(pl),
	}
	for _, n := range pl.nodes {
		e.ready[n] = make(chan struct{})
	}
	return e
}

// execute waits for what n needs, and then looks n up or runs it.
func (e *execution) execute(ctx context.Context, n *node) error {
	for _, need := range n.needs {
		select {
		case <-e.ready[need]:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	step, err := e.make(ctx, n)
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.made[n] = step
	e.mu.Unlock()
	close(e.ready[n])
	return nil
}

func (e *execution) make(ctx context.Context, n *node) (store.Step, error) {
	e.mu.Lock()
	made := make(map[*node]store.Step, len(n.needs))
	for _, need := range n.needs {
		made[need] = e.made[need]
	}
	e.mu.Unlock()
	known, err := e.lookup(ctx, n, made)
	if err != nil {
		return store.Step{}, err
	}
	if known.hit && !e.pipeline.Check && e.pipeline.Reuse == ReuseFinished {
		e.pipeline.emit(Event{Step: n.name(), Kind: Hit})
		return known.Step, nil
	}
	return e.run(ctx, n, made, known)
}

// run runs n, once more where its result is to be checked, and remembers the result.
func (e *execution) run(ctx context.Context, n *node, made map[*node]store.Step, known found) (store.Step, error) {
	start := time.Now() //nolint:forbidigo // for people; no byte of an image depends on it
	e.pipeline.emit(Event{Step: n.name(), Kind: Started, Text: known.why})
	step, wrote, err := e.runOnce(ctx, n, made, known.Step)
	if err == nil && e.pipeline.Check {
		before := known.Step
		if !known.hit {
			before, _, err = e.runOnce(ctx, n, made, known.Step)
		}
		if err == nil {
			err = same(before, step)
		}
	}
	if err == nil {
		err = e.settle(ctx, n, known, step)
	}
	if errors.Is(err, errCollected) {
		// What it found in the store was collected before it was held. Now it is held.
		if step, wrote, err = e.runOnce(ctx, n, made, known.Step); err == nil {
			err = e.settle(ctx, n, known, step)
		}
	}
	if err != nil {
		e.pipeline.emit(Event{Step: n.name(), Kind: Failed, Text: err.Error(), Elapsed: time.Since(start)})
		var at *PlaceError
		var differ *DifferError
		if errors.As(err, &at) || errors.As(err, &differ) {
			return store.Step{}, err // which says where by itself
		}
		return store.Step{}, fmt.Errorf("stage %s: %w", n.name(), err)
	}
	e.mu.Lock()
	e.ran[n] = true
	e.wrote += wrote
	e.mu.Unlock()
	e.pipeline.emit(Event{Step: n.name(), Kind: Finished, Elapsed: time.Since(start), Wrote: wrote})
	return step, nil
}

// errCollected: an output was there when the step looked for it, and is not any more.
var errCollected = errors.New("collected meanwhile")

func (e *execution) runOnce(ctx context.Context, n *node, made map[*node]store.Step, step store.Step) (store.Step, int64, error) {
	job := newJob(e, n, made)
	defer job.close()
	if err := n.stage.Run(ctx, job); err != nil {
		return store.Step{}, 0, err
	}
	if err := e.unchanged(ctx, n); err != nil {
		return store.Step{}, 0, err
	}
	outputs, err := job.sorted()
	if err != nil {
		return store.Step{}, 0, err
	}
	step.Outputs, step.Facts, step.Origins = outputs, job.sortedFacts(), job.origins
	return step, job.wrote, nil
}

// unchanged says whether the files that n has read are still those that its key was made
// of. Without it a file that is edited while a step runs would be remembered under the
// key of what it was before.
func (e *execution) unchanged(ctx context.Context, n *node) error {
	r := e.wish.Recipe
	for _, rel := range n.step.Locals {
		now, err := hashLocal(r.Path("."), rel)
		if err != nil {
			return err
		}
		if now != n.value("file "+rel) {
			return fmt.Errorf("%s changed while it was read: %w", rel, ErrChanged)
		}
	}
	for _, name := range n.step.Sources {
		if r.Sources[name].Path == "" || !e.sources.opened(name) {
			continue // what was downloaded does not change
		}
		if _, err := e.pipeline.Fetch(ctx, r, e.lock, name); err != nil {
			return fmt.Errorf("%w: %w", err, ErrChanged)
		}
	}
	return nil
}

// ErrChanged: files changed while a build read them.
var ErrChanged = errors.New("the files of a build have to rest until it is done")

// same compares two results of one step.
func same(a, b store.Step) error {
	was := map[string]store.File{}
	for _, f := range a.Outputs {
		was[f.Path] = f
	}
	for _, f := range b.Outputs {
		if old, ok := was[f.Path]; !ok || old.Digest != f.Digest || old.Mode != f.Mode {
			return fmt.Errorf("the same inputs gave another %s: %s, then %s", f.Path, old.Digest.Short(), f.Digest.Short())
		}
		delete(was, f.Path)
	}
	for path := range was {
		return fmt.Errorf("the same inputs gave %s only once", path)
	}
	if !reflect.DeepEqual(a.Facts, b.Facts) {
		return fmt.Errorf("the same inputs gave other facts: %v, then %v", a.Facts, b.Facts)
	}
	return nil
}

func (e *execution) result() *Result {
	r := &Result{Facts: map[string]string{}, Wrote: e.wrote}
	for _, n := range e.nodes {
		for _, fact := range e.made[n].Facts {
			key, value, _ := strings.Cut(fact, "=")
			r.Facts[key] = value
		}
		if e.ran[n] {
			r.Ran = append(r.Ran, n.name())
		} else {
			r.Hits = append(r.Hits, n.name())
		}
	}
	r.Files = e.made[e.nodes[len(e.nodes)-1]].Outputs
	r.Origins = e.origins(r.Files)
	return r
}

// origins are those of files: what any step has recorded of them.
func (e *execution) origins(files []store.File) map[string]store.Origin {
	wanted := map[string]bool{}
	for _, f := range files {
		wanted[f.Path] = true
	}
	all := map[string]store.Origin{}
	for _, n := range e.nodes {
		for path, o := range e.made[n].Origins {
			if file, _, _ := strings.Cut(path, "!"); wanted[file] {
				all[path] = o
			}
		}
	}
	return all
}
