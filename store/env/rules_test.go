package env_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/env"
	"piimg/store/mem"
	"piimg/store/sign"
	"piimg/store/yank"
)

// team is a store, a clock that stands still, and keys by name.
type team struct {
	t     *testing.T
	store *store.Store
	now   time.Time
	keys  map[string]sign.Signer
	rules env.Rules
	img   map[string]store.Digest
}

// newTeam has images "a" to "f", and keys and a trust file of who is named with roles, such as
// "alice=promoter:prod,publisher".
func newTeam(t *testing.T, who ...string) *team {
	t.Helper()
	s := newStore(t, mem.New())
	m := &team{t: t, store: s, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), keys: map[string]sign.Signer{}, img: images(t, s, "abcdef")}
	m.rules = env.Rules{Policies: map[string]env.Policy{}, Where: "config.toml", TrustFile: "trust.jsonl"}
	for _, w := range who {
		name, roles, _ := strings.Cut(w, "=")
		m.trust(name, strings.Split(roles, ",")...)
	}
	return m
}

// trust makes a key for name.
func (m *team) trust(name string, roles ...string) {
	m.t.Helper()
	file := filepath.Join(m.t.TempDir(), name)
	if _, err := sign.Create(file, name, nil); err != nil {
		m.t.Fatal(err)
	}
	key, err := sign.Open(m.t.Context(), file, "", nil)
	if err != nil {
		m.t.Fatal(err)
	}
	m.keys[name] = key
	if m.rules.Trust == nil {
		m.rules.Trust = &sign.Trust{}
	}
	m.rules.Trust.Keys = append(m.rules.Trust.Keys, sign.Key{Public: key.Key(), Name: name, Roles: roles})
}

// change edits what the trust file says of a key.
func (m *team) change(name string, edit func(*sign.Key)) {
	n := slices.IndexFunc(m.rules.Trust.Keys, func(k sign.Key) bool { return k.Name == name })
	edit(&m.rules.Trust.Keys[n])
}

// as are the rules with name's key; "" has none.
func (m *team) as(name string) env.Rules {
	r := m.rules
	if name != "" {
		r.Signer = m.keys[name]
	}
	return r
}

func (m *team) clock() time.Time { return m.now }

// promote promotes ref, an image's letter or an environment, as somebody.
func (m *team) promote(by, ref, to string, change ...func(*env.PromoteOptions)) (env.Entry, error) {
	m.t.Helper()
	return env.Promote(m.t.Context(), m.store, m.promotion(by, ref, to, change...))
}

func (m *team) promotion(by, ref, to string, change ...func(*env.PromoteOptions)) env.PromoteOptions {
	m.t.Helper()
	o := env.PromoteOptions{Env: to, Image: m.img[ref], Actor: by + "x", Rules: m.as(by), Now: m.clock}
	if o.Image.IsZero() {
		found, err := env.Resolve(m.t.Context(), m.store, ref)
		if err != nil {
			m.t.Fatal(err)
		}
		o.Image, o.Source = found.Image, &env.Source{Env: found.Env, Seq: found.Seq}
	}
	for _, c := range change {
		c(&o)
	}
	return o
}

func (m *team) rollback(by, name, to string, force bool) (env.Entry, error) {
	m.t.Helper()
	return env.Rollback(m.t.Context(), m.store, m.back(by, name, to, force))
}

func (m *team) back(by, name, to string, force bool) env.RollbackOptions {
	return env.RollbackOptions{Env: name, To: m.img[to], Force: force, Actor: by + "x", Reason: "test", Rules: m.as(by), Now: m.clock}
}

func (m *team) must(e env.Entry, err error) env.Entry {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
	return e
}

// refused expects a refusal by a rule that says what to do.
func (m *team) refused(err error, rule string, texts ...string) {
	m.t.Helper()
	var r *env.Refusal
	if !errors.As(err, &r) || r.Hint() == "" || !strings.Contains(err.Error(), "("+rule) {
		m.t.Errorf("error = %v; want a refusal by %s with advice", err, rule)
		return
	}
	wantError(m.t, err, nil, texts...)
}

