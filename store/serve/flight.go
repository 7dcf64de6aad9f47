package serve

import (
	"context"
	"errors"
	"sync"
)

// errClosed is the answer of a front end that has been closed.
var errClosed = errors.New("the front end is closed")

// crew runs work that outlives the request that asked for it, and can be sent home.
type crew struct {
	ctx  context.Context
	stop context.CancelFunc

	mu   sync.Mutex
	wg   sync.WaitGroup
	gone bool
}

func newCrew() *crew {
	ctx, stop := context.WithCancel(context.Background())
	return &crew{ctx: ctx, stop: stop}
}

// run starts work, and says whether it did.
func (c *crew) run(work func(ctx context.Context)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return false
	}
	c.wg.Go(func() { work(c.ctx) })
	return true
}

// dismiss cancels all work and waits for its end.
func (c *crew) dismiss() {
	c.mu.Lock()
	c.gone = true
	c.mu.Unlock()
	c.stop()
	c.wg.Wait()
}

// group runs one call per key at a time, and everyone who asks meanwhile gets its
// result. The zero group is ready.
type group[K comparable, V any] struct {
	mu    sync.Mutex
	calls map[K]*call[V]
}

type call[V any] struct {
	done  chan struct{}
	value V
	err   error
}

// do waits for the result of work until ctx ends; the work itself goes on then.
func (g *group[K, V]) do(ctx context.Context, crew *crew, key K, work func(context.Context) (V, error)) (V, error) {
	c, err := g.join(crew, key, work)
	if err != nil {
		return *new(V), err
	}
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
		return *new(V), ctx.Err()
	}
}

// anew is do for who wants to know what has become so by now: a call that runs already may
// have looked before that, and is only waited for.
func (g *group[K, V]) anew(ctx context.Context, crew *crew, key K, work func(context.Context) (V, error)) (V, error) {
	g.mu.Lock()
	running := g.calls[key]
	g.mu.Unlock()
	if running != nil {
		select {
		case <-running.done:
		case <-ctx.Done():
			return *new(V), ctx.Err()
		}
	}
	return g.do(ctx, crew, key, work)
}

// join is the running call for key, which it starts where none runs.
func (g *group[K, V]) join(crew *crew, key K, work func(context.Context) (V, error)) (*call[V], error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.calls[key]; c != nil {
		return c, nil
	}
	c := &call[V]{done: make(chan struct{})}
	if g.calls == nil {
		g.calls = map[K]*call[V]{}
	}
	g.calls[key] = c
	started := crew.run(func(ctx context.Context) {
		c.value, c.err = work(ctx)
		g.mu.Lock()
		delete(g.calls, key)
		g.mu.Unlock()
		close(c.done)
	})
	if !started {
		delete(g.calls, key)
		return nil, errClosed
	}
	return c, nil
}
