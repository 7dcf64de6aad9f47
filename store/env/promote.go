package env

import (
	"context"
	"fmt"
	"time"

	"piimg/store"
)

// PromoteOptions say what is promoted where, and by whom. Env, Image and Actor are required.
type PromoteOptions struct {
	Env    string
	Image  store.Digest
	Source *Source // the environment that ran Image before, if it comes from one
	Actor  string
	Reason string
	Expect *int64 // the head that the caller has seen, 0 for none; nil for any

	Now   func() time.Time // nil for the clock
	Nonce func() string    // nil for 128 random bits
}

// Promote makes Image what Env runs. The image has to be complete in the store: a blob
// that is missing or of another size is named, by an error that wraps io/fs.ErrNotExist
// or store.ErrCorrupt. Where Env runs Image already, its head comes back, Unchanged. The
// error wraps store.ErrConflict and names the winner where the head has moved.
func Promote(ctx context.Context, s *store.Store, o PromoteOptions) (Entry, error) {
	e, err := o.promote(ctx, s)
	if err != nil {
		return Entry{}, fmt.Errorf("promote %s to %s: %w", o.Image.Short(), o.Env, err)
	}
	return e, nil
}

func (o PromoteOptions) promote(ctx context.Context, s *store.Store) (Entry, error) {
	by := who{o.Actor, o.Reason, o.Expect, o.Now, o.Nonce}
	head, err := head(ctx, s, o.Env)
	if err != nil {
		return Entry{}, err
	}
	if err := by.check(o.Env, head); err != nil {
		return Entry{}, err
	}
	lease, err := by.hold(ctx, s, o.Env, o.Image)
	if err != nil {
		return Entry{}, err
	}
	defer lease.Release(ctx)
	if head.Image == o.Image {
		head.Unchanged = true
		return head, nil
	}
	return by.appendTo(ctx, s, lease, o.Env, head, Entry{Action: Promoted, Image: o.Image, Source: o.Source})
}
