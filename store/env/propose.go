package env

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"piimg/store"
	"piimg/store/sign"
)

// proposals holds, for each environment and step, the steps that are proposed to be it.
const proposals = "proposals"

// Proposal is a step of an environment that waits for signatures. All of its signatures are
// over the same bytes, and are in the step from the moment that there is one.
type Proposal struct {
	Entry              // the step to be, with the signatures so far
	ID    store.Digest // of its payload
	Need  int          // how many promoters have to sign it
}

// Propose writes down what Promote would do, signed by the rules' signer, for others to
// approve. The error is that of Promote, except that there need not be enough signatures.
func Propose(ctx context.Context, s *store.Store, o PromoteOptions) (Proposal, error) {
	head, e, err := o.plan(ctx, s)
	p, err := o.who().propose(ctx, s, o.Env, head, e, err)
	if err != nil {
		return Proposal{}, fmt.Errorf("propose %s for %s: %w", o.Image.Short(), o.Env, err)
	}
	return p, nil
}

// ProposeRollback is Propose for what Rollback would do.
func ProposeRollback(ctx context.Context, s *store.Store, o RollbackOptions) (Proposal, error) {
	head, e, err := o.plan(ctx, s)
	p, err := o.who().propose(ctx, s, o.Env, head, e, err)
	if err != nil {
		return Proposal{}, fmt.Errorf("propose a rollback of %s: %w", o.Env, err)
	}
	return p, nil
}

func (w who) propose(ctx context.Context, s *store.Store, name string, head, e Entry, planned error) (Proposal, error) {
	switch {
	case planned != nil:
		return Proposal{}, planned
	case head.Unchanged:
		return Proposal{Entry: head}, nil
	case w.rules.Trust == nil || w.rules.Signer == nil:
		return Proposal{}, errors.New("a proposal needs a key to sign it, and a trust file that says whose approval counts")
	}
	e, err := w.draft(name, head, e)
	if err == nil {
		e, err = w.signed(ctx, e)
	}
	if err == nil {
		err = w.rules.lacks(e, 1, w.clock()) // of this signature
	}
	if err != nil {
		return Proposal{}, err
	}
	if err := writeSigs(ctx, s, e); err != nil {
		return Proposal{}, err
	}
	n, err := w.rules.needed(ctx, s, e, w.clock())
	return Proposal{e, store.Sum(e.Payload), n}, err
}

func proposalFolder(name string, seq int64) string {
	return fmt.Sprintf("%s/%s/%010d/", proposals, name, seq)
}

// writeSigs stores each signature of a proposal as an object of its own, so that those who
// approve at the same time do not meet.
func writeSigs(ctx context.Context, s *store.Store, e Entry) error {
	folder := proposalFolder(e.Env, e.Seq) + store.Sum(e.Payload).Hex()
	for _, sig := range e.Sigs {
		key, err := sign.Verify(sig.SSHSig, sign.EnvNamespace, e.Payload)
		if err != nil {
			return err
		}
		doc, err := store.EncodeEntry(e.Payload, []store.Sig{sig})
		if err != nil {
			return err
		}
		if err := s.Bucket().Put(ctx, folder+"/"+key.Hex()+".json", store.Bytes(doc)); err != nil {
			return fmt.Errorf("store the approval: %w", err)
		}
	}
	return nil
}

