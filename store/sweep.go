package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

const (
	sweepKey    = "gc/state.json"
	maxSweepLen = 64 << 10
	sweepPoll   = time.Second

	// SweepBeat is how often a sweep shows that it is alive.
	SweepBeat = 30 * time.Second
	// SweepStops is how old its last sign of life may be, by its own clock, for a sweep to
	// delete anything, and SweepDead how old by the store's for others to take it for dead.
	SweepStops = 2 * time.Minute
	SweepDead  = 5 * time.Minute
)

// Sweep is a collection that is deleting. While its sign is in the store, nobody begins
// to rely on content that nothing keeps.
type Sweep struct {
	Run   string    `json:"run"`   // its name, a part of keys
	Owner string    `json:"owner"` // for people
	Time  time.Time `json:"time"`  // when it began, by its own clock
}

func (w Sweep) beatKey() string { return "gc/beats/" + w.Run + ".json" }

// Beat is a sign of life of w. The answer is the time on the store's clock.
func (s *Store) Beat(ctx context.Context, w Sweep) (time.Time, error) {
	doc, err := json.Marshal(w)
	if err != nil {
		return time.Time{}, err
	}
	if err := s.bucket.Put(ctx, w.beatKey(), Bytes(doc)); err != nil {
		return time.Time{}, fmt.Errorf("give a sign of life: %w", err)
	}
	info, err := s.bucket.Stat(ctx, w.beatKey())
	if err != nil {
		return time.Time{}, fmt.Errorf("give a sign of life: %w", err)
	}
	return info.Time, nil
}

// BeginSweep sets the sign of w. The error wraps ErrConflict where another sweep has its
// own there.
func (s *Store) BeginSweep(ctx context.Context, w Sweep) error {
	doc, err := json.Marshal(w)
	if err != nil {
		return err
	}
	err = s.bucket.Create(ctx, sweepKey, doc)
	if !errors.Is(err, ErrConflict) {
		return err
	}
	other, serr := s.Sweeping(ctx)
	if serr != nil {
		return fmt.Errorf("another sweep has just been there: %w", err)
	}
	return fmt.Errorf("%s sweeps since %s: %w", other.Owner, other.Time.UTC().Format(time.DateTime), ErrConflict)
}

// EndSweep takes the sign of w away, and that of nobody else.
func (s *Store) EndSweep(ctx context.Context, w Sweep) error {
	now, err := s.Sweeping(ctx)
	if err == nil && now.Run == w.Run {
		err = s.bucket.Delete(ctx, sweepKey)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("end the sweep: %w", err)
	}
	return nil
}

// Silence removes the sign of life of w.
func (s *Store) Silence(ctx context.Context, w Sweep) error { return s.bucket.Delete(ctx, w.beatKey()) }

// BreakSweep takes the sign of a sweep away that has died, and returns what it was. The
// error wraps ErrConflict where it has given a sign of life in the last minutes or somebody
// else is just breaking it, and io/fs.ErrNotExist where there is none. now is the time on the
// store's clock.
func (s *Store) BreakSweep(ctx context.Context, now time.Time) (Sweep, error) {
	w, err := s.Sweeping(ctx)
	if err != nil {
		return Sweep{}, err
	}
	silent, err := s.Silent(ctx, w, now)
	if err != nil {
		return w, err
	}
	if silent <= SweepDead {
		return w, fmt.Errorf("%s gave a sign of life %s ago, and is dead only after %s without one: %w",
			w.Owner, silent.Round(time.Second), SweepDead, ErrConflict)
	}
	return w, s.breakSweep(ctx, w, now)
}

// breakSweep takes the sign of w away. Of several who would, one does: another's sign could
// be there by the time that the second one comes.
func (s *Store) breakSweep(ctx context.Context, w Sweep, now time.Time) error {
	key := "gc/broken/" + w.Run + ".json"
	err := s.bucket.Create(ctx, key, []byte(rand.Text()))
	if errors.Is(err, ErrConflict) {
		if info, serr := s.bucket.Stat(ctx, key); serr == nil && now.Sub(info.Time) > SweepDead {
			_ = s.bucket.Delete(ctx, key) // who made it has died: the next one succeeds
		}
		return fmt.Errorf("somebody else is breaking it: %w", ErrConflict)
	}
	if err != nil {
		return err
	}
	if err := s.EndSweep(ctx, w); err != nil {
		return err
	}
	return errors.Join(s.Silence(ctx, w), s.bucket.Delete(ctx, key))
}

// Sweeping is the sweep whose sign is there, and io/fs.ErrNotExist where there is none.
func (s *Store) Sweeping(ctx context.Context) (Sweep, error) {
	doc, err := readObject(ctx, s.bucket, sweepKey, maxSweepLen)
	if err != nil {
		return Sweep{}, err
	}
	var w Sweep
	if err := json.Unmarshal(doc, &w); err != nil || CheckKey(w.beatKey()) != nil || strings.Contains(w.Run, "/") {
		return Sweep{}, fmt.Errorf("read %s: %w", sweepKey, ErrCorrupt)
	}
	return w, nil
}

// Silent is for how long w has given no sign of life at the time now of the store's clock.
func (s *Store) Silent(ctx context.Context, w Sweep, now time.Time) (time.Duration, error) {
	info, err := s.bucket.Stat(ctx, w.beatKey())
	if errors.Is(err, fs.ErrNotExist) {
		info, err = s.bucket.Stat(ctx, sweepKey)
	}
	if err != nil {
		return 0, err
	}
	return now.Sub(info.Time), nil
}

// dead says whether w has ended without saying so. One that has ended as it should is
// not there any more.
func (w Sweep) dead(ctx context.Context, s *Store, now time.Time) (bool, error) {
	silent, err := s.Silent(ctx, w, now)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // it has ended: whoever waits sees that
	}
	return silent > SweepDead, err
}
