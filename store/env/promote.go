package env

import (
	"context"
	"fmt"
	"time"

	"piimg/store"
	"piimg/store/yank"
)

// PromoteOptions say what is promoted where, and by whom. Env, Image and Actor are required.
type PromoteOptions struct {
	Env     string
	Image   store.Digest
	Source  *Source      // the environment that ran Image before, if it comes from one
	From    *store.Store // that Source is in, where that is another store
	Actor   string
	Reason  string
	Expires time.Time // when the step goes stale: nothing is promoted from it then; zero for never
	Expect  *int64    // the head that the caller has seen, 0 for none; nil for any
	Rules   Rules

	Now   func() time.Time // nil for the clock
	Nonce func() string    // nil for 128 random bits
}

// Promote makes Image what Env runs. The image has to be complete in the store: a blob
// that is missing or of another size is named, by an error that wraps io/fs.ErrNotExist
// or store.ErrCorrupt. Where Env runs Image already, its head comes back, Unchanged, unless
// that head is not signed as it should be or has expired. The error wraps store.ErrConflict
// and names the winner where the head has moved, and is a [Refusal] or a [yank.Error] where
// the rules or the list of yanked images forbid it.
func Promote(ctx context.Context, s *store.Store, o PromoteOptions) (Entry, error) {
	e, err := o.promote(ctx, s)
	if err != nil {
		return Entry{}, fmt.Errorf("promote %s to %s: %w", o.Image.Short(), o.Env, err)
	}
	return e, nil
}

// Ask says what Promote would refuse whatever the image holds: for those who copy it first.
// It needs nothing of the image in the store; Promote asks all of it again, and the rest.
func Ask(ctx context.Context, s *store.Store, o PromoteOptions) error {
	if err := o.ask(ctx, s); err != nil {
		return fmt.Errorf("promote %s to %s: %w", o.Image.Short(), o.Env, err)
	}
	return nil
}

func (o PromoteOptions) ask(ctx context.Context, s *store.Store) error {
	head, err := head(ctx, s, o.Env)
	if err != nil {
		return err
	}
	if err := o.who().check(o.Env, head); err != nil || head.Image == o.Image {
		return err
	}
	if err := o.Rules.saysWhy(o.Env, o.Reason); err != nil {
		return err
	}
	now := o.who().clock()
	if err := yank.Check(ctx, s, o.Image, o.Rules.TrustedYank(now)); err != nil {
		return err
	}
	return o.comesFrom(ctx, s, now)
}

func (o PromoteOptions) who() who {
	return who{o.Actor, o.Reason, o.Expect, o.Rules, o.Now, o.Nonce}
}

func (o PromoteOptions) promote(ctx context.Context, s *store.Store) (Entry, error) {
	by := o.who()
	head, e, err := o.plan(ctx, s)
	if err != nil {
		return Entry{}, err
	}
	lease, err := by.hold(ctx, s, o.Env, o.Image)
	if err != nil {
		return Entry{}, err
	}
	defer lease.Release(ctx)
	if head.Unchanged {
		return head, nil
	}
	return by.appendTo(ctx, s, lease, o.Env, head, e)
}

// plan checks what can be known before anything is written. It answers the head, Unchanged
// where there is nothing to do, and what is to follow it.
func (o PromoteOptions) plan(ctx context.Context, s *store.Store) (Entry, Entry, error) {
	by := o.who()
	head, err := head(ctx, s, o.Env)
	if err != nil {
		return Entry{}, Entry{}, err
	}
	if err := by.check(o.Env, head); err != nil {
		return Entry{}, Entry{}, err
	}
	now := by.clock()
	if head.Image == o.Image && (head.Expires.IsZero() || now.Before(head.Expires)) && o.Rules.Check(ctx, s, head, now) == nil {
		head.Unchanged = true
		return head, head, nil
	}
	if err := o.allowed(ctx, s, head, now); err != nil {
		return Entry{}, Entry{}, err
	}
	return head, Entry{Action: Promoted, Image: o.Image, Source: o.Source, Expires: o.Expires.UTC().Truncate(time.Second)}, nil
}

// allowed asks the rules.
func (o *PromoteOptions) allowed(ctx context.Context, s *store.Store, head Entry, now time.Time) error {
	if err := o.Rules.saysWhy(o.Env, o.Reason); err != nil {
		return err
	}
	if o.Image != head.Image { // what is only signed anew came from somewhere once
		if err := o.comesFrom(ctx, s, now); err != nil {
			return err
		}
	}
	return o.Rules.mayRun(ctx, s, o.Env, o.Image, now)
}
