package env_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"piimg/store"
	"piimg/store/env"
)

func TestApprovals(t *testing.T) {
	m := newTeam(t, "alice=promoter:prod", "bob=promoter:prod", "carol=promoter:prod", "dave=promoter:dev")
	m.rules.Policies["prod"] = env.Policy{Approvals: 2, Protected: true}
	_, err := m.promote("alice", "a", "prod")
	m.refused(err, "policy.prod.approvals in config.toml", "2 with the role promoter:prod must have signed, 1 has (alice)")
	propose := func(by, letter string) env.Proposal {
		t.Helper()
		p, err := env.Propose(t.Context(), m.store, m.promotion(by, letter, "prod"))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	approve := func(by string, p env.Proposal) (env.Proposal, env.Entry, error) {
		return env.Approve(t.Context(), m.store, env.ApproveOptions{Env: "prod", ID: p.ID, Actor: by, Rules: m.as(by), Now: m.clock})
	}
	p, rival := propose("alice", "a"), propose("bob", "b")
	waiting, err := env.Proposals(t.Context(), m.store, "prod", m.rules, m.now)
	if err != nil || len(waiting) != 2 || waiting[0].Need != 2 {
		t.Fatalf("%d wait, %v; want 2", len(waiting), err)
	}
	if _, e, err := approve("alice", p); err != nil || e.Seq != 0 {
		t.Errorf("the same key once more makes step %d, %v", e.Seq, err)
	}
	_, _, err = approve("dave", p)
	m.refused(err, "trust file trust.jsonl)", "dave, but the key is not trusted as promoter:prod")
	_, e, err := approve("bob", p)
	if err != nil || e.Seq != 1 || e.Image != m.img["a"] || e.Actor != "alicex" {
		t.Fatalf("two approvals: %+v, %v", e, err)
	}
	if got := m.rules.Signers(e, m.now).Names(); len(got) != 2 {
		t.Errorf("signed by %v; want alice and bob", got)
	}
	if e, err := env.Follow(t.Context(), m.store, "prod", env.Seen{}, m.rules, m.now); err != nil || e.Seq != 1 {
		t.Errorf("boards get %d, %v", e.Seq, err)
	}
	// The other one was for the head before.
	_, _, err = approve("alice", rival)
	wantError(t, err, store.ErrConflict, "no such proposal waits")
	if waiting, err := env.Proposals(t.Context(), m.store, "prod", m.rules, m.now); err != nil || len(waiting) > 0 {
		t.Errorf("%v wait, %v; want none", waiting, err)
	}
	if _, e, err = approve("carol", propose("alice", "b")); err != nil || e.Seq != 2 {
		t.Fatalf("step %d, %v", e.Seq, err)
	}
	// One key rolls back to what two have approved, and not to anything else.
	e = m.must(m.rollback("carol", "prod", "", false))
	if _, err := env.Follow(t.Context(), m.store, "prod", env.Seen{}, m.rules, m.now); err != nil || e.Image != m.img["a"] {
		t.Errorf("rollback: %v", err)
	}
	_, err = m.rollback("carol", "prod", "f", true)
	m.refused(err, "policy.prod.protected in config.toml", "2 with the role promoter:prod must have signed, 1 has (carol)")
	back, err := env.ProposeRollback(t.Context(), m.store, m.back("carol", "prod", "f", true))
	if err != nil {
		t.Fatal(err)
	}
	if _, e, err = approve("bob", back); err != nil || e.Seq != 4 || !e.Force {
		t.Errorf("approved rollback: %+v, %v", e, err)
	}
}

// TestOneKeyCannotPassOffAPromotionAsARollback: whoever can write to the store and has one key
// of two puts an image into the history first, where no board takes it, and rolls back to it.
func TestOneKeyCannotPassOffAPromotionAsARollback(t *testing.T) {
	m := newTeam(t, "alice=promoter:prod", "bob=promoter:prod")
	m.must(m.promote("alice", "a", "prod"))
	m.must(m.promote("alice", "b", "prod")) // one key was enough then
	m.rules.Policies["prod"] = env.Policy{Approvals: 2}
	_, err := m.rollback("alice", "prod", "", false)
	m.refused(err, "policy.prod.approvals", "1 has (alice)")
	alone := m.rules
	alone.Policies = nil
	o := m.back("alice", "prod", "a", false)
	o.Rules = alone
	o.Rules.Signer = m.keys["alice"]
	if _, err := env.Rollback(t.Context(), m.store, o); err != nil {
		t.Fatal(err)
	}
	_, err = env.Follow(t.Context(), m.store, "prod", env.Seen{}, m.rules, m.now)
	wantError(t, err, nil, "2 with the role promoter:prod must have signed, 1 has (alice)")
}

// TestApprovalsAtTheSameTime: all signatures that were reported are there, and one of those who
// came last makes the step.
func TestApprovalsAtTheSameTime(t *testing.T) {
	var who []string
	for n := range 6 {
		who = append(who, fmt.Sprintf("p%d=promoter:prod", n))
	}
	m := newTeam(t, who...)
	m.rules.Policies["prod"] = env.Policy{Approvals: 6}
	p, err := env.Propose(t.Context(), m.store, m.promotion("p0", "a", "prod"))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	made := make([]env.Entry, 6)
	errs := make([]error, 6)
	for n := 1; n < 6; n++ {
		wg.Go(func() {
			name := fmt.Sprintf("p%d", n)
			_, made[n], errs[n] = env.Approve(t.Context(), m.store, env.ApproveOptions{Env: "prod", ID: p.ID, Actor: name, Rules: m.as(name), Now: m.clock})
		})
	}
	wg.Wait()
	head := m.head("prod")
	if len(m.rules.Signers(head, m.now).Keys) != 6 || head.Seq != 1 {
		t.Errorf("step %d is signed by %v", head.Seq, m.rules.Signers(head, m.now).Names())
	}
	steps := 0
	for n := range made {
		if errs[n] != nil && !errors.Is(errs[n], store.ErrConflict) {
			t.Error(errs[n])
		}
		if made[n].Seq > 0 {
			steps++
			if made[n].Digest != head.Digest {
				t.Errorf("p%d reports a step that is not in the log", n)
			}
		}
	}
	if steps == 0 {
		t.Error("nobody made the step")
	}
}

// TestForeignProposals: what others put beside a proposal does no harm.
func TestForeignProposals(t *testing.T) {
	m := newTeam(t, "alice=promoter:prod", "bob=promoter:prod")
	m.rules.Policies["prod"] = env.Policy{Approvals: 2}
	p, err := env.Propose(t.Context(), m.store, m.promotion("alice", "a", "prod"))
	if err != nil {
		t.Fatal(err)
	}
	folder := "proposals/prod/0000000001/"
	for key, doc := range map[string]string{
		folder + "junk":                              "x",
		folder + p.ID.Hex() + "/zz.json":             "{}",
		folder + p.ID.Hex() + "/zzz.json":            string(m.next(env.Entry{Link: store.Link{Seq: 1}, Image: m.img["b"]})),
		folder + strings.Repeat("0", 64) + "/a.json": string(m.next(env.Entry{Link: store.Link{Seq: 1}, Image: m.img["b"]})),
	} {
		if err := m.store.Bucket().Put(t.Context(), key, store.Bytes([]byte(doc))); err != nil {
			t.Fatal(err)
		}
	}
	waiting, err := env.Proposals(t.Context(), m.store, "prod", m.rules, m.now)
	if err != nil || len(waiting) != 1 || len(waiting[0].Sigs) != 1 || waiting[0].ID != p.ID {
		t.Errorf("%+v wait, %v; want alice's", waiting, err)
	}
}
