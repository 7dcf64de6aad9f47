package gc

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"piimg/store"
	"piimg/store/board"
	"piimg/store/env"
)

// root is something that keeps an image, or a blob.
type root struct {
	digest store.Digest
	why    string // for people
	blob   bool   // the digest is that of any content, not of an image
	maybe  bool   // the image may not be there: yet, or any more
}

// roots reads all roots but leases, which were read before.
func (m *marker) roots(ctx context.Context, v *inventory) ([]root, error) {
	all := slices.Clone(m.held)
	for _, read := range []func(context.Context, *inventory) ([]root, error){
		m.environments, m.proposals, m.boards, m.published, m.pins, m.inUse,
	} {
		some, err := read(ctx, v)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

func (m *marker) leases(ctx context.Context) error {
	live, ended, err := m.store.Leases(ctx, m.now)
	m.held, m.ended = nil, ended
	for _, h := range live {
		why := fmt.Sprintf("lease of %s until %s", h.Holder, h.Until.UTC().Format(time.DateTime))
		for _, d := range h.Images {
			m.held = append(m.held, root{digest: d, why: why, maybe: true})
		}
		for _, d := range h.Blobs {
			m.held = append(m.held, root{digest: d, why: why, blob: true})
		}
	}
	return err
}

func (m *marker) environments(ctx context.Context, v *inventory) ([]root, error) {
	m.bare = len(v.envs) == 0
	return m.histories(ctx, v.envs, "envs/", func(name string, r run) string {
		if r.until.IsZero() {
			return "head of " + name
		}
		return fmt.Sprintf("%s@%d, until %s", name, r.seq, age(m.now, r.until))
	}, func(ctx context.Context, name string, seq int64) (store.Digest, error) {
		e, err := env.At(ctx, m.store, name, seq)
		return e.Image, err
	})
}

// proposals are images that wait for the signatures of others. A proposal that is none, or
// is for a head that has moved on, keeps nothing.
func (m *marker) proposals(ctx context.Context, v *inventory) ([]root, error) {
	var all []root
	for _, name := range slices.Sorted(maps.Keys(v.proposals)) {
		open, err := env.Proposals(ctx, m.store, name, env.Rules{}, m.now)
		if err != nil {
			return nil, err
		}
		for _, p := range open {
			all = append(all, root{digest: p.Image, why: "proposed for " + name, maybe: true})
		}
	}
	return all, nil
}

func (m *marker) boards(ctx context.Context, v *inventory) ([]root, error) {
	return m.histories(ctx, v.boards, "boards/", func(name string, r run) string {
		if r.until.IsZero() {
			return "board " + name
		}
		return fmt.Sprintf("board %s, until %s", name, age(m.now, r.until))
	}, func(ctx context.Context, name string, seq int64) (store.Digest, error) {
		a, err := board.At(ctx, m.store, board.ID(name), seq)
		return a.Image, err
	})
}

// histories reads the logs that have grown since they were read last.
func (m *marker) histories(ctx context.Context, logs map[string]*logKeys, folder string,
	why func(string, run) string, read func(context.Context, string, int64) (store.Digest, error),
) ([]root, error) {
	names := slices.Sorted(maps.Keys(logs))
	kept := make([][]run, len(names))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	for n, name := range names {
		l := logs[name]
		if known, ok := m.logs[folder+name]; ok && known.entries == len(l.times) {
			kept[n] = known.kept
			continue
		}
		g.Go(func() (err error) {
			kept[n], err = m.retained(gctx, l, m.now, func(ctx context.Context, seq int64) (store.Digest, error) {
				return read(ctx, name, seq)
			})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var all []root
	for n, name := range names {
		m.logs[folder+name] = knownLog{len(logs[name].times), kept[n]}
		for _, r := range kept[n] {
			all = append(all, root{digest: r.image, why: why(name, r)})
		}
	}
	return all, nil
}

func (m *marker) published(_ context.Context, v *inventory) ([]root, error) {
	var all []root
	for n, times := range []map[store.Digest]time.Time{v.records, v.again} {
		why := []string{"published ", "published again "}[n]
		for d, at := range times {
			if at.After(m.now.Add(-m.Published)) {
				all = append(all, root{digest: d, why: why + age(m.now, at)})
			}
		}
	}
	slices.SortFunc(all, func(a, b root) int { return a.digest.Compare(b.digest) })
	return all, nil
}

func (m *marker) pins(ctx context.Context, _ *inventory) ([]root, error) {
	var all []root
	for p, err := range m.store.Pins(ctx) {
		if err != nil {
			return nil, err
		}
		all = append(all, root{digest: p.Image, why: "pin " + p.Name})
	}
	m.bare = m.bare && len(all) == 0
	return all, nil
}

// inUse is what front ends serve. They have it in their own caches, so it may be gone.
func (m *marker) inUse(ctx context.Context, _ *inventory) ([]root, error) {
	var all []root
	for u, err := range m.store.InUse(ctx) {
		if err != nil {
			return nil, err
		}
		if u.Seen.Before(m.now.Add(-inUseTTL)) {
			continue
		}
		for _, d := range u.Images {
			all = append(all, root{digest: d, why: fmt.Sprintf("in use by %s, %s", u.Front, age(m.now, u.Seen)), maybe: true})
		}
	}
	return all, nil
}

// age is how long before now t was, for people.
func age(now, t time.Time) string {
	d := now.Sub(t)
	switch {
	case d < 2*time.Minute:
		return "just now"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours ago", d/time.Hour)
	}
	return fmt.Sprintf("%d days ago", d/(24*time.Hour))
}
