package store

import "context"

// missing are those of blobs, all of them held, that are not stored in their full size. What
// was seen since it is held is not looked for again: it cannot have been collected, and a
// build that names the same content in every step would ask for it in every step.
func (l *Lease) missing(ctx context.Context, blobs []Blob) ([]Blob, error) {
	var unseen []Blob
	asked := map[Blob]bool{}
	l.mu.Lock()
	since := l.key // changes where the lease has lapsed, and with it all that was seen
	for _, b := range blobs {
		if !asked[b] && (!l.seen[b] || l.lapsed()) {
			asked[b], unseen = true, append(unseen, b)
		}
	}
	l.mu.Unlock()
	missing, err := l.store.Blobs().Missing(ctx, unseen)
	if err != nil {
		return nil, err
	}
	for _, b := range missing {
		delete(asked, b)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for b := range asked {
		l.seen[b] = l.key == since && l.settled
	}
	return missing, nil
}