func because(reason string) func(*env.PromoteOptions) {
	return func(o *env.PromoteOptions) { o.Reason = reason }
}

func TestPolicyOfSources(t *testing.T) {
	m := newTeam(t)
	m.rules.Policies["prod"] = env.Policy{From: []string{"staging", "canary"}, Soak: time.Hour}
	m.must(m.promote("", "a", "dev"))
	_, err := m.promote("", "dev", "prod")
	m.refused(err, "policy.prod.from in config.toml", "prod takes images from staging or canary, not from dev")
	_, err = m.promote("", "a", "prod")
	m.refused(err, "policy.prod.from in config.toml", "staging or canary, which never ran "+m.img["a"].Short())
	m.must(m.promote("", "dev", "staging"))
	m.now = m.now.Add(59 * time.Minute)
	_, err = m.promote("", "staging", "prod")
	m.refused(err, "policy.prod.soak in config.toml", "staging has run "+m.img["a"].Short()+" for 59m0s, not for 1h0m0s")
	// Signing it anew, or promoting another one that is taken back, does not start it over.
	m.now = m.now.Add(time.Minute)
	e := m.must(m.promote("", "a", "prod")) // by digest: the environment is found
	if e.Source == nil || *e.Source != (env.Source{Env: "staging", Seq: 1}) {
		t.Errorf("source = %v; want staging@1", e.Source)
	}
	// What staging took back goes no further, however long it ran.
	m.must(m.promote("", "b", "staging"))
	m.now = m.now.Add(2 * time.Hour)
	m.must(m.rollback("", "staging", "", false))
	_, err = m.promote("", "staging@2", "prod")
	m.refused(err, "policy.prod.from in config.toml", "staging took "+m.img["b"].Short()+" back in step 3")
	// What it ran before something newer has had its time.
	m.must(m.promote("", "c", "staging"))
	m.now = m.now.Add(2 * time.Hour)
	m.must(m.promote("", "d", "staging"))
	m.must(m.promote("", "staging@4", "prod"))
	_, err = m.promote("", "staging", "prod")
	m.refused(err, "policy.prod.soak in config.toml", "for 0s")
}

func TestPolicyOfReasonsAndAllEnvironments(t *testing.T) {
	m := newTeam(t)
	m.rules.Policies["*"] = env.Policy{Reason: true}
	m.rules.Policies["dev"] = env.Policy{}
	m.must(m.promote("", "a", "dev"))
	_, err := m.promote("", "a", "prod")
	m.refused(err, "policy.*.reason in config.toml", "every step of prod needs a reason")
	m.must(m.promote("", "a", "prod", because("it works")))
	m.must(m.promote("", "b", "prod", because("it works too")))
	back := m.back("", "prod", "", false)
	back.Reason = ""
	_, err = env.Rollback(t.Context(), m.store, back)
	m.refused(err, "policy.*.reason in config.toml")
}

func TestProtectedWithoutSignatures(t *testing.T) {
	m := newTeam(t)
	m.rules.Policies["prod"] = env.Policy{Protected: true}
	m.must(m.promote("", "a", "prod"))
	m.must(m.promote("", "b", "prod"))
	_, err := m.rollback("", "prod", "c", true)
	m.refused(err, "policy.prod.protected in config.toml", "cannot be forced without a second approval")
	m.must(m.rollback("", "prod", "a", true))
}

