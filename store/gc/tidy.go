package gc

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"piimg/store"
)

const (
	maxStepLen = 16 << 20
	leftTTL    = 24 * time.Hour // of what a run, or a probe, has left that was killed
	leaseSlack = time.Hour      // after its end, for the clock of who renews it late
)

// Tidied is what was removed besides blobs.
type Tidied struct {
	Steps      int `json:"steps"`      // finished steps whose outputs are gone
	Leases     int `json:"leases"`     // that nobody has renewed
	Uploads    int `json:"uploads"`    // uploads and temporaries that were never finished
	Quarantine int `json:"quarantine"` // objects that were set aside a week ago
}

// tidy removes what is of no use and was never a root.
func (c *collection) tidy(ctx context.Context, p *plan) (Tidied, error) {
	c.Progress("tidy up")
	var t Tidied
	var err error
	if t.Steps, err = c.tidySteps(ctx, p.all.steps); err != nil {
		return t, err
	}
	if t.Leases, err = c.tidyLeases(ctx); err != nil {
		return t, err
	}
	if t.Quarantine, err = c.tidyAside(ctx, p); err != nil {
		return t, err
	}
	if err = c.removeLeft(ctx, p.all.rest); err != nil {
		return t, err
	}
	if a, ok := c.store.Bucket().(store.Aborter); ok {
		t.Uploads, err = a.Abort(ctx, c.now.Add(-unfinishedTTL))
	}
	return t, err
}

// removeLeft removes what runs and probes have left that were killed a while ago.
func (c *collection) removeLeft(ctx context.Context, all []store.Info) error {
	for _, info := range all {
		if info.Time.After(c.now.Add(-leftTTL)) {
			continue
		}
		if err := c.store.Bucket().Delete(ctx, info.Key); err != nil {
			return err
		}
	}
	return nil
}

// tidyLeases removes leases that ended a while ago. A holder that takes one again does so
// under another key.
func (c *collection) tidyLeases(ctx context.Context) (n int, err error) {
	_, ended, err := c.store.Leases(ctx, c.now.Add(-leaseSlack))
	for _, key := range ended {
		if err := c.store.Bucket().Delete(ctx, key); err != nil {
			return n, err
		}
		n++
	}
	return n, err
}

// tidySteps removes finished steps whose outputs are gone, and those that cannot be read.
// Losing one that is just being written anew costs a build of that step.
func (c *collection) tidySteps(ctx context.Context, steps []store.Info) (n int, err error) {
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	for _, info := range steps {
		if info.Time.After(c.now.Add(-c.Grace)) {
			continue
		}
		g.Go(func() error {
			whole, err := c.wholeStep(ctx, info.Key)
			if err != nil || whole {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			n++
			return c.store.Bucket().Delete(ctx, info.Key)
		})
	}
	return n, g.Wait()
}

// wholeStep says whether all outputs of the step at key are there.
func (c *collection) wholeStep(ctx context.Context, key string) (bool, error) {
	r, err := c.store.Bucket().Get(ctx, key, 0, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // gone already
	}
	if err != nil {
		return false, err
	}
	defer r.Close()
	doc, err := io.ReadAll(io.LimitReader(r, maxStepLen))
	if err != nil {
		return false, err
	}
	var step store.Step
	if json.Unmarshal(doc, &step) != nil {
		return false, nil
	}
	for _, f := range step.Outputs {
		for _, b := range f.Parts {
			have, err := c.store.Blobs().Has(ctx, b)
			if err != nil || !have {
				return false, err
			}
		}
	}
	return true, nil
}
