package pipeline

import (
	"context"
	"io/fs"
	"sync"
)

// sourceSet fetches each source of a plan once, however many steps read it.
type sourceSet struct {
	plan *Plan

	mu   sync.Mutex
	have map[string]*fetching
}

type fetching struct {
	done chan struct{}
	got  Fetched
	err  error
}

func newSourceSet(pl *Plan) *sourceSet { return &sourceSet{plan: pl, have: map[string]*fetching{}} }

// opened says whether any step has asked for the source.
func (s *sourceSet) opened(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.have[name] != nil
}

func (s *sourceSet) get(ctx context.Context, name string) (fs.FS, error) {
	s.mu.Lock()
	f, begun := s.have[name]
	if !begun {
		f = &fetching{done: make(chan struct{})}
		s.have[name] = f
	}
	s.mu.Unlock()
	if !begun {
		f.got, f.err = s.plan.pipeline.Fetch(ctx, s.plan.wish.Recipe, s.plan.lock, name)
		close(f.done)
	}
	select {
	case <-f.done:
		return f.got.FS, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
