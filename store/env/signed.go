package env

import (
	"context"
	"fmt"
	"time"

	"piimg/store"
	"piimg/store/sign"
)

// needed is how many keys have to sign e. A rollback has to be quick: one key is enough,
// unless it is forced or goes to what so many keys have never approved.
func (r Rules) needed(ctx context.Context, s *store.Store, e Entry, now time.Time) (int, error) {
	if r.Trust == nil {
		return 0, nil
	}
	p, _ := r.of(e.Env)
	all := max(1, p.Approvals)
	switch {
	case e.Action == RolledBack && e.Force && p.Protected:
		return max(2, all), nil
	case e.Action == RolledBack && !e.Force && all > 1:
		approved, err := r.approved(ctx, s, e, all, now)
		if err != nil || approved {
			return 1, err
		}
	}
	return all, nil
}

// approved says whether the environment ran e's image before by a step that n keys signed.
func (r Rules) approved(ctx context.Context, s *store.Store, e Entry, n int, now time.Time) (bool, error) {
	p := newPast(ctx, s, e)
	for seq := e.Seq - 1; seq > 0; seq-- {
		old, err := p.at(seq)
		if err != nil {
			return false, err
		}
		if old.Image == e.Image && len(r.verdict(old, now).Keys) >= n {
			return true, nil
		}
	}
	return false, nil
}

// verdict says whose signatures of e count.
func (r Rules) verdict(e Entry, now time.Time) sign.Verdict {
	return r.Trust.Check(r.claim(e, e.Time, now), e.Sigs)
}

func (r Rules) claim(e Entry, at, now time.Time) sign.Claim {
	return sign.Claim{Namespace: sign.EnvNamespace, Message: e.Payload, Role: sign.Promoter(e.Env), Time: at, Now: now}
}

// approvedBy refuses a step that is about to be made and has too few signatures.
func (r Rules) approvedBy(ctx context.Context, s *store.Store, e Entry, now time.Time) error {
	n, err := r.needed(ctx, s, e, now)
	if err != nil || n == 0 {
		return err
	}
	return r.lacks(e, n, now)
}

// lacks is a Refusal where fewer than n promoters have signed e.
func (r Rules) lacks(e Entry, n int, now time.Time) error {
	err := r.Trust.Check(r.claim(e, now, now), e.Sigs).Need(n, sign.Promoter(e.Env))
	switch {
	case err == nil:
		return nil
	case len(e.Sigs) == 0:
		return &Refusal{fmt.Sprintf("steps of %s have to be signed, and there is no key to do it with", e.Env), "trust file " + r.TrustFile,
			"say which key is yours: --key FILE, or key in [sign] of the configuration file"}
	case n == 1:
		return &Refusal{fmt.Sprintf("the signature does not count: %v", err), "trust file " + r.TrustFile,
			"piimg trust show lists whose do; those who may sign the trust file can add a key: piimg trust add"}
	}
	rule := "approvals"
	if e.Action == RolledBack && e.Force {
		rule = "protected"
	}
	return r.refuse(e.Env, rule, "propose it with --propose; the others sign it with piimg approve "+e.Env, "%v", err)
}

// Check says by nil that e, as it is stored, is signed by as many promoters as the rules ask
// for, with keys that were valid when it was made. Where signatures are off, all are.
func (r Rules) Check(ctx context.Context, s *store.Store, e Entry, now time.Time) error {
	n, err := r.needed(ctx, s, e, now)
	if err != nil || n == 0 {
		return err
	}
	if err := r.verdict(e, now).Need(n, sign.Promoter(e.Env)); err != nil {
		return fmt.Errorf("%s does not count: %w", describe(e), err)
	}
	return nil
}

// Signers are the names of those who signed e and may, and why other signatures do not
// count. Without a trust file nobody has a name.
func (r Rules) Signers(e Entry, now time.Time) sign.Verdict {
	if r.Trust == nil {
		v := sign.Verdict{}
		for _, sig := range e.Sigs {
			v.Bad = append(v.Bad, "signed by "+sig.KeyID+", and no trust file says who that is")
		}
		return v
	}
	return r.verdict(e, now)
}

// Seen is a step of an environment that somebody relies on, such as boards that run it.
// The zero value is none.
type Seen struct {
	Seq   int64
	Image store.Digest
	Entry store.Digest // of the stored envelope; zero where that is not known
}

// Follow is the head of an environment for somebody who has seen an earlier one. A log that
// has gone back, has lost a step or goes on from another history is refused, with an error
// that wraps store.ErrCorrupt, as is a new head whose signatures do not hold. The error
// wraps io/fs.ErrNotExist only where there is no such environment and none was seen.
func Follow(ctx context.Context, s *store.Store, name string, seen Seen, r Rules, now time.Time) (Entry, error) {
	if seen.Seq == 0 {
		head, err := Head(ctx, s, name)
		if err != nil {
			return Entry{}, err
		}
		return head, r.Check(ctx, s, head, now)
	}
	head, err := headAfter(ctx, s, name, seen.Seq)
	if err != nil {
		return Entry{}, err
	}
	old, err := newPast(ctx, s, head).at(seen.Seq)
	if isAbsent(err) {
		return Entry{}, fmt.Errorf("environment %s: a step between %d and %d is gone: %w", name, seen.Seq, head.Seq, store.ErrCorrupt)
	}
	if err != nil {
		return Entry{}, err
	}
	if old.Image != seen.Image || !seen.Entry.IsZero() && old.Digest != seen.Entry {
		return Entry{}, fmt.Errorf("environment %s: step %d is %s now, but %s was seen there: its history was replaced: %w",
			name, seen.Seq, old.Image.Short(), seen.Image.Short(), store.ErrCorrupt)
	}
	if head.Seq == seen.Seq {
		return head, nil // it was checked when it was new: what has expired since stops no board
	}
	return head, r.Check(ctx, s, head, now)
}

// headAfter is the head of an environment whose step seq was seen before.
func headAfter(ctx context.Context, s *store.Store, name string, seq int64) (Entry, error) {
	if err := store.CheckEnv(name); err != nil {
		return Entry{}, err
	}
	e, err := logOf(s, name).Head(ctx, seq)
	if isAbsent(err) {
		return Entry{}, fmt.Errorf("environment %s: step %d was seen and is gone: its history was cut off: %w", name, seq, store.ErrCorrupt)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("environment %s: %w", name, err)
	}
	return Decode(e, name)
}

// Vouched is the newest step of an environment whose signatures hold, 0 if none do. It
// vouches for every step before it, for each names the one that it follows.
func Vouched(ctx context.Context, s *store.Store, name string, r Rules, now time.Time) (int64, error) {
	head, err := Head(ctx, s, name)
	if err != nil {
		return 0, err
	}
	p := newPast(ctx, s, head)
	for seq := head.Seq; seq > 0; seq-- {
		e, err := p.at(seq)
		if err != nil {
			return 0, err
		}
		if r.Check(ctx, s, e, now) == nil {
			return seq, nil
		}
	}
	return 0, nil
}
