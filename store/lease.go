package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// LeaseTTL is how long a lease that nobody renews keeps what it names.
	LeaseTTL = 6 * time.Hour

	leaseRenewal = 10 * time.Minute
	leaseRetry   = time.Minute // after a renewal that failed
	leaseMargin  = 5 * time.Minute
	maxLeaseLen  = 16 << 20

	leaseFolder = "leases/"
)

// LeaseOptions say who holds content, and what for.
type LeaseOptions struct {
	Holder string // one line for people, such as "alice@ci, promote to prod"

	Waiting func(Sweep)                                      // told when a sweep has to be waited for; may be nil
	Now     func() time.Time                                 // nil for the clock
	Sleep   func(ctx context.Context, d time.Duration) error // nil to pass the time
}

// Lease keeps content from being collected while its holder works with it: whoever adds
// a root, or relies on blobs that are there already, holds them first. Renewing it is the
// lease's own business, until Release. It is safe for concurrent use.
//
// The order is what makes it safe. A lease is written first and the sign of a sweep read
// then; a sweep sets its sign first and reads the leases then. So one of the two sees the
// other, whatever the timing: the holder waits, or the sweep spares what is held.
type Lease struct {
	store *Store
	o     LeaseOptions

	mu      sync.Mutex
	key     string
	stop    func() // ends the renewals; nil where there are none
	images  map[Digest]bool
	blobs   map[Digest]int64 // sizes
	seen    map[Blob]bool    // in the store, while they were held
	renewed time.Time        // before the last write that succeeded, zero if there was none
	settled bool             // all that is to be held was written, and no sweep seen then
	gap     bool             // the lease had ended before it was written again
}

// leaseDoc is the stored form of a lease. It lives for TTL from when it was written, by
// the clock of the store.
type leaseDoc struct {
	Version int      `json:"v"`
	Holder  string   `json:"holder"`
	TTL     int64    `json:"ttl"`    // seconds
	Images  []Digest `json:"images"` // with all that they consist of; they may not be there yet
	Blobs   []Digest `json:"blobs"`
}

const leaseVersion = 1

// NewLease is a lease on nothing yet.
func (s *Store) NewLease(o LeaseOptions) *Lease {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	return &Lease{store: s, o: o, key: newLeaseKey(), images: map[Digest]bool{}, blobs: map[Digest]int64{}, seen: map[Blob]bool{}}
}

func newLeaseKey() string { return leaseFolder + strings.ToLower(rand.Text()) + ".json" }

// HoldImage holds the image named d, which has to be complete: a blob that is missing is
// named by an error that wraps io/fs.ErrNotExist, one of another size by ErrCorrupt. On
// success the caller calls Confirm before it adds a root, and Release in the end.
func (s *Store) HoldImage(ctx context.Context, o LeaseOptions, d Digest) (*Lease, error) {
	l := s.NewLease(o)
	err := l.HoldImage(ctx, d)
	if err == nil {
		err = s.checkImage(ctx, d)
	}
	if err != nil {
		l.Release(ctx)
		return nil, err
	}
	return l, nil
}

// checkImage says what the image named d lacks.
func (s *Store) checkImage(ctx context.Context, d Digest) error {
	i, err := s.Image(ctx, d)
	if err != nil {
		return err
	}
	if err := s.Complete(ctx, i); err != nil {
		return fmt.Errorf("image %s is not complete: %w", d.Short(), err)
	}
	return nil
}

// Hold adds blobs to the lease and waits while a sweep is under way. Whether they are
// there has to be found out afterwards: what was seen before may be gone.
func (l *Lease) Hold(ctx context.Context, blobs ...Blob) error {
	return l.hold(ctx, func() (news bool) {
		for _, b := range blobs {
			if size, ok := l.blobs[b.Digest]; !ok || size != b.Size {
				l.blobs[b.Digest], news = b.Size, true
			}
		}
		return news
	})
}

