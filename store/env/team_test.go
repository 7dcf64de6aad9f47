package env_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/env"
	"piimg/store/mem"
	"piimg/store/sign"
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
