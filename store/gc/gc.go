// Package gc removes what nothing in a store names any more, and loses nothing that is
// named, whatever others do meanwhile.
//
// A collection marks: from the roots (heads and retained history of environments and
// boards, pins, leases, what front ends report to use, images published lately) down to
// blobs. What is not marked and has come of age is condemned, by a note in the store. A
// later collection that finds it condemned for long enough, and still not marked, sweeps
// it: it sets a sign that makes others wait who begin to rely on content, reads leases and
// then roots once more, and deletes what is still in nobody's use. See [store.Lease] for
// the other half of the bargain.
//
// Whatever it cannot read or does not know ends a collection before it deletes anything.
package gc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"piimg/store"
)

const (
	// MaxSkew is how far the local clock may be from the store's: ages are judged by both.
	MaxSkew = 5 * time.Minute

	quarantined   = 7 * 24 * time.Hour  // in quarantine, until it is gone for good
	inUseTTL      = 30 * 24 * time.Hour // of what a front end said that it uses
	forgotten     = time.Hour           // without a sign of life, until a sweep need not be broken by hand
	unfinishedTTL = 3 * 24 * time.Hour  // of uploads and temporaries
	atATime       = 16                  // requests
	minImages     = 3                   // of an environment's history, whatever is asked
)

// Options say what stays and what is done. The zero value looks and changes nothing.
type Options struct {
	Delete bool   // condemn, and delete what was condemned before
	Owner  string // who collects, for people; required with Delete

	Grace   time.Duration // how old, and then condemned for how long, what goes has to be; 0: 24 hours, below 0: not at all
	Images  int           // different images that each history keeps; 0: 10, and 3 at least
	History time.Duration // how long ago an image was run to be kept; 0: 90 days, below 0: not kept for that

	// Published is how long an image is kept that was published and that nothing else
	// keeps; 0: 14 days, below 0: not for that.
	Published time.Duration

	// NoEnvironments says that it is meant that nothing but leases and recent publications
	// keeps images. Without it, Delete refuses a store without environments and pins.
	NoEnvironments bool

	Now      func() time.Time   // nil for the clock
	Progress func(stage string) // told what is being done; may be nil
}

func (o Options) orDefault() Options {
	o.Grace = orDefault(o.Grace, 24*time.Hour)
	o.History = orDefault(o.History, 90*24*time.Hour)
	o.Published = orDefault(o.Published, store.PublishedTTL)
	if o.Images == 0 {
		o.Images = 10
	}
	o.Images = max(o.Images, minImages)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return o
}

// orDefault is d, the default in place of 0, and 0 in place of what is below.
func orDefault(d, standard time.Duration) time.Duration {
	if d == 0 {
		return standard
	}
	return max(d, 0)
}

// ErrNoEnvironments: nothing keeps the images of a store, so that all of them would go.
var ErrNoEnvironments = errors.New("the store has no environment and no pin")

// collection is one run.
type collection struct {
	Options
	store  *store.Store
	me     store.Sweep
	now    time.Time // of the store's clock, when the run began
	marker *marker
	signed bool // the sign of the sweep is left behind on purpose
}

// Run collects. The error wraps store.ErrConflict where another collection is deleting,
// store.ErrCorrupt or io/fs.ErrNotExist where a root or a manifest cannot be read; then
// nothing was deleted. The Report says how far it came.
func Run(ctx context.Context, s *store.Store, o Options) (Report, error) {
	c := newCollection(s, o)
	if o.Delete {
		return c.collect(ctx)
	}
	r, _, err := c.look(ctx)
	return r, err
}

func newCollection(s *store.Store, o Options) *collection {
	o = o.orDefault()
	started := o.Now()
	return &collection{Options: o, store: s, now: started, me: store.Sweep{
		Run:   started.UTC().Format("20060102t150405z") + "-" + strings.ToLower(rand.Text()[:12]),
		Owner: o.Owner, Time: started.UTC().Truncate(time.Second),
	}}
}

// collect condemns, and deletes what was condemned before.
func (c *collection) collect(ctx context.Context) (Report, error) {
	if err := c.begin(ctx); err != nil {
		return Report{}, err
	}
	defer c.silence(ctx)
	r, p, err := c.look(ctx)
	if err != nil {
		return r, err
	}
	if r.Bare && !c.NoEnvironments {
		return r, ErrNoEnvironments
	}
	if err := c.condemn(ctx, p); err != nil {
		return r, err
	}
	if r.Removed, err = c.sweep(ctx, p); err != nil {
		return r, err
	}
	r.Tidied, err = c.tidy(ctx, p)
	return r, err
}

// silence takes the sign of life away.
func (c *collection) silence(ctx context.Context) {
	if c.signed {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTime)
	defer cancel()
	_ = c.store.Silence(ctx, c.me) // it is removed a day later
}

// begin refuses where another collection is deleting, or the clocks disagree.
func (c *collection) begin(ctx context.Context) error {
	if c.Owner == "" {
		return errors.New("say who collects: the owner is empty")
	}
	at, err := c.clock(ctx)
	if err != nil {
		return err
	}
	c.now = at
	err = c.alone(ctx)
	if err != nil {
		c.silence(ctx)
	}
	return err
}

// clock is the time of the store, which has to be about that of this machine.
func (c *collection) clock(ctx context.Context) (time.Time, error) {
	before := c.Now()
	at, err := c.store.Beat(ctx, c.me)
	if err != nil {
		return time.Time{}, err
	}
	after := c.Now()
	if at.Before(before.Add(-MaxSkew)) || at.After(after.Add(MaxSkew)) {
		c.silence(ctx)
		return time.Time{}, skewed(at, after)
	}
	return at, nil
}

func skewed(store, local time.Time) error {
	return fmt.Errorf("the clock of the store says %s, this one %s: set the wrong one right, ages are judged by them",
		store.UTC().Format(time.DateTime), local.UTC().Format(time.DateTime))
}

// alone refuses where another collection is deleting. The sign of one that died long ago
// is taken away.
func (c *collection) alone(ctx context.Context) error {
	w, err := c.store.Sweeping(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	silent, err := c.store.Silent(ctx, w, c.now)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if silent < forgotten {
		return fmt.Errorf("%s is deleting since %s: %w", w.Owner, w.Time.UTC().Format(time.DateTime), store.ErrConflict)
	}
	_, err = c.store.BreakSweep(ctx, c.now)
	return err
}

// Break takes the sign away of a collection that was killed while it deleted. Errors are
// those of [store.Store.BreakSweep].
func Break(ctx context.Context, s *store.Store, o Options) (store.Sweep, error) {
	c := newCollection(s, o)
	now, err := c.clock(ctx)
	if err != nil {
		return store.Sweep{}, err
	}
	defer c.silence(ctx)
	return s.BreakSweep(ctx, now)
}

// look finds out what there is and what would become of it. It writes nothing.
func (c *collection) look(ctx context.Context) (Report, *plan, error) {
	c.marker = newMarker(c.store, c.Options, c.now)
	all, m, err := c.marker.pass(ctx, "")
	if err != nil {
		return Report{}, nil, err
	}
	if !c.Delete && all.newest.After(c.now.Add(MaxSkew)) {
		return Report{}, nil, skewed(all.newest, c.now)
	}
	before, err := readVerdicts(ctx, c.store.Bucket(), all.runs)
	if err != nil {
		return Report{}, nil, err
	}
	p := c.plan(all, m, before)
	r, err := c.report(ctx, p)
	return r, p, err
}