// HoldImage is Hold for the manifest of an image and all that it names, then or later.
func (l *Lease) HoldImage(ctx context.Context, d Digest) error {
	return l.hold(ctx, func() bool {
		news := !l.images[d]
		l.images[d] = true
		return news
	})
}

func (l *Lease) hold(ctx context.Context, add func() (news bool)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if add() {
		l.settled = false
	}
	if l.settled && !l.lapsed() {
		return nil
	}
	if l.stop == nil {
		l.startRenewing(ctx)
	}
	return l.take(ctx)
}

// take writes the lease and then waits until nothing is swept. The caller holds l.mu.
func (l *Lease) take(ctx context.Context) error {
	l.settled = false
	if err := l.write(ctx); err != nil {
		return err
	}
	if err := l.awaitSweep(ctx); err != nil {
		return err
	}
	l.settled = true
	return nil
}

// write writes the lease. The caller holds l.mu.
func (l *Lease) write(ctx context.Context) error {
	doc, err := json.Marshal(leaseDoc{
		Version: leaseVersion, Holder: l.o.Holder, TTL: int64(LeaseTTL / time.Second),
		Images: sorted(l.images), Blobs: sorted(l.blobs),
	})
	if err != nil {
		return err
	}
	if len(doc) > maxLeaseLen {
		return fmt.Errorf("lease: %d blobs are more than one lease can name", len(l.blobs))
	}
	if !l.renewed.IsZero() && l.lapsed() {
		// Under another key, for a collection may just be removing the one that ended.
		l.gap, l.key = true, newLeaseKey()
		clear(l.seen)
	}
	before := l.o.Now()
	if err := l.store.bucket.Put(ctx, l.key, Bytes(doc)); err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	l.renewed = before
	return nil
}

// lapsed says whether the lease may have ended: the holder was suspended, or the store
// could not be reached. The caller holds l.mu.
func (l *Lease) lapsed() bool {
	now := l.o.Now()
	// The monotonic clock stands still while a machine sleeps, the other one may be set back.
	held := max(now.Sub(l.renewed), now.Round(0).Sub(l.renewed.Round(0)))
	return l.renewed.IsZero() || held > LeaseTTL-leaseMargin
}

// Confirm says by nil that nothing of what is held can have been collected since it was
// seen. Call it right before a root is added, and again afterwards. Where the lease has
// lapsed, it is taken again and everything looked for once more: what is gone is named by
// an error that wraps io/fs.ErrNotExist or ErrCorrupt.
func (l *Lease) Confirm(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	nothing := len(l.images)+len(l.blobs) == 0
	if nothing || l.settled && !l.gap && !l.lapsed() {
		return nil
	}
	if err := l.take(ctx); err != nil {
		return err
	}
	if err := l.complete(ctx); err != nil {
		return fmt.Errorf("the lease had lapsed: %w", err)
	}
	l.gap = false
	return nil
}

// complete looks for all that is held. The caller holds l.mu.
func (l *Lease) complete(ctx context.Context) error {
	for _, d := range sorted(l.images) {
		if err := l.store.checkImage(ctx, d); err != nil {
			return err
		}
	}
	for _, d := range sorted(l.blobs) {
		b := Blob{d, l.blobs[d]}
		if have, err := l.store.Blobs().Has(ctx, b); err != nil {
			return err
		} else if !have {
			return fmt.Errorf("blob %s of %d bytes is gone: %w", d.Short(), b.Size, fs.ErrNotExist)
		}
	}
	return nil
}

// Release ends the lease, which is of no use any more. It does so after ctx has ended,
// too; where the store cannot be reached the lease ends by itself, some hours later.
func (l *Lease) Release(ctx context.Context) {
	l.mu.Lock()
	stop := l.stop
	l.stop = nil
	l.mu.Unlock()
	if stop == nil {
		return // nothing was written
	}
	stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_ = l.store.bucket.Delete(ctx, l.key)
}

