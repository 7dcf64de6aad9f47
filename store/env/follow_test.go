package env_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/env"
	"piimg/store/sign"
)

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

// FuzzDecode: whatever a payload holds, it is a step that is written as it was read, or an
// error.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"seq":1,"prev":"","v":1,"env":"prod","action":"promote","image":"` + store.Sum(nil).String() + `","from":"","actor":"a","reason":"","time":"2026-11-22T18:04:05Z","nonce":"n","force":false}`))
	f.Add([]byte(`{"v":1,"env":"prod","expires":"x"}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		e, err := env.Decode(store.Entry{Seq: 1, Payload: payload}, "prod")
		if err != nil {
			return
		}
		if e.Env != "prod" || e.Image.IsZero() || e.Source != nil && e.Source.String() == "" {
			t.Errorf("%+v", e)
		}
		doc, err := json.Marshal(e)
		if err != nil {
			return // a time of a year that JSON does not have
		}
		if _, err := env.Decode(store.Entry{Seq: 1, Payload: doc}, "prod"); err != nil {
			t.Errorf("written anew: %v", err)
		}
	})
}
