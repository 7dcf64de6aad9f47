package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// keepEvery is the time between two looks for trails that have changed.
const keepEvery = time.Second

// trailDir holds the trail of each board, below the cache folder: a JSON list of its last
// boots. It is as bounded as trails are in memory.
const trailDir = "trail"

func (f *Front) trailFile(id string) string { return filepath.Join(f.cfg.Dir, trailDir, id+".json") }

// sweepTrails removes the trails of boards that nobody has seen for long, and of more boards
// than are remembered those that were seen longest ago.
func sweepTrails(dir string, now time.Time) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := removeTemps(dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var kept []fs.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			kept = append(kept, info)
		}
	}
	slices.SortFunc(kept, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for n, info := range kept {
		if n >= maxStations || now.Sub(info.ModTime()) > forgetAfter {
			if err := os.Remove(filepath.Join(dir, info.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// keepTrails writes what has changed, until ctx ends.
func (f *Front) keepTrails(ctx context.Context) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.flushTrails()
		}
	}
}

// flushTrails writes the trails that have changed since the last time, and those of boots
// about which more can be said now that their boards are silent.
func (f *Front) flushTrails() {
	now := f.cfg.Now()
	for _, st := range f.allStations() {
		st.mu.Lock()
		dirty := st.dirty || !st.quiet && len(st.trail) > 0 && now.Sub(st.trail[len(st.trail)-1].Seen) >= 2*silence
		st.quiet = dirty && now.Sub(st.seen) >= 2*silence || st.quiet && !st.dirty
		st.dirty = false
		var boots []Boot
		if dirty {
			boots = st.trail.boots(now)
		}
		st.mu.Unlock()
		if !dirty {
			continue
		}
		if err := writeJSON(f.trailFile(st.id), boots, false); err != nil {
			f.log.Warn("trail is not saved", "board", st.id, "err", err)
		}
	}
}

// boots is a copy of t, with what can be said of each boot now.
func (t trail) boots(now time.Time) []Boot {
	var all []Boot
	for _, a := range t {
		b := a.Boot
		b.Events = slices.Clone(b.Events)
		all = append(all, b)
	}
	return Diagnosed(all, now)
}

// restoreTrail reads what an earlier process has kept of st's boots.
func (f *Front) restoreTrail(st *station) {
	boots, err := readTrail(f.trailFile(st.id))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.log.Warn("kept trail is unreadable", "board", st.id, "err", err)
	}
	for _, b := range boots[max(0, len(boots)-maxBoots):] {
		st.trail = append(st.trail, &attempt{Boot: b})
	}
}

func readTrail(file string) ([]Boot, error) {
	var boots []Boot
	err := readJSON(file, &boots)
	return boots, err
}

// Trails are the last boots of each board, the oldest first, that a front end has kept below
// its cache folder dir, and of all front ends in dir where it has one folder for each store.
// It may be read while the front end runs. The error wraps io/fs.ErrNotExist where nothing
// was ever kept there.
func Trails(dir string) (map[string][]Boot, error) {
	all := map[string][]Boot{}
	found := false
	for _, below := range []string{"", "*"} {
		dirs, err := filepath.Glob(filepath.Join(escaped(dir), below, trailDir))
		if err != nil {
			return nil, err
		}
		for _, d := range dirs {
			found = true
			kept, err := eachTrail(d)
			if err != nil {
				return nil, err
			}
			for id, boots := range kept {
				all[id] = append(all[id], boots...)
				slices.SortStableFunc(all[id], func(a, b Boot) int { return a.Opened.Compare(b.Opened) })
			}
		}
	}
	if !found {
		return nil, fmt.Errorf("no front end has kept trails in %s: %w", dir, fs.ErrNotExist)
	}
	return all, nil
}

// eachTrail yields what is kept in dir, by board. What was removed meanwhile or is unreadable
// is left out: others are not.
func eachTrail(dir string) (iter.Seq2[string, []Boot], error) {
	entries, err := os.ReadDir(dir)
	return func(yield func(string, []Boot) bool) {
		for _, e := range entries {
			id, ok := strings.CutSuffix(e.Name(), ".json")
			if !ok || strings.HasPrefix(id, tempPrefix) {
				continue
			}
			boots, err := readTrail(filepath.Join(dir, e.Name()))
			if err == nil && len(boots) > 0 && !yield(id, boots) {
				return
			}
		}
	}, err
}
