package gc

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"piimg/store"
)

// run is an image that a log has named.
type run struct {
	seq   int64
	image store.Digest // zero where the entry names none
	until time.Time    // when the next entry was written; zero for the head
}

// retained are the entries of l that keep their images, the newest first: those that
// count among the last Images different ones, and those that were in force within History.
// read reads one entry.
func (o Options) retained(ctx context.Context, l *logKeys, now time.Time, read func(ctx context.Context, seq int64) (store.Digest, error)) ([]run, error) {
	var kept []run
	different := map[store.Digest]bool{}
	for seq := int64(len(l.times)); seq > 0; {
		page, err := readPage(ctx, seq, read)
		if err != nil {
			return nil, err
		}
		for _, d := range page {
			e := run{seq: seq, image: d}
			if int(seq) < len(l.times) {
				e.until = l.times[seq]
			}
			recent := e.until.IsZero() || !e.until.Before(now.Add(-o.History))
			if !recent && len(different) >= o.Images {
				return kept, nil
			}
			if !d.IsZero() {
				different[d] = true
				kept = append(kept, e)
			}
			seq--
		}
	}
	return kept, nil
}

// readPage reads some entries at once, from the one numbered seq down. Most logs end
// within the first page, and of most no second one is wanted.
func readPage(ctx context.Context, seq int64, read func(context.Context, int64) (store.Digest, error)) ([]store.Digest, error) {
	page := make([]store.Digest, min(seq, atATime))
	g, ctx := errgroup.WithContext(ctx)
	for n := range page {
		g.Go(func() (err error) {
			page[n], err = read(ctx, seq-int64(n))
			return err
		})
	}
	return page, g.Wait()
}
