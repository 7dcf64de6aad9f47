package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"piimg/store"
	"piimg/store/env"
	"piimg/store/fsck"
	"piimg/store/sign"
)

// signatures checks what lies in a store by the operator's trust file and policies. It is
// safe for concurrent use.
type signatures struct {
	store *store.Store
	rules env.Rules
	now   time.Time

	mu      sync.Mutex
	vouched map[string]int64 // by environment
}

var _ fsck.Signatures = (*signatures)(nil)

// signatures is nil, and says so, where no trust file is configured.
func (a *app) signatures(s *store.Store) (*signatures, error) {
	r, err := a.rules()
	if err != nil {
		return nil, err
	}
	if r.Trust == nil {
		a.ui.say("signatures are off: no trust file is configured, they are not checked")
		return nil, nil
	}
	return &signatures{store: s, rules: r, now: a.now(), vouched: map[string]int64{}}, nil
}

// Entry checks the signatures of a step. What a later step vouches for need not be signed
// as is asked today, but nothing may pass for a signature that is none.
func (v *signatures) Entry(ctx context.Context, name string, e store.Entry) error {
	for _, sig := range e.Sigs {
		if _, err := sign.Verify(sig.SSHSig, sign.EnvNamespace, e.Payload); err != nil {
			return err
		}
	}
	newest, err := v.newest(ctx, name)
	if err != nil {
		return fmt.Errorf("which steps are vouched for cannot be said: %w", err)
	}
	if e.Seq <= newest {
		return nil
	}
	step, err := env.Decode(e, name)
	if err != nil {
		return err
	}
	return v.rules.Check(ctx, v.store, step, v.now)
}

// newest is the newest step of an environment that vouches for those before it.
func (v *signatures) newest(ctx context.Context, name string) (int64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if seq, known := v.vouched[name]; known {
		return seq, nil
	}
	seq, err := env.Vouched(ctx, v.store, name, v.rules, v.now)
	if err == nil {
		v.vouched[name] = seq
	}
	return seq, err
}

// Image checks that what lies beside an image as its signatures is that, and that it has
// those that the environments which run it ask for.
func (v *signatures) Image(ctx context.Context, image store.Digest) error {
	manifest, sigs, bad, err := sign.ImageSigs(ctx, v.store, image)
	if err != nil {
		return err
	}
	for _, sig := range sigs {
		if _, err := sign.Verify(sig.SSHSig, sign.ImageNamespace, manifest); err != nil {
			bad = append(bad, err.Error())
		}
	}
	if len(bad) > 0 {
		return errors.New(strings.Join(bad, "; "))
	}
	envs, err := env.List(ctx, v.store)
	for _, name := range envs {
		// One whose log is damaged is told of by others.
		if head, err := env.Head(ctx, v.store, name); err == nil && head.Image == image {
			if err := v.rules.CheckImage(ctx, v.store, name, image, v.now); err != nil {
				return err
			}
		}
	}
	return err
}

// sayWhoSigned names those who signed an image, and why other signatures do not count.
func (v *signatures) sayWhoSigned(ctx context.Context, u *ui, image store.Digest) error {
	manifest, sigs, bad, err := sign.ImageSigs(ctx, v.store, image)
	if err != nil {
		return err
	}
	for _, sig := range sigs {
		as, why := v.roles(manifest, sig)
		if len(as) == 0 {
			bad = append(bad, why...)
			continue
		}
		k, _ := v.rules.Trust.Find(sig.KeyID)
		u.say("signed as %s by %s", strings.Join(as, " and "), k.Name)
	}
	for _, b := range bad {
		u.say("%s", harmless(b))
	}
	if len(sigs) == 0 {
		u.say("nobody has signed it")
	}
	return nil
}

// roles are those in which a signature of an image counts, or why it counts in none.
func (v *signatures) roles(manifest []byte, sig store.Sig) (as, why []string) {
	for _, role := range []string{sign.Builder, sign.Publisher} {
		got := v.rules.Trust.Check(sign.Claim{
			Namespace: sign.ImageNamespace, Message: manifest, Role: role, Time: v.now, Now: v.now,
		}, []store.Sig{sig})
		if len(got.Keys) > 0 {
			as = append(as, role)
		}
		why = got.Bad
	}
	return as, why
}