func TestSignedSteps(t *testing.T) {
	m := newTeam(t, "alice=promoter:prod", "bob=promoter:dev", "pia=promoter:*")
	_, err := m.promote("", "a", "prod")
	m.refused(err, "trust file trust.jsonl)", "steps of prod have to be signed, and there is no key")
	_, err = m.promote("bob", "a", "prod")
	m.refused(err, "trust file trust.jsonl)", "bob, but the key is not trusted as promoter:prod")
	e := m.must(m.promote("alice", "a", "prod"))
	if got := m.rules.Signers(e, m.now).Names(); !slices.Equal(got, []string{"alice"}) {
		t.Errorf("signed by %v", got)
	}
	if err := m.rules.Check(t.Context(), m.store, e, m.now); err != nil {
		t.Error(err)
	}
	m.must(m.promote("pia", "b", "prod"))
	again := m.must(m.promote("alice", "b", "prod"))
	if !again.Unchanged {
		t.Errorf("a signed head is signed again: %+v", again)
	}
	// The source has to be signed, too.
	m.must(m.promote("bob", "c", "dev"))
	m.must(m.promote("alice", "dev", "prod"))
	unsigned := m.rules
	unsigned.Trust = nil
	if _, err := env.Promote(t.Context(), m.store, env.PromoteOptions{Env: "dev", Image: m.img["d"], Actor: "mallory", Rules: unsigned}); err != nil {
		t.Fatal(err)
	}
	_, err = m.promote("alice", "dev", "prod")
	m.refused(err, "trust file trust.jsonl)", "step 2 of dev", "does not count today", "nobody has")
	// It can be made good, by promoting it again.
	if e := m.must(m.promote("bob", "dev", "dev")); e.Unchanged || e.Seq != 3 {
		t.Errorf("signed anew: %+v", e)
	}
	m.must(m.promote("alice", "dev", "prod"))
}

func TestSignedImages(t *testing.T) {
	m := newTeam(t, "alice=promoter:*", "ci=builder", "rel=publisher")
	m.rules.Policies["dev"] = env.Policy{Images: []string{}}
	m.rules.Policies["prod"] = env.Policy{Images: []string{sign.Builder, sign.Publisher}}
	m.must(m.promote("alice", "a", "dev"))
	_, err := m.promote("alice", "a", "staging") // no policy: a publisher, for there is one
	m.refused(err, "policy.staging.images", "1 with the role publisher must have signed, nobody has")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(sign.Image(t.Context(), m.store, m.img["a"], m.keys["rel"]))
	m.must(m.promote("alice", "a", "staging"))
	_, err = m.promote("alice", "a", "prod")
	m.refused(err, "policy.prod.images", "1 with the role builder must have signed")
	must(sign.Image(t.Context(), m.store, m.img["a"], m.keys["ci"]))
	m.must(m.promote("alice", "a", "prod"))
	// Back to what is not signed any more only by force.
	must(sign.Image(t.Context(), m.store, m.img["b"], m.keys["rel"]))
	must(sign.Image(t.Context(), m.store, m.img["b"], m.keys["ci"]))
	m.must(m.promote("alice", "b", "prod"))
	m.change("ci", func(k *sign.Key) { k.Revoked = m.now })
	_, err = m.rollback("alice", "prod", "", false)
	m.refused(err, "policy.prod.images", "ci, but the key is revoked")
	if e := m.must(m.rollback("alice", "prod", "", true)); !e.Force {
		t.Errorf("not marked as forced: %+v", e)
	}
}

