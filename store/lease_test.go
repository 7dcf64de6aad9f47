package store_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/mem"
)

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// leases are the keys of the leases in b.
func leases(t *testing.T, b store.Bucket) []string {
	t.Helper()
	var all []string
	for info, err := range b.List(t.Context(), "leases/", "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info.Key)
	}
	return all
}

func putText(t *testing.T, s *store.Store, text string) store.Blob {
	t.Helper()
	c := store.Bytes([]byte(text))
	if _, err := s.Blobs().Put(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c.Blob()
}

// smallImage is an image whose blobs are in s.
func smallImage(t *testing.T, s *store.Store, kernel string) store.Image {
	t.Helper()
	return store.Image{Name: "test", Config: putText(t, s, "{}"), Files: []store.File{store.NewFile("kernel8.img", 0o644, putText(t, s, kernel))}}
}

func TestLeaseNamesWhatItHolds(t *testing.T) {
	s := newStore(t)
	l := s.NewLease(store.LeaseOptions{Holder: "alice, test"})
	if got := leases(t, s.Bucket()); len(got) != 0 {
		t.Errorf("before Hold there is %q", got)
	}
	a, b, image := store.Bytes([]byte("a")).Blob(), store.Bytes([]byte("b")).Blob(), store.Sum([]byte("image"))
	for _, err := range []error{l.Hold(t.Context(), a), l.Hold(t.Context(), a, b), l.HoldImage(t.Context(), image)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	live, ended, err := s.Leases(t.Context(), time.Now())
	if err != nil || len(live) != 1 || len(ended) != 0 {
		t.Fatalf("Leases = %v, %v, %v; want one", live, ended, err)
	}
	h := live[0]
	if h.Holder != "alice, test" || len(h.Blobs) != 2 || len(h.Images) != 1 || h.Images[0] != image {
		t.Errorf("held = %+v", h)
	}
	if left := time.Until(h.Until); left > store.LeaseTTL || left < store.LeaseTTL-time.Minute {
		t.Errorf("it ends in %v; want %v", left, store.LeaseTTL)
	}
	live, ended, err = s.Leases(t.Context(), time.Now().Add(store.LeaseTTL+time.Minute))
	if err != nil || len(live) != 0 || len(ended) != 1 {
		t.Errorf("Leases after its time = %v, %v, %v; want one that has ended", live, ended, err)
	}
	l.Release(t.Context())
	l.Release(t.Context())
	if got := leases(t, s.Bucket()); len(got) != 0 {
		t.Errorf("after Release there is %q", got)
	}
}

// TestLeaseIsReleasedAfterAnInterrupt: whoever is interrupted leaves nothing behind.
func TestLeaseIsReleasedAfterAnInterrupt(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	l := s.NewLease(store.LeaseOptions{})
	if err := l.Hold(ctx, store.Bytes([]byte("a")).Blob()); err != nil {
		t.Fatal(err)
	}
	cancel()
	l.Release(ctx)
	if got := leases(t, s.Bucket()); len(got) != 0 {
		t.Errorf("after Release there is %q", got)
	}
}

// TestLeaseWaitsForASweep: for as long as the sweep lives, and not for one that is dead.
func TestLeaseWaitsForASweep(t *testing.T) {
	for _, how := range []string{"ended", "dead"} {
		t.Run(how, func(t *testing.T) {
			b, w := mem.New(), store.Sweep{Run: "r1", Owner: "bob", Time: time.Now()}
			s, err := store.Init(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.BeginSweep(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			var waited []string
			sleeps := 0
			l := s.NewLease(store.LeaseOptions{
				Waiting: func(w store.Sweep) { waited = append(waited, w.Owner) },
				Sleep: func(ctx context.Context, _ time.Duration) error {
					if sleeps++; sleeps < 3 {
						return nil
					}
					if how == "ended" {
						return s.EndSweep(ctx, w)
					}
					b.SetTime("gc/state.json", time.Now().Add(-store.SweepDead-time.Minute))
					return nil
				},
			})
			defer l.Release(t.Context())
			if err := l.Hold(t.Context(), store.Bytes(nil).Blob()); err != nil {
				t.Fatal(err)
			}
			if sleeps != 3 || strings.Join(waited, " ") != "bob" {
				t.Errorf("Hold slept %d times and told of %q; want 3 and bob once", sleeps, waited)
			}
		})
	}
}

// TestLapsedLease: a holder that slept for too long takes the lease again and looks for
// everything once more.
func TestLapsedLease(t *testing.T) {
	s, c := newStore(t), newClock()
	d, err := s.PutImage(t.Context(), smallImage(t, s, "kernel"), store.Record{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.HoldImage(t.Context(), store.LeaseOptions{Now: c.now}, d)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release(t.Context())
	before := leases(t, s.Bucket())[0]
	c.pass(store.LeaseTTL)
	if err := l.Confirm(t.Context()); err != nil {
		t.Errorf("Confirm = %v; want nil: everything is there", err)
	}
	if after := leases(t, s.Bucket()); len(after) != 2 || after[0] != before && after[1] != before {
		t.Errorf("leases = %q; want another one beside %s", after, before)
	}
	c.pass(store.LeaseTTL)
	if err := s.Bucket().Delete(t.Context(), store.BlobKey(store.Sum([]byte("kernel")))); err != nil {
		t.Fatal(err)
	}
	// What is held in between does not hide that there was a gap.
	if err := l.Hold(t.Context(), store.Bytes(nil).Blob()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Confirm(t.Context()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "lapsed") {
			t.Errorf("Confirm = %v; want what is gone", err)
		}
	}
}

// TestFailedHoldHoldsNothing: after a Hold that failed, the next one is no repetition.
func TestFailedHoldHoldsNothing(t *testing.T) {
	s := newStore(t)
	l := s.NewLease(store.LeaseOptions{Sleep: func(context.Context, time.Duration) error { return errors.New("woken") }})
	defer l.Release(t.Context())
	w := store.Sweep{Run: "r1", Owner: "bob"}
	if err := s.BeginSweep(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	b := store.Bytes(nil).Blob()
	for range 2 {
		if err := l.Hold(t.Context(), b); err == nil || err.Error() != "woken" {
			t.Errorf("Hold during a sweep = %v; want woken", err)
		}
	}
	if err := s.EndSweep(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if err := l.Hold(t.Context(), b); err != nil {
		t.Error(err)
	}
}

// TestSweepsAreOne: one of two sets its sign, and takes away its own only.
func TestSweepsAreOne(t *testing.T) {
	s := newStore(t)
	one, two := store.Sweep{Run: "r1", Owner: "alice@a"}, store.Sweep{Run: "r2", Owner: "bob@b"}
	if err := s.BeginSweep(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if err := s.BeginSweep(t.Context(), two); !errors.Is(err, store.ErrConflict) || !strings.Contains(err.Error(), "alice@a sweeps since") {
		t.Errorf("second BeginSweep = %v; want ErrConflict that names alice", err)
	}
	if err := s.EndSweep(t.Context(), two); err != nil {
		t.Fatal(err)
	}
	if w, err := s.Sweeping(t.Context()); err != nil || w.Run != "r1" {
		t.Errorf("Sweeping = %+v, %v; want alice's", w, err)
	}
	if err := s.EndSweep(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweeping(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Sweeping after the end = %v; want fs.ErrNotExist", err)
	}
}

// TestPublishedAgain: an image that was published long ago is kept as a new one is.
func TestPublishedAgain(t *testing.T) {
	b := mem.New()
	s, err := store.Init(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	i := smallImage(t, s, "kernel")
	d, err := s.PutImage(t.Context(), i, store.Record{Actor: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutImage(t.Context(), i, store.Record{Actor: "bob"}); err != nil {
		t.Fatal(err)
	}
	note := store.PublishedKey(d)
	if _, err := b.Stat(t.Context(), note); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("note of an image that is new: %v", err)
	}
	b.SetTime("images/"+d.Hex()+".json", time.Now().Add(-store.PublishedTTL))
	if _, err := s.PutImage(t.Context(), i, store.Record{Actor: "bob"}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Stat(t.Context(), note); err != nil {
		t.Errorf("note of an image that was published again: %v", err)
	}
}
