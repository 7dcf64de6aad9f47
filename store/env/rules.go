package env

import (
	"context"
	"fmt"
	"time"

	"piimg/store"
	"piimg/store/sign"
	"piimg/store/yank"
)

// Rules are what an operator asks of the steps of environments. The zero value asks nothing,
// and signs nothing. They come from the operator's own files, not from the store that they
// guard.
type Rules struct {
	Policies map[string]Policy // by environment; "*" is of those that have none
	Trust    *sign.Trust       // whose signatures count; nil: signatures are off
	Signer   sign.Signer       // signs the steps that are made; nil: they are not signed

	Where, TrustFile string // files that Policies and Trust are written in, for errors
}

// Policy is what is asked of the steps of one environment.
type Policy struct {
	From      []string      // environments that images may come from; none: any image
	Soak      time.Duration // how long one of them has to have run an image
	Reason    bool          // every step says why
	Protected bool          // a forced rollback needs a second approval
	Approvals int           // how many keys have to sign a promotion; 0 is 1, where signatures are on
	Images    []string      // roles that have to have signed an image; nil: Publisher, if anybody is that
}

// of is the policy of an environment, and the name it is written under.
func (r Rules) of(name string) (Policy, string) {
	for _, key := range []string{name, "*"} {
		if p, ok := r.Policies[key]; ok {
			return p, key
		}
	}
	return Policy{}, name
}

// Refusal is a step that the rules do not allow.
type Refusal struct {
	Text   string
	Rule   string // where it is written
	Advice string
}

func (e *Refusal) Error() string { return e.Text + " (" + e.Rule + ")" }

// Hint says what to do.
func (e *Refusal) Hint() string { return e.Advice }

// refuse is a Refusal by a rule of the policy of an environment.
func (r Rules) refuse(name, rule, advice, format string, args ...any) error {
	_, key := r.of(name)
	where := "policy." + key + "." + rule
	if r.Where != "" {
		where += " in " + r.Where
	}
	return &Refusal{fmt.Sprintf(format, args...), where, advice}
}

// TrustedYank says whose entries of the list of yanked images count: those of any key that
// may sign steps of all environments, or images to be used.
func (r Rules) TrustedYank(now time.Time) yank.Trusted {
	if r.Trust == nil {
		return nil
	}
	return func(e yank.Entry) error {
		var err error
		for _, role := range []string{sign.Promoter("*"), sign.Publisher} {
			claim := sign.Claim{Namespace: sign.EnvNamespace, Message: e.Payload, Role: role, Time: e.Time, Now: now}
			if err = r.Trust.Check(claim, e.Sigs).Need(1, role); err == nil {
				return nil
			}
		}
		return err
	}
}

// Sign signs the payload of an entry, and answers no signature where there is no signer.
func (r Rules) Sign(ctx context.Context, payload []byte) ([]store.Sig, error) {
	if r.Signer == nil {
		return nil, nil
	}
	sig, err := r.Signer.Sign(ctx, sign.EnvNamespace, payload)
	if err != nil {
		return nil, err
	}
	return []store.Sig{sig}, nil
}

// mayRun checks what has to be true of the image of every step of an environment: that it
// was not yanked, and that it is signed as the policy says.
func (r Rules) mayRun(ctx context.Context, s *store.Store, name string, image store.Digest, now time.Time) error {
	if err := yank.Check(ctx, s, image, r.TrustedYank(now)); err != nil {
		return err
	}
	return r.CheckImage(ctx, s, name, image, now)
}

// CheckImage says by nil that an image carries the signatures that the policy of an
// environment asks for; "*" stands for boards that are set to an image. Whether it was yanked
// is not asked.
func (r Rules) CheckImage(ctx context.Context, s *store.Store, name string, image store.Digest, now time.Time) error {
	for _, role := range r.imageRoles(name) {
		v, err := r.Trust.CheckImage(ctx, s, image, role, now)
		if err != nil {
			return err
		}
		if err := v.Need(1, role); err != nil {
			return r.refuse(name, "images", "sign it with a key of that role: piimg sign "+image.Short(),
				"image %s: %v", image.Short(), err)
		}
	}
	return nil
}

func (r Rules) imageRoles(name string) []string {
	if r.Trust == nil {
		return nil
	}
	p, _ := r.of(name)
	if p.Images == nil && r.Trust.Any(sign.Publisher) {
		return []string{sign.Publisher}
	}
	return p.Images
}
