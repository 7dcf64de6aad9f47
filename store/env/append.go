package env

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"piimg/store"
	"piimg/store/yank"
)

// who is what a promotion and a rollback have in common.
type who struct {
	actor, reason string
	expect        *int64
	rules         Rules
	now           func() time.Time
	nonce         func() string
}

// clock is the time.
func (w who) clock() time.Time {
	if w.now == nil {
		return time.Now()
	}
	return w.now()
}

// check refuses an entry without an actor, one that could garble a terminal, and one
// after another head than expected.
func (w who) check(name string, head Entry) error {
	if w.actor == "" {
		return errors.New("say who does it: the actor is empty")
	}
	if err := cmp.Or(store.CheckLine("actor", w.actor), store.CheckLine("reason", w.reason)); err != nil {
		return err
	}
	if w.expect == nil || *w.expect == head.Seq {
		return nil
	}
	if head.Seq == 0 {
		return fmt.Errorf("%s has no step yet, not step %d: %w", name, *w.expect, store.ErrConflict)
	}
	return fmt.Errorf("%s, not step %d, is the head: %w", describe(head), *w.expect, store.ErrConflict)
}

// draft makes e the step of the environment called name that follows head.
func (w who) draft(name string, head, e Entry) (Entry, error) {
	nonce := w.nonce
	if nonce == nil {
		nonce = rand.Text
	}
	e.Link = store.Link{Seq: head.Seq + 1, Prev: head.Digest}
	e.Version, e.Env, e.From = version, name, head.Image
	e.Actor, e.Reason = w.actor, w.reason
	e.Time, e.Nonce = w.clock().UTC().Truncate(time.Second), nonce()
	payload, err := json.Marshal(e)
	e.Payload = payload
	return e, err
}

// signed is e with a signature of w's own.
func (w who) signed(ctx context.Context, e Entry) (Entry, error) {
	sigs, err := w.rules.Sign(ctx, e.Payload)
	e.Sigs = append(e.Sigs, sigs...)
	return e, err
}

// appendTo appends e to the environment called name, after head, while lease holds its image.
func (w who) appendTo(ctx context.Context, s *store.Store, lease *store.Lease, name string, head, e Entry) (Entry, error) {
	e, err := w.draft(name, head, e)
	if err == nil {
		e, err = w.signed(ctx, e)
	}
	if err == nil {
		err = w.rules.approvedBy(ctx, s, e, w.clock())
	}
	if err != nil {
		return Entry{}, err
	}
	return w.commit(ctx, s, lease, e)
}

// commit appends e with its signatures, in one write.
func (w who) commit(ctx context.Context, s *store.Store, lease *store.Lease, e Entry) (Entry, error) {
	if err := lease.Confirm(ctx); err != nil {
		return Entry{}, err
	}
	stored, err := logOf(s, e.Env).Append(ctx, e.Link, e.Payload, e.Sigs...)
	if errors.Is(err, store.ErrConflict) {
		return Entry{}, lost(ctx, s, e.Env, e.Seq, err)
	}
	if err != nil {
		return Entry{}, err
	}
	err = lease.Confirm(ctx)
	if err == nil { // somebody may have yanked it since it was looked for
		err = yank.Check(ctx, s, e.Image, w.rules.TrustedYank(w.clock()))
	}
	if err != nil {
		return Entry{}, fmt.Errorf("step %d of %s is there, and has to be rolled back: %w", e.Seq, e.Env, err)
	}
	return Decode(stored, e.Env)
}

// lost says who has the step that a caller wanted.
func lost(ctx context.Context, s *store.Store, name string, seq int64, conflict error) error {
	winner, err := at(ctx, s, name, seq)
	if err != nil {
		return fmt.Errorf("%w, and who came first is not known: %w", conflict, err)
	}
	return fmt.Errorf("%s came first: %w", describe(winner), store.ErrConflict)
}

// describe is "step 42 of prod (promote of sha256:… by alice)".
func describe(e Entry) string {
	return fmt.Sprintf("step %d of %s (%s of %s by %s)", e.Seq, e.Env, e.Action, e.Image.Short(), e.Actor)
}

// hold keeps image, which has to be in the store in full, from being collected until the
// lease is released.
func (w who) hold(ctx context.Context, s *store.Store, name string, image store.Digest) (*store.Lease, error) {
	if image.IsZero() {
		return nil, errors.New("no image is given")
	}
	return s.HoldImage(ctx, store.LeaseOptions{Holder: w.actor + ", for " + name, Now: w.now}, image)
}