// Proposals are the steps that are proposed to follow the head of the environment called
// name. Those for a head that has moved on are not among them, and never will be again.
// What is no proposal, or has a signature that does not hold, is left out: whoever can write
// to the store can add some.
func Proposals(ctx context.Context, s *store.Store, name string, r Rules, now time.Time) ([]Proposal, error) {
	head, err := head(ctx, s, name)
	if err != nil {
		return nil, err
	}
	var all []Proposal
	folder := proposalFolder(name, head.Seq+1)
	for info, err := range s.Bucket().List(ctx, folder, "") {
		if err != nil {
			return nil, fmt.Errorf("list the proposals for %s: %w", name, err)
		}
		e, err := readApproval(ctx, s, name, info.Key)
		if err != nil && ctx.Err() != nil {
			return nil, err
		}
		if err != nil || e.Prev != head.Digest || e.Seq != head.Seq+1 || e.From != head.Image {
			continue
		}
		id := store.Sum(e.Payload)
		if last := len(all) - 1; last >= 0 && all[last].ID == id {
			all[last].Sigs = append(all[last].Sigs, e.Sigs...)
			continue
		}
		all = append(all, Proposal{Entry: e, ID: id})
	}
	for n := range all {
		if all[n].Need, err = r.needed(ctx, s, all[n].Entry, now); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// maxApproval is the size of a stored approval in bytes.
const maxApproval = 256 << 10

func readApproval(ctx context.Context, s *store.Store, name, key string) (Entry, error) {
	doc, err := s.Object(ctx, key, maxApproval)
	if err != nil {
		return Entry{}, err
	}
	stored, link, err := store.DecodeEntry(doc)
	if err != nil {
		return Entry{}, err
	}
	e, err := Decode(stored, name)
	if err != nil {
		return Entry{}, err
	}
	if len(stored.Sigs) != 1 || link != e.Link || path.Base(path.Dir(key)) != store.Sum(e.Payload).Hex() {
		return Entry{}, fmt.Errorf("%s is no approval: %w", key, store.ErrCorrupt)
	}
	if err := cmp.Or(store.CheckLine("actor", e.Actor), store.CheckLine("reason", e.Reason)); err != nil {
		return Entry{}, err
	}
	by, err := sign.Verify(stored.Sigs[0].SSHSig, sign.EnvNamespace, e.Payload)
	if err == nil && by.Hex() != strings.TrimSuffix(path.Base(key), ".json") {
		err = fmt.Errorf("%s is by another key: %w", key, store.ErrCorrupt)
	}
	return e, err
}

// ApproveOptions say which proposal is approved. All but Expect of [RollbackOptions] that
// are here mean the same.
type ApproveOptions struct {
	Env   string
	ID    store.Digest // of the proposal
	Actor string       // holds the image while the step is made
	Rules Rules        // with a Signer
	Now   func() time.Time
}

// Approve signs a proposal after asking the rules as they are here and today, and makes the
// step where that was the last signature it needed. The Entry is zero where it was not. The
// error wraps store.ErrConflict where the head has moved.
func Approve(ctx context.Context, s *store.Store, o ApproveOptions) (Proposal, Entry, error) {
	p, e, err := o.approve(ctx, s)
	if err != nil {
		return Proposal{}, Entry{}, fmt.Errorf("approve a step of %s: %w", o.Env, err)
	}
	return p, e, nil
}

func (o ApproveOptions) approve(ctx context.Context, s *store.Store) (Proposal, Entry, error) {
	by := who{actor: o.Actor, rules: o.Rules, now: o.Now}
	if o.Rules.Signer == nil || o.Rules.Trust == nil {
		return Proposal{}, Entry{}, errors.New("an approval is a signature: it needs a key, and a trust file that says whose count")
	}
	p, err := o.find(ctx, s, by.clock())
	if err != nil {
		return Proposal{}, Entry{}, err
	}
	if err := o.allowed(ctx, s, p.Entry, by.clock()); err != nil {
		return Proposal{}, Entry{}, err
	}
	own := p.Entry
	own.Sigs = nil
	if own, err = by.signed(ctx, own); err != nil {
		return Proposal{}, Entry{}, err
	}
	if err := o.Rules.lacks(own, 1, by.clock()); err != nil {
		return Proposal{}, Entry{}, err
	}
	if err := writeSigs(ctx, s, own); err != nil {
		return Proposal{}, Entry{}, err
	}
	if p, err = o.find(ctx, s, by.clock()); err != nil { // with those that came meanwhile
		return Proposal{}, Entry{}, err
	}
	if o.Rules.lacks(p.Entry, p.Need, by.clock()) != nil {
		return p, Entry{}, nil
	}
	e, err := o.commit(ctx, s, by, p)
	return p, e, err
}

func (o ApproveOptions) commit(ctx context.Context, s *store.Store, by who, p Proposal) (Entry, error) {
	lease, err := by.hold(ctx, s, o.Env, p.Image)
	if err != nil {
		return Entry{}, err
	}
	defer lease.Release(ctx)
	return by.commit(ctx, s, lease, p.Entry)
}

// find is the proposal, which has to be for the head as it is now.
func (o ApproveOptions) find(ctx context.Context, s *store.Store, now time.Time) (Proposal, error) {
	all, err := Proposals(ctx, s, o.Env, o.Rules, now)
	if err != nil {
		return Proposal{}, err
	}
	for _, p := range all {
		if p.ID == o.ID {
			return p, nil
		}
	}
	return Proposal{}, fmt.Errorf("no such proposal waits: the head may have moved, and it has to be proposed anew: %w", store.ErrConflict)
}

// allowed asks what was asked of the one who proposed e.
func (o ApproveOptions) allowed(ctx context.Context, s *store.Store, e Entry, now time.Time) error {
	if e.Action == RolledBack {
		back := RollbackOptions{Env: o.Env, To: e.Image, Reason: e.Reason, Force: e.Force, Rules: o.Rules}
		head, err := Head(ctx, s, o.Env)
		if err != nil {
			return err
		}
		if _, err := back.target(newPast(ctx, s, head)); err != nil {
			return err
		}
		_, err = back.allowed(ctx, s, e, now)
		return err
	}
	forward := PromoteOptions{Env: o.Env, Image: e.Image, Reason: e.Reason, Source: e.Source, Rules: o.Rules}
	if e.Source != nil {
		source := *e.Source // what is found out about it is not part of what is signed
		forward.Source = &source
	}
	return forward.allowed(ctx, s, Entry{Image: e.From}, now)
}