// TestFaultRow40ExpiredSignersAndSteps: what has expired is not promoted, and boards go on.
func TestFaultRow40ExpiredSignersAndSteps(t *testing.T) {
	m := newTeam(t, "alice=promoter:*", "bob=promoter:*")
	m.change("alice", func(k *sign.Key) { k.Until = m.now.Add(time.Hour) })
	head := m.must(m.promote("alice", "a", "dev", func(o *env.PromoteOptions) { o.Expires = m.now.Add(30 * time.Minute) }))
	m.must(m.promote("bob", "dev", "prod"))
	seen := env.Seen{Seq: head.Seq, Image: head.Image, Entry: head.Digest}
	boot := func() {
		t.Helper()
		for _, s := range []env.Seen{{}, seen} { // a front end that starts anew, and one that goes on
			if e, err := env.Follow(t.Context(), m.store, "dev", s, m.rules, m.now); err != nil || e.Seq != head.Seq {
				t.Errorf("boards get %d, %v; want step %d", e.Seq, err, head.Seq)
			}
		}
	}
	boot()
	m.now = m.now.Add(31 * time.Minute)
	_, err := m.promote("bob", "dev", "canary")
	m.refused(err, "its own entry", "step 1 of dev", "expired on 2026-03-01 12:30:00")
	boot()
	head = m.must(m.promote("alice", "dev", "dev"))
	seen = env.Seen{Seq: head.Seq, Image: head.Image, Entry: head.Digest}
	m.now = m.now.Add(time.Hour)
	_, err = m.promote("alice", "b", "dev")
	m.refused(err, "trust file trust.jsonl)", "alice, but the key expired on 2026-03-01")
	_, err = m.promote("bob", "dev", "canary")
	m.refused(err, "trust file trust.jsonl)", "step 2 of dev", "alice, but the key expired")
	boot()
	// A revoked key: who has it already goes on, nobody new begins with it.
	m.change("alice", func(k *sign.Key) { k.Revoked = m.now })
	if _, err := env.Follow(t.Context(), m.store, "dev", seen, m.rules, m.now); err != nil {
		t.Errorf("boards that run it: %v", err)
	}
	_, err = env.Follow(t.Context(), m.store, "dev", env.Seen{}, m.rules, m.now)
	wantError(t, err, nil, "step 2 of dev", "does not count", "alice, but the key is revoked")
	m.must(m.promote("bob", "dev", "dev"))
	if e, err := env.Follow(t.Context(), m.store, "dev", seen, m.rules, m.now); err != nil || e.Seq != 3 {
		t.Errorf("signed by another: %d, %v", e.Seq, err)
	}
}

