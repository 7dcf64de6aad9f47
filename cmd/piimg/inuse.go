package main

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"piimg/store"
	"piimg/store/serve"
)

const (
	inUseCheck  = 5 * time.Second  // between looks at what the front end serves
	inUseRepeat = 10 * time.Minute // for a report without news
	inUseWait   = 20 * time.Second // for the store to take one
)

// inUseReporter tells the store which images a front end serves, so that they are not
// collected. A store that cannot be told, or may only be read, is no trouble for boards.
type inUseReporter struct {
	store *attachment
	front *serve.Front
	name  string
	log   *slog.Logger
	now   func() time.Time

	told   []store.Digest
	at     time.Time
	failed bool
}

// run reports until ctx ends.
func (r *inUseReporter) run(ctx context.Context) error {
	tick := time.NewTicker(inUseCheck)
	defer tick.Stop()
	for {
		if err := r.report(ctx); err != nil && ctx.Err() == nil {
			if !r.failed {
				r.log.Warn("the store does not know which images are in use here, and may drop them", "err", err)
			}
			r.failed = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// report tells the store what is news to it, and now and then what is not.
func (r *inUseReporter) report(ctx context.Context) error {
	held := slices.SortedFunc(maps.Keys(r.front.Held()), store.Digest.Compare)
	now := r.now()
	if len(held) == 0 || slices.Equal(held, r.told) && now.Sub(r.at) < inUseRepeat || r.failed && now.Sub(r.at) < inUseRepeat {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, inUseWait)
	defer cancel()
	r.at = now
	s, err := r.store.get(ctx)
	if err == nil {
		err = s.ReportInUse(ctx, store.InUse{Front: r.name, Images: held})
	}
	if err != nil {
		return err
	}
	r.told, r.failed = held, false
	return nil
}

// frontName names the front end whose cache is in dir among others, of this host too.
func frontName(dir string) string {
	host, _ := os.Hostname()
	clean := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' {
			return c
		}
		return '-'
	}, strings.ToLower(host))
	clean = strings.TrimLeft(clean, "-")
	return cmp.Or(clean[:min(len(clean), 50)], "host") + "-" + store.Sum([]byte(dir)).Hex()[:8]
}