// startRenewing renews the lease now and then. The caller holds l.mu.
func (l *Lease) startRenewing(ctx context.Context) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	l.stop = func() { cancel(); <-ended }
	go func() {
		defer close(ended)
		pause := leaseRenewal
		for sleep(ctx, pause) == nil {
			pause = leaseRenewal
			if err := l.renew(ctx); err != nil {
				pause = leaseRetry
			}
		}
	}()
}

func (l *Lease) renew(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil || l.lapsed() {
		return ctx.Err() // what may be gone has to be looked for: Confirm does
	}
	return l.write(ctx)
}

// awaitSweep returns once no sweep is under way. The caller holds l.mu.
func (l *Lease) awaitSweep(ctx context.Context) error {
	told := ""
	for {
		w, err := l.store.Sweeping(ctx)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("lease: %w", err)
		}
		if l.o.Waiting != nil && told != w.Run {
			l.o.Waiting(w)
			told = w.Run
		}
		if err := l.o.Sleep(ctx, sweepPoll); err != nil {
			return err
		}
		if err := l.write(ctx); err != nil { // its time is what the store's clock says
			return err
		}
		own, err := l.store.bucket.Stat(ctx, l.key)
		if err != nil {
			return fmt.Errorf("lease: %w", err)
		}
		if dead, err := w.dead(ctx, l.store, own.Time); err != nil || dead {
			return err
		}
	}
}

// Held is what a lease that is in force keeps.
type Held struct {
	Holder string
	Until  time.Time // by the clock of the store
	Images []Digest
	Blobs  []Digest
}

// Leases are the leases in force at the time now of the store's clock, and the keys of
// those that have ended. One that cannot be read is an error.
func (s *Store) Leases(ctx context.Context, now time.Time) (live []Held, ended []string, err error) {
	keys, err := s.leaseKeys(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("list leases: %w", err)
	}
	for _, key := range keys {
		h, err := s.lease(ctx, key)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// released meanwhile: its roots are there, or it left none
		case err != nil:
			return nil, nil, err
		case h.Until.Before(now):
			ended = append(ended, key)
		default:
			live = append(live, h)
		}
	}
	return live, ended, nil
}

// leaseKeys lists the leases twice, for a lease is written again while it is in force: some
// file systems do not list a name that is just being given to another file. While a sweep
// is under way nobody writes a lease twice within a second.
func (s *Store) leaseKeys(ctx context.Context) ([]string, error) {
	seen := map[string]bool{}
	for range 2 {
		for info, err := range s.bucket.List(ctx, leaseFolder, "") {
			if err != nil {
				return nil, err
			}
			seen[info.Key] = true
		}
	}
	return slices.Sorted(maps.Keys(seen)), nil
}

// lease reads a lease. Its time is read first: one that is written again in between lives
// longer than that says.
func (s *Store) lease(ctx context.Context, key string) (Held, error) {
	info, err := s.bucket.Stat(ctx, key)
	if err != nil {
		return Held{}, err
	}
	doc, err := readObject(ctx, s.bucket, key, maxLeaseLen)
	if err != nil {
		return Held{}, err
	}
	var l leaseDoc
	if err := json.Unmarshal(doc, &l); err != nil {
		return Held{}, fmt.Errorf("read %s: %w: %w", info.Key, ErrCorrupt, err)
	}
	if l.Version != leaseVersion || l.TTL <= 0 || l.TTL > int64(365*24*time.Hour/time.Second) {
		return Held{}, fmt.Errorf("read %s: a lease of version %d for %d seconds: %w", info.Key, l.Version, l.TTL, ErrCorrupt)
	}
	return Held{l.Holder, info.Time.Add(time.Duration(l.TTL) * time.Second), l.Images, l.Blobs}, nil
}

func sorted[V any](set map[Digest]V) []Digest {
	all := slices.AppendSeq([]Digest{}, maps.Keys(set)) // not null where it is empty
	slices.SortFunc(all, Digest.Compare)
	return all
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
