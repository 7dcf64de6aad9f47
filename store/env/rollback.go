package env

import (
	"context"
	"errors"
	"fmt"
	"time"

	"piimg/store"
)

// RollbackOptions say how far Env goes back. Env and Actor are required.
type RollbackOptions struct {
	Env    string
	To     store.Digest // zero for the image before the head's
	Actor  string
	Reason string
	Force  bool   // allow a To that Env has never run or that is not signed, with a Reason
	Expect *int64 // the head that the caller has seen; nil for any
	Rules  Rules

	Now   func() time.Time // nil for the clock
	Nonce func() string    // nil for 128 random bits
}

// Rollback makes Env run an image that it has run before, by a new entry. Two rollbacks
// go two images back, and Resolve knows the same images as "env~1" and "env~2". Errors
// are those of Promote, and io/fs.ErrNotExist where there is nothing to go back to.
func Rollback(ctx context.Context, s *store.Store, o RollbackOptions) (Entry, error) {
	e, err := o.rollback(ctx, s)
	if err != nil {
		return Entry{}, fmt.Errorf("roll back %s: %w", o.Env, err)
	}
	return e, nil
}

func (o RollbackOptions) who() who {
	return who{o.Actor, o.Reason, o.Expect, o.Rules, o.Now, o.Nonce}
}

func (o RollbackOptions) rollback(ctx context.Context, s *store.Store) (Entry, error) {
	by := o.who()
	head, e, err := o.plan(ctx, s)
	if err != nil {
		return Entry{}, err
	}
	lease, err := by.hold(ctx, s, o.Env, e.Image)
	if err != nil {
		return Entry{}, err
	}
	defer lease.Release(ctx)
	if head.Unchanged {
		return head, nil
	}
	return by.appendTo(ctx, s, lease, o.Env, head, e)
}

// plan is that of a promotion.
func (o RollbackOptions) plan(ctx context.Context, s *store.Store) (Entry, Entry, error) {
	by := o.who()
	head, err := Head(ctx, s, o.Env)
	if err != nil {
		return Entry{}, Entry{}, err
	}
	if err := by.check(o.Env, head); err != nil {
		return Entry{}, Entry{}, err
	}
	e, err := o.target(newPast(ctx, s, head))
	if err != nil {
		return Entry{}, Entry{}, err
	}
	if e.Image == head.Image {
		head.Unchanged = true
		return head, head, nil
	}
	e, err = o.allowed(ctx, s, e, by.clock())
	return head, e, err
}

// allowed asks the rules. What is forced need not be signed; what was yanked is never run.
func (o RollbackOptions) allowed(ctx context.Context, s *store.Store, e Entry, now time.Time) (Entry, error) {
	if err := o.Rules.saysWhy(o.Env, o.Reason); err != nil {
		return e, err
	}
	err := o.Rules.mayRun(ctx, s, o.Env, e.Image, now)
	var refusal *Refusal
	if errors.As(err, &refusal) && o.Force && o.Reason != "" {
		e.Force, err = true, nil
	}
	if err != nil {
		return e, err
	}
	if p, _ := o.Rules.of(o.Env); e.Force && p.Protected && o.Rules.Trust == nil {
		return e, o.Rules.refuse(o.Env, "protected", "go back to an image that it has run, or set up signatures: a second approval is one",
			"a rollback of %s cannot be forced without a second approval", o.Env)
	}
	return e, nil
}

// target is the entry to append, with its image.
func (o RollbackOptions) target(p *past) (Entry, error) {
	if o.To.IsZero() {
		e, err := p.back(1)
		return Entry{Action: RolledBack, Image: e.Image}, err
	}
	ran, err := p.ran(o.To)
	switch {
	case err != nil:
		return Entry{}, err
	case ran:
		return Entry{Action: RolledBack, Image: o.To}, nil
	case !o.Force:
		return Entry{}, absent(fmt.Sprintf("%s has never run %s: promote it, or force the rollback and give a reason", o.Env, o.To.Short()))
	case o.Reason == "":
		return Entry{}, errors.New("a forced rollback needs a reason")
	}
	return Entry{Action: RolledBack, Image: o.To, Force: true}, nil
}
