package yank_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
	"piimg/store/mem"
	"piimg/store/yank"
)

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Init(t.Context(), mem.New())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestGolden holds what is stored, but for the nonce.
func TestGolden(t *testing.T) {
	s := newStore(t)
	d := store.Sum(nil)
	now := time.Date(2026, 11, 22, 19, 4, 5, 999, time.FixedZone("CET", 3600))
	e, err := yank.Set(t.Context(), s, yank.Options{Image: d, Actor: "alice", Reason: "eats boards", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := s.Log("yanked").Head(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"seq":1,"prev":"","v":1,"action":"yank","image":"` + d.String() + `","actor":"alice","reason":"eats boards","time":"2026-11-22T18:04:05Z","nonce":"`
	if got, _, _ := strings.Cut(string(stored.Payload), e.Nonce); cmp.Diff(want, got) != "" {
		t.Errorf("payload, want -, got +:\n%s", cmp.Diff(want, got))
	}
}

func TestSetAndCheck(t *testing.T) {
	s := newStore(t)
	d := store.Sum(nil)
	set := func(back bool, want bool) {
		t.Helper()
		e, err := yank.Set(t.Context(), s, yank.Options{Image: d, GiveBack: back, Actor: "alice", Reason: "why"})
		if err != nil || e.Unchanged == want {
			t.Errorf("give back %v: unchanged %v, %v", back, e.Unchanged, err)
		}
	}
	check := func(yanked bool) {
		t.Helper()
		var e *yank.Error
		if err := yank.Check(t.Context(), s, d, nil); errors.As(err, &e) != yanked || !yanked && err != nil {
			t.Errorf("Check = %v; want yanked %v", err, yanked)
		}
		if err := yank.Check(t.Context(), s, store.Sum([]byte("other")), nil); err != nil {
			t.Errorf("another image: %v", err)
		}
	}
	check(false)
	set(true, false) // it was not yanked
	set(false, true)
	set(false, false)
	check(true)
	set(true, true)
	check(false)
	set(false, true)
	check(true)
}

func TestSetRefuses(t *testing.T) {
	s := newStore(t)
	d := store.Sum(nil)
	if _, err := yank.Set(t.Context(), s, yank.Options{Image: store.Sum([]byte("yanked")), Actor: "x", Reason: "y"}); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]yank.Options{
		"no image is given":     {Actor: "x", Reason: "y"},
		"who does it and why":   {Image: d, Actor: "x"},
		"who does it and wh":    {Image: d, Reason: "x"},
		"control character":     {Image: d, Actor: "x\x1b", Reason: "y"},
		"the reason has the co": {Image: d, Actor: "x", Reason: "a\nb"},
		"not today":             {Image: store.Sum([]byte("yanked")), GiveBack: true, Actor: "x", Reason: "y", Trusted: func(yank.Entry) error { return errors.New("not today") }},
	} {
		if _, err := yank.Set(t.Context(), s, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Set(%+v) = %v; want %q", o, err, want)
		}
	}
	if list, _, err := yank.Read(t.Context(), s, nil); err != nil || len(list) != 1 {
		t.Errorf("%v, %v; want the one that was yanked", list, err)
	}
}
