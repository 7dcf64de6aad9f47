package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"piimg/store"
)

// Reuse is what becomes of finished steps.
//
// Which steps are finished is remembered in the store, for all that use it. Content there is
// named by its digest and needs no trust; that a key gave this content is the word of whoever
// ran the step. So each trust scope has a place of its own: a build takes what its own scope
// remembers and what trusted builds do, and writes to its own alone. What the builds of an
// untrusted branch say is believed by the builds of their scope and by no others.
type Reuse int

// The ways to treat finished steps.
const (
	ReuseFinished Reuse = iota // take their results
	ReuseVerify                // run them again, and fail where a result is not the same
	ReuseRenew                 // run them again, and remember the new results
	ReuseNothing               // run them again, and remember nothing
)

// DifferError: a step gave another result than the one that is remembered.
type DifferError struct {
	Step string // its name
	Err  error  // which file, and how
}

func (e *DifferError) Error() string {
	return fmt.Sprintf("stage %s: not what the store remembers: %v", e.Step, e.Err)
}

func (e *DifferError) Unwrap() error { return e.Err }

// place is where finished steps are remembered, and what the inputs of a step are there.
type place struct {
	steps  store.Steps
	inputs []store.Input
	key    store.Digest
}

// places are where a step may be remembered: in its own scope, and then among what is trusted.
func (p *Pipeline) places(inputs []store.Input) ([]place, error) {
	scopes := []string{p.Scope}
	if p.Scope != "" {
		scopes = append(scopes, "")
	}
	var all []place
	for _, scope := range scopes {
		in := slices.Clone(inputs)
		for n := range in {
			if in[n].Name == scopeInput {
				in[n].Value = scope
			}
		}
		key, err := keyOf(in)
		if err != nil {
			return nil, err
		}
		all = append(all, place{p.steps(scope), in, key})
	}
	return all, nil
}

// lookup looks for n among the finished steps. All that n needs is made.
func (pl *Plan) lookup(ctx context.Context, n *node, made map[*node]store.Step) (found, error) {
	places, err := pl.pipeline.places(n.inputs(made))
	if err != nil {
		return found{}, fmt.Errorf("key of %s: %w", n.name(), err)
	}
	miss := found{Step: store.Step{Key: places[0].key, Inputs: places[0].inputs}, why: "finished steps are not reused"}
	if pl.pipeline.Reuse >= ReuseRenew {
		return miss, nil
	}
	for _, p := range places {
		step, err := p.steps.Get(ctx, p.key)
		if err == nil {
			return found{step, true, "unchanged"}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return found{}, fmt.Errorf("look for step %s: %w", n.name(), err)
		}
	}
	miss.why = pl.whyNot(ctx, n, places)
	return miss, ctx.Err()
}

// whyNot says why n is not finished.
func (pl *Plan) whyNot(ctx context.Context, n *node, places []place) string {
	for _, p := range places {
		last, err := p.steps.Last(ctx, pl.wish.Recipe.Name, n.name())
		switch {
		case err != nil:
			continue
		case last.Key == p.key:
			return "its result is no longer in the store"
		}
		return difference(last.Inputs, p.inputs)
	}
	return "never built in this store"
}

// settle compares step with what is remembered, where that is asked for, and remembers it.
func (e *execution) settle(ctx context.Context, n *node, known found, step store.Step) error {
	if known.hit && e.pipeline.Reuse == ReuseVerify {
		if err := same(known.Step, step); err != nil {
			return &DifferError{n.name(), err}
		}
	}
	steps := e.pipeline.steps(e.pipeline.Scope)
	var err error
	if e.pipeline.Reuse == ReuseNothing || known.hit && e.pipeline.Reuse == ReuseVerify {
		err = steps.Keep(ctx, step)
	} else {
		err = steps.Put(ctx, e.wish.Recipe.Name, n.name(), step)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errCollected, err)
	}
	return err
}
