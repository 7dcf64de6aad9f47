package env

import (
	"context"
	"fmt"

	"piimg/store"
)

// past is what an environment has run, as a stack of images that its log spells out: a
// promotion pushes its image, a rollback pops until its image is on top, and pushes it
// where the stack does not have it. So a rollback after a rollback goes further back
// instead of undoing it, and a promotion after one forgets what was popped.
//
// The stack is not built from step 1 on, for an environment that CI promotes to has
// thousands of steps, but from the head down and only as far as it is asked for. This
// works because an entry that pushes does so on the stack as it was one step earlier.
type past struct {
	ctx   context.Context
	store *store.Store
	steps []Entry         // the head and those before it, without a gap
	tops  map[int64]Entry // what top has found
}

func newPast(ctx context.Context, s *store.Store, head Entry) *past {
	return &past{ctx, s, []Entry{head}, map[int64]Entry{}}
}

// at is the entry numbered seq, from 1 on. It reads what lies between it and the head
// too, and checks that each entry follows the one before.
func (p *past) at(seq int64) (Entry, error) {
	head := p.steps[0]
	for int64(len(p.steps)) <= head.Seq-seq {
		newer := p.steps[len(p.steps)-1]
		e, err := at(p.ctx, p.store, head.Env, newer.Seq-1)
		if err != nil {
			return Entry{}, err
		}
		if err := follows(newer, e); err != nil {
			return Entry{}, err
		}
		p.steps = append(p.steps, e)
	}
	return p.steps[head.Seq-seq], nil
}

// top is the entry that pushed what was on top of the stack after step seq, and the
// zero Entry where the stack was empty.
func (p *past) top(seq int64) (Entry, error) {
	if seq == 0 {
		return Entry{}, nil
	}
	if e, ok := p.tops[seq]; ok {
		return e, nil
	}
	e, err := p.at(seq)
	if err != nil {
		return Entry{}, err
	}
	if e.Action == RolledBack || e.Image == e.From {
		e, err = p.popTo(e)
	}
	if err == nil {
		p.tops[seq] = e
	}
	return e, err
}

// popTo is the entry that pushed e's image on the stack before e, the highest of
// several, and e where there is none.
func (p *past) popTo(e Entry) (Entry, error) {
	pushed, err := p.top(e.Seq - 1)
	for err == nil && pushed.Seq > 0 {
		if pushed.Image == e.Image {
			return pushed, nil
		}
		pushed, err = p.top(pushed.Seq - 1)
	}
	return e, err
}

// back is the entry that pushed the image n below the top.
func (p *past) back(n int) (Entry, error) {
	head := p.steps[0]
	e, err := p.top(head.Seq)
	for have := 0; have < n && err == nil; have++ {
		if e.Seq == 1 { // the first entry pushes on an empty stack
			return Entry{}, p.noneBefore(have)
		}
		e, err = p.top(e.Seq - 1)
	}
	return e, err
}

func (p *past) noneBefore(have int) error {
	head := p.steps[0]
	if have == 0 {
		return absent(fmt.Sprintf("%s has no image before %s", head.Env, head.Image.Short()))
	}
	return absent(fmt.Sprintf("%s~%d is as far back as it goes", head.Env, have))
}

// ran says whether the environment has ever run image.
func (p *past) ran(image store.Digest) (bool, error) {
	for seq := p.steps[0].Seq; seq > 0; seq-- {
		if e, err := p.at(seq); err != nil || e.Image == image {
			return err == nil, err
		}
	}
	return false, nil
}
