package env_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/env"
	"piimg/store/mem"
	"piimg/store/sign"
	"piimg/store/yank"
)

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
	if _, err := pull("alice", "a", false); err != nil {
		t.Fatal(err)
	}
	if _, err := pull("bob", "a", true); err == nil {
		t.Error("bob, who may promote to dev only, may give back")
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
