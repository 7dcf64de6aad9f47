package env

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"piimg/store"
	"piimg/store/sign"
)

func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// saysWhy refuses a step without a reason where the policy wants one.
func (r Rules) saysWhy(name, reason string) error {
	if p, _ := r.of(name); p.Reason && reason == "" {
		return r.refuse(name, "reason", "say --reason", "every step of %s needs a reason", name)
	}
	return nil
}

// comesFrom finds out which environment o's image comes from, and refuses one that the
// policy does not name or that has not run it for long enough. Where the image was named
// by its digest, an environment of the policy that runs it is found.
func (o *PromoteOptions) comesFrom(ctx context.Context, here *store.Store, now time.Time) error {
	p, _ := o.Rules.of(o.Env)
	if o.Source != nil && o.Source.Env != "" && (len(p.From) == 0 || slices.Contains(p.From, o.Source.Env)) {
		return o.checkSource(ctx, here, p, now)
	}
	if len(p.From) == 0 {
		return nil
	}
	if o.Source != nil && o.Source.Env != "" {
		return o.Rules.refuse(o.Env, "from", fmt.Sprintf("promote it to %s first: piimg promote %s %s", p.From[0], o.Image.Short(), p.From[0]),
			"%s takes images from %s, not from %s", o.Env, strings.Join(p.From, " or "), o.Source.Env)
	}
	return o.findSource(ctx, here, p, now)
}

// findSource looks for an environment that the policy names and that has run the image.
func (o *PromoteOptions) findSource(ctx context.Context, here *store.Store, p Policy, now time.Time) error {
	given, last := o.Source, error(nil)
	for _, name := range p.From {
		o.Source = &Source{Env: name}
		if given != nil {
			o.Source.Store = given.Store
		}
		err := o.checkSource(ctx, here, p, now)
		if err == nil {
			return nil
		}
		if !isAbsent(err) {
			last = err
		}
	}
	o.Source = given
	if last != nil {
		return last
	}
	return o.Rules.refuse(o.Env, "from", fmt.Sprintf("promote it there first: piimg promote %s %s", o.Image.Short(), p.From[0]),
		"%s takes images from %s, which never ran %s", o.Env, strings.Join(p.From, " or "), o.Image.Short())
}

// checkSource checks the step by which Source ran the image last: that it still stands, has
// lasted long enough, and is signed by keys that are valid today. It fills in the step.
func (o *PromoteOptions) checkSource(ctx context.Context, here *store.Store, p Policy, now time.Time) error {
	from := here
	if o.Source.Store != "" {
		if from = o.From; from == nil {
			return nil // whoever copied it did not say where from
		}
	}
	ran, err := lastRun(ctx, from, o.Source.Env, o.Image)
	if isAbsent(err) && len(p.From) == 0 && o.Rules.Trust == nil {
		return nil // nothing is asked of it
	}
	if err != nil {
		return err
	}
	o.Source.Seq = cmp.Or(o.Source.Seq, ran.last.Seq)
	if p.Soak > 0 || len(p.From) > 0 {
		if err := o.checkRun(ran, p, now); err != nil {
			return err
		}
	}
	return o.checkStep(ctx, from, ran.last, now)
}

// checkRun refuses an image that its source took back, or has not run for long enough.
func (o *PromoteOptions) checkRun(ran run, p Policy, now time.Time) error {
	if ran.next != nil && ran.next.Action == RolledBack {
		return o.Rules.refuse(o.Env, "from", "promote another image, or this one to "+o.Source.Env+" again",
			"%s took %s back in step %d", o.Source.Env, o.Image.Short(), ran.next.Seq)
	}
	until := now
	if ran.next != nil {
		until = ran.next.Time
	}
	if lasted := until.Sub(ran.first.Time); lasted < p.Soak {
		advice := fmt.Sprintf("try again in %s", (p.Soak - lasted).Round(time.Second))
		if ran.next != nil {
			advice = "promote it to " + o.Source.Env + " again, and wait"
		}
		return o.Rules.refuse(o.Env, "soak", advice, "%s has run %s for %s, not for %s",
			o.Source.Env, o.Image.Short(), lasted.Round(time.Second), p.Soak)
	}
	return nil
}

// checkStep refuses a step of the source that has expired, or whose signers may not sign
// today: the keys of its boards may have been valid when they got it, but it goes no further.
func (o *PromoteOptions) checkStep(ctx context.Context, from *store.Store, e Entry, now time.Time) error {
	again := fmt.Sprintf("make the step anew: piimg promote %s %s", e.Env, e.Env)
	if !e.Expires.IsZero() && !now.Before(e.Expires) {
		return &Refusal{fmt.Sprintf("%s expired on %s", describe(e), e.Expires.Format(time.DateTime)), "its own entry", again}
	}
	n, err := o.Rules.needed(ctx, from, e, now)
	if err != nil || n == 0 {
		return err
	}
	if err := o.Rules.Trust.Check(o.Rules.claim(e, now, now), e.Sigs).Need(n, sign.Promoter(e.Env)); err != nil {
		return &Refusal{fmt.Sprintf("%s does not count today: %v", describe(e), err), "trust file " + o.Rules.TrustFile, again}
	}
	return nil
}

// run is a row of steps by which an environment ran one image, the last such row.
type run struct {
	first, last Entry
	next        *Entry // that ended it; nil while it goes on
}

// lastRun finds it. The error wraps io/fs.ErrNotExist where the environment never ran image.
func lastRun(ctx context.Context, s *store.Store, name string, image store.Digest) (run, error) {
	head, err := Head(ctx, s, name)
	if err != nil {
		return run{}, err
	}
	p := newPast(ctx, s, head)
	var r run
	for seq := head.Seq; seq > 0; seq-- {
		e, err := p.at(seq)
		switch {
		case err != nil:
			return run{}, err
		case e.Image == image && r.last.Seq == 0:
			r.first, r.last = e, e
		case e.Image == image:
			r.first = e
		case r.last.Seq > 0:
			return r, nil
		default:
			r.next = &e
		}
	}
	if r.last.Seq == 0 {
		return run{}, absent(fmt.Sprintf("%s never ran %s", name, image.Short()))
	}
	return r, nil
}
