package gc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"piimg/store"
)

const requestTime = time.Minute // for what must not be broken off

// errStopped: a sweep that is no longer sure of being the only one deletes nothing more.
var errStopped = errors.New("the sweep has given no sign of life for too long, or its sign is gone: nothing more is deleted")

// rootPrefixes are the keys that are listed once more under the sign. Leases, pins and
// reports list theirs themselves.
var rootPrefixes = []string{"boards/", "envs/", "images/", "proposals/", "published/", "referrers/"}

// sweep deletes what is due and still in nobody's use.
func (c *collection) sweep(ctx context.Context, p *plan) (Amount, error) {
	if len(p.due)+len(p.records) == 0 {
		return Amount{}, nil
	}
	if err := c.store.BeginSweep(ctx, c.me); err != nil {
		return Amount{}, err
	}
	s := &sweeper{collection: c, beaten: c.Now()}
	live, stop := s.live(ctx)
	err := s.run(live, p)
	stop()
	if s.unsure {
		// A request may still be on its way. Others wait until the sign counts as dead.
		c.signed = true
		return s.removed, fmt.Errorf("%w; builds wait for the %s that it may take to be carried out", err, store.SweepDead)
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTime)
	defer cancel()
	return s.removed, errors.Join(err, c.store.EndSweep(end, c.me))
}

// sweeper deletes under its sign.
type sweeper struct {
	*collection

	mu      sync.Mutex
	beaten  time.Time // before the last sign of life
	removed Amount
	unsure  bool // whether a deletion was carried out is not known
}

// live is ctx for as long as the sign is ours. Signs of life are given until stop.
func (s *sweeper) live(ctx context.Context) (live context.Context, stop func()) {
	live, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(store.SweepBeat)
		defer tick.Stop()
		for {
			select {
			case <-live.Done():
				return
			case <-tick.C:
			}
			if err := s.beat(live); errors.Is(err, errStopped) {
				cancel(err)
			}
		}
	}()
	return live, func() { cancel(nil); <-ended }
}

// beat gives a sign of life, unless the sign of the sweep is another's by now.
func (s *sweeper) beat(ctx context.Context) error {
	before := s.Now()
	w, err := s.store.Sweeping(ctx)
	if errors.Is(err, fs.ErrNotExist) || err == nil && w.Run != s.me.Run {
		return errStopped
	}
	if err != nil {
		return err
	}
	if _, err := s.store.Beat(ctx, s.me); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beaten = before
	return nil
}

// alive says whether others still take this sweep for a live one, with time to spare.
func (s *sweeper) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	return max(now.Sub(s.beaten), now.Round(0).Sub(s.beaten.Round(0))) < store.SweepStops
}

// run marks once more and removes what is due and not marked: first what leads to it.
func (s *sweeper) run(ctx context.Context, p *plan) error {
	_, k, err := s.marker.pass(ctx, rootPrefixes...)
	if err != nil {
		return err
	}
	unmarked := func(d store.Digest) bool { _, live := k.live[d]; return !live }
	records := filter(p.records, unmarked)
	due := filter(p.due, unmarked)
	s.Progress(fmt.Sprintf("remove %d blobs", len(due)))
	if err := s.each(ctx, s.names(p, records), s.remove); err != nil {
		return err
	}
	manifests := filter(due, func(d store.Digest) bool { _, ok := p.all.records[d]; return ok })
	if err := s.blobs(ctx, p, manifests); err != nil {
		return err
	}
	return s.blobs(ctx, p, filter(due, func(d store.Digest) bool { _, ok := p.all.records[d]; return !ok }))
}

// names are the keys by which images that go are found, and what refers to them.
func (s *sweeper) names(p *plan, images []store.Digest) []string {
	var keys []string
	for _, d := range images {
		keys = append(keys, store.RecordKey(d))
		if _, ok := p.all.again[d]; ok {
			keys = append(keys, store.PublishedKey(d))
		}
		for _, r := range p.all.referrers[d] {
			keys = append(keys, "referrers/"+d.Hex()+"/"+r.Hex())
		}
	}
	return keys
}

func (s *sweeper) blobs(ctx context.Context, p *plan, blobs []store.Digest) error {
	keys := make([]string, len(blobs))
	for n, d := range blobs {
		keys[n] = store.BlobKey(d)
	}
	return s.each(ctx, keys, func(ctx context.Context, key string) error {
		err := s.setAside(ctx, key)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another collection was faster, before this one had its sign
		}
		if err != nil {
			return err
		}
		d, _ := store.BlobOf(key)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.removed.add(p.all.blobs[d].size)
		return nil
	})
}

// each removes several at a time. What is begun is brought to its end, also where the
// user interrupts: a deletion that is carried out later than the sign is there loses blobs.
func (s *sweeper) each(ctx context.Context, keys []string, do func(context.Context, string) error) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	for _, key := range keys {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := context.Cause(gctx); err != nil {
				return err
			}
			if !s.alive() {
				return errStopped
			}
			do1, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTime)
			defer cancel()
			err := do(do1, key)
			if err != nil {
				s.mu.Lock()
				s.unsure = true
				s.mu.Unlock()
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

func (s *sweeper) remove(ctx context.Context, key string) error {
	return s.store.Bucket().Delete(ctx, key)
}

// setAside moves a blob to quarantine where that costs nothing, and deletes it elsewhere.
func (s *sweeper) setAside(ctx context.Context, key string) error {
	b := s.store.Bucket()
	if m, ok := b.(store.Mover); ok {
		err := m.Move(ctx, key, store.CollectedKey(key))
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return b.Delete(ctx, key)
}

func filter(all []store.Digest, keep func(store.Digest) bool) []store.Digest {
	return slices.DeleteFunc(slices.Clone(all), func(d store.Digest) bool { return !keep(d) })
}