// attack puts a step of an environment in place as somebody would who can write to the store.
func (m *team) attack(name string, seq int, doc []byte) {
	m.t.Helper()
	if err := m.store.Bucket().Put(m.t.Context(), logKey(name, seq), store.Bytes(doc)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *team) remove(name string, seq int) {
	m.t.Helper()
	if err := m.store.Bucket().Delete(m.t.Context(), logKey(name, seq)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *team) stored(name string, seq int) []byte {
	m.t.Helper()
	doc, err := m.store.Object(m.t.Context(), logKey(name, seq), 1<<20)
	if err != nil {
		m.t.Fatal(err)
	}
	return doc
}

func logKey(name string, seq int) string { return fmt.Sprintf("envs/%s/log/%010d.json", name, seq) }

// TestFaultRow39 plays back old entries, leaves some out and goes on from another history:
// who has seen what was there before refuses all of it, and never takes the environment for
// one that does not exist.
func TestFaultRow39ReplayedSkippedAndForkedEntries(t *testing.T) {
	tests := []struct {
		name   string
		signed bool
		do     func(m *team)
		want   string
	}{
		{"head deleted", false, func(m *team) { m.remove("prod", 3) }, "was seen and is gone"},
		{"all deleted", false, func(m *team) { m.remove("prod", 1); m.remove("prod", 2); m.remove("prod", 3) }, "was seen and is gone"},
		{"head replaced by an older entry", true, func(m *team) { m.attack("prod", 3, m.stored("prod", 2)) }, "number 2 after"},
		{"an older entry as the next", true, func(m *team) { m.attack("prod", 4, m.stored("prod", 2)) }, "number 2 after"},
		{"an entry of another environment", true, func(m *team) { m.attack("prod", 4, m.stored("dev", 4)) }, `it is of environment "dev"`},
		{"a step skipped", false, func(m *team) {
			m.must(m.promote("alice", "d", "prod"))
			m.must(m.promote("alice", "e", "prod"))
			m.remove("prod", 4)
		}, "entry 5 follows entry 3"},
		{"a fork at the head", true, func(m *team) { m.fork(3) }, "its history was replaced"},
		{"a fork below, and further on", true, func(m *team) { m.fork(2); m.fork(4) }, "its history was replaced"},
		{"a step that follows another", true, func(m *team) {
			m.must(m.promote("alice", "d", "prod"))
			e := m.must(m.promote("alice", "e", "prod"))
			m.remove("prod", 4)
			m.attack("prod", 4, m.next(env.Entry{Link: store.Link{Seq: 4, Prev: store.Sum(nil)}, From: m.img["c"], Image: m.img["d"]}))
			_ = e
		}, "does not follow"},
		{"the same step without a signature", true, func(m *team) {
			e, _, err := store.DecodeEntry(m.stored("prod", 3))
			if err != nil {
				m.t.Fatal(err)
			}
			doc, err := store.EncodeEntry(e.Payload, nil)
			if err != nil {
				m.t.Fatal(err)
			}
			m.attack("prod", 3, doc)
		}, "its history was replaced"},
		{"a new step without a signature", true, func(m *team) {
			head := m.head("prod")
			m.attack("prod", 4, m.next(env.Entry{Link: store.Link{Seq: 4, Prev: head.Digest}, From: head.Image, Image: m.img["f"]}))
		}, "nobody has"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newTeam(t, "alice=promoter:*")
			if !tt.signed {
				m.rules.Trust, m.keys = nil, map[string]sign.Signer{}
			}
			for n, letter := range []string{"a", "b", "c", "d"} {
				m.must(m.promote("alice", letter, "dev"))
				if n < 3 {
					m.must(m.promote("alice", letter, "prod"))
				}
			}
			head := m.head("prod")
			seen := env.Seen{Seq: 3, Image: head.Image, Entry: head.Digest}
			if e, err := env.Follow(t.Context(), m.store, "prod", seen, m.rules, m.now); err != nil || e.Seq != 3 {
				t.Fatalf("before: %d, %v", e.Seq, err)
			}
			tt.do(m)
			e, err := env.Follow(t.Context(), m.store, "prod", seen, m.rules, m.now)
			wantError(t, err, nil, tt.want)
			if errors.Is(err, fs.ErrNotExist) || e.Seq != 0 && err == nil {
				t.Errorf("Follow = %+v, %v; want an error that is not absence", e, err)
			}
		})
	}
}

func (m *team) head(name string) env.Entry {
	m.t.Helper()
	return m.must(env.Head(m.t.Context(), m.store, name))
}

// next is an envelope of a step that nobody signed.
func (m *team) next(e env.Entry) []byte {
	m.t.Helper()
	e.Version, e.Env, e.Action, e.Actor, e.Time = 1, "prod", env.Promoted, "mallory", m.now
	payload, err := json.Marshal(e)
	if err != nil {
		m.t.Fatal(err)
	}
	doc, err := store.EncodeEntry(payload, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	return doc
}

// fork replaces step seq of prod, and what followed it, by one that the same key signed.
func (m *team) fork(seq int) {
	m.t.Helper()
	for n := 5; n >= seq; n-- {
		m.remove("prod", n)
	}
	m.must(m.promote("alice", []string{"e", "f"}[seq%2], "prod"))
	for n := seq + 1; n < 4; n++ {
		m.must(m.promote("alice", []string{"e", "f"}[n%2], "prod"))
	}
}

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

func TestYanked(t *testing.T) {
	m := newTeam(t, "alice=promoter:*", "bob=promoter:dev")
	m.must(m.promote("alice", "a", "prod"))
	m.must(m.promote("alice", "b", "prod"))
	pull := func(by string, letter string, undo bool) (yank.Entry, error) {
		return yank.Set(t.Context(), m.store, yank.Options{
			Image: m.img[letter], GiveBack: undo, Actor: by, Reason: "it eats boards", Now: m.clock,
			Sign: m.as(by).Sign, Trusted: m.rules.TrustedYank(m.now),
		})
	}
	if _, err := pull("bob", "a", false); err == nil {
		t.Error("bob may yank")
	}
	if _, err := pull("alice", "a", false); err != nil {
		t.Fatal(err)
	}
	for _, force := range []bool{false, true} {
		_, err := m.rollback("alice", "prod", "a", force)
		wantError(t, err, nil, "roll back prod: image "+m.img["a"].Short()+" was yanked by alice: it eats boards")
	}
	_, err := m.promote("alice", "a", "dev")
	wantError(t, err, nil, "was yanked by alice")
	_, err = env.Propose(t.Context(), m.store, m.promotion("alice", "a", "dev"))
	wantError(t, err, nil, "was yanked by alice")
	if e, err := pull("alice", "a", false); err != nil || !e.Unchanged {
		t.Errorf("yanked again: %+v, %v", e, err)
	}
	// Somebody without a key can yank, which is safe, and cannot give back.
	for _, undo := range []bool{true, false} {
		letter := map[bool]string{true: "a", false: "c"}[undo]
		if _, err := yank.Set(t.Context(), m.store, yank.Options{Image: m.img[letter], GiveBack: undo, Actor: "mallory", Reason: "x"}); err != nil {
			t.Fatal(err)
		}
		_, err = m.promote("alice", letter, "dev")
		wantError(t, err, nil, "was yanked by")
	}
	if e, err := pull("alice", "a", true); err != nil || e.Unchanged {
		t.Fatalf("given back: %+v, %v", e, err)
	}
	m.must(m.rollback("alice", "prod", "a", false))
	// A damaged list allows nothing.
	if err := m.store.Bucket().Put(t.Context(), "yanked/log/0000000001.json", store.Bytes([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	_, err = m.promote("alice", "d", "dev")
	wantError(t, err, store.ErrCorrupt, "list of yanked images")
}

// TestYanksAtTheSameTime do not exclude each other.
func TestYanksAtTheSameTime(t *testing.T) {
	m := newTeam(t)
	var wg sync.WaitGroup
	for _, d := range m.img {
		wg.Go(func() {
			if _, err := yank.Set(context.WithoutCancel(t.Context()), m.store, yank.Options{Image: d, Actor: "x", Reason: "y"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	list, _, err := yank.Read(t.Context(), m.store, nil)
	if err != nil || len(list) != len(m.img) {
		t.Errorf("%d of %d, %v", len(list), len(m.img), err)
	}
}

func TestRecent(t *testing.T) {
	m := newTeam(t)
	for _, letter := range []string{"a", "b", "c"} {
		m.must(m.promote("", letter, "dev"))
	}
	for n, want := range map[int][]int64{1: {3}, 2: {3, 2}, 3: {3, 2, 1}, 9: {3, 2, 1}} {
		got, err := env.Recent(t.Context(), m.store, "dev", n)
		var seqs []int64
		for _, e := range got {
			seqs = append(seqs, e.Seq)
		}
		if err != nil || !slices.Equal(seqs, want) {
			t.Errorf("the last %d = %v, %v; want %v", n, seqs, err, want)
		}
	}
	m.remove("dev", 2)
	m.attack("dev", 2, m.stored("dev", 1))
	_, err := env.Recent(t.Context(), m.store, "dev", 1)
	wantError(t, err, store.ErrCorrupt)
}

// TestSourceInAnotherStore: what is asked of a source is asked of its own log.
func TestSourceInAnotherStore(t *testing.T) {
	m := newTeam(t, "alice=promoter:*", "bob=promoter:prod")
	m.rules.Policies["prod"] = env.Policy{From: []string{"staging"}, Soak: time.Hour}
	factory := *m
	factory.store = newStore(t, mem.New())
	images(t, factory.store, "abcdef")
	factory.must(factory.promote("alice", "a", "staging"))
	from := func(o *env.PromoteOptions) {
		o.From, o.Source = factory.store, &env.Source{Store: factory.store.ID(), Env: "staging", Seq: 1}
	}
	_, err := m.promote("bob", "a", "prod", from)
	m.refused(err, "policy.prod.soak in config.toml", "staging has run")
	m.now = m.now.Add(time.Hour)
	e := m.must(m.promote("bob", "a", "prod", from))
	if e.Source.Store != factory.store.ID() || e.Source.Env != "staging" {
		t.Errorf("source = %v", e.Source)
	}
	factory.rules.Trust, factory.now = nil, m.now
	factory.must(factory.promote("", "b", "staging"))
	m.now = m.now.Add(time.Hour)
	_, err = m.promote("bob", "b", "prod", from)
	m.refused(err, "trust file trust.jsonl)", "step 2 of staging", "nobody has")
}
