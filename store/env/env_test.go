package env_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
	"piimg/store/disk"
	"piimg/store/env"
	"piimg/store/mem"
)

func newStore(t *testing.T, b store.Bucket) *store.Store {
	t.Helper()
	s, err := store.Init(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// publish makes an image whose kernel is the text kernel.
func publish(t *testing.T, s *store.Store, kernel string) store.Digest {
	t.Helper()
	put := func(text string) store.Blob {
		c := store.Bytes([]byte(text))
		if _, err := s.Blobs().Put(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return c.Blob()
	}
	d, err := s.PutImage(t.Context(), store.Image{
		Name: "test", Config: put("{}"), Files: []store.File{store.NewFile("kernel8.img", 0o644, put(kernel))},
	}, store.Record{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// images are published images under one-letter names.
func images(t *testing.T, s *store.Store, letters string) map[string]store.Digest {
	t.Helper()
	all := map[string]store.Digest{}
	for _, l := range letters {
		all[string(l)] = publish(t, s, "kernel "+string(l))
	}
	return all
}

func promote(t *testing.T, s *store.Store, name string, d store.Digest) env.Entry {
	t.Helper()
	e, err := env.Promote(t.Context(), s, env.PromoteOptions{Env: name, Image: d, Actor: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func rollback(t *testing.T, s *store.Store, name string, to store.Digest) env.Entry {
	t.Helper()
	e, err := env.Rollback(t.Context(), s, env.RollbackOptions{Env: name, To: to, Actor: "bob", Reason: "test", Force: true})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func ptr[T any](v T) *T { return &v }

// wantError expects err to wrap target, where there is one, and to say every text.
func wantError(t *testing.T, err, target error, texts ...string) {
	t.Helper()
	if err == nil || (target != nil && !errors.Is(err, target)) {
		t.Errorf("error = %v; want one that wraps %v", err, target)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error = %v; want %q in it", err, text)
		}
	}
}

// TestEntryGolden holds what is stored, to the byte.
func TestEntryGolden(t *testing.T) {
	s := newStore(t, mem.New())
	d := publish(t, s, "kernel")
	first, err := env.Promote(t.Context(), s, env.PromoteOptions{
		Env: "prod", Image: d, Source: &env.Source{Env: "staging", Seq: 97}, Actor: "alice@ci", Reason: "new kernel",
		Now:   func() time.Time { return time.Date(2026, 11, 22, 19, 4, 5, 999, time.FixedZone("CET", 3600)) },
		Nonce: func() string { return "NONCE" },
	})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := s.Log("envs/prod").Head(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"seq":1,"prev":"","v":1,"env":"prod","action":"promote","image":"` + d.String() + `","from":"",` +
		`"source":{"env":"staging","seq":97},"actor":"alice@ci","reason":"new kernel","time":"2026-11-22T18:04:05Z",` +
		`"nonce":"NONCE","force":false}`
	if diff := cmp.Diff(want, string(stored.Payload)); diff != "" {
		t.Errorf("payload, want -, got +:\n%s", diff)
	}
	head, err := env.Head(t.Context(), s, "prod")
	if diff := cmp.Diff(first, head); err != nil || diff != "" {
		t.Errorf("Head = %v, want what Promote returned -, got +:\n%s", err, diff)
	}
}

func TestPromote(t *testing.T) {
	s := newStore(t, mem.New())
	img := images(t, s, "ab")
	one := promote(t, s, "dev", img["a"])
	two := promote(t, s, "dev", img["b"])
	if two.Seq != 2 || two.Prev != one.Digest || two.From != img["a"] || two.Image != img["b"] || two.Nonce == one.Nonce {
		t.Errorf("second entry = %+v; want it to follow %+v", two, one)
	}
	if age := time.Since(two.Time); age < 0 || age > time.Minute || two.Time.Location() != time.UTC {
		t.Errorf("time = %v; want now, in UTC", two.Time)
	}
	again := promote(t, s, "dev", img["b"])
	if !again.Unchanged || again.Seq != 2 || again.Digest != two.Digest {
		t.Errorf("promoting the head again = %+v; want step 2, unchanged", again)
	}
	history, err := env.History(t.Context(), s, "dev")
	if diff := cmp.Diff([]env.Entry{one, two}, history); err != nil || diff != "" {
		t.Errorf("History = %v, want -, got +:\n%s", err, diff)
	}
}

func TestPromoteRefuses(t *testing.T) {
	s := newStore(t, mem.New())
	img := images(t, s, "abc")
	promote(t, s, "dev", img["a"])
	tests := []struct {
		name   string
		o      env.PromoteOptions
		target error
		text   string
	}{
		{"no actor", env.PromoteOptions{Env: "dev", Image: img["b"]}, nil, "the actor is empty"},
		{"no image", env.PromoteOptions{Env: "dev", Actor: "x"}, nil, "no image is given"},
		{"bad name", env.PromoteOptions{Env: "../dev", Image: img["b"], Actor: "x"}, nil, `environment "../dev"`},
		{"hex name", env.PromoteOptions{Env: "beef", Image: img["b"], Actor: "x"}, nil, "could be a digest or a board"},
		{"no such image", env.PromoteOptions{Env: "dev", Image: store.Sum(nil), Actor: "x"}, fs.ErrNotExist, store.Sum(nil).Short()},
		{"a kernel", env.PromoteOptions{Env: "dev", Image: store.Sum([]byte("kernel a")), Actor: "x"}, store.ErrCorrupt, "manifest"},
		{"head moved", env.PromoteOptions{Env: "dev", Image: img["b"], Actor: "x", Expect: ptr(int64(0))}, store.ErrConflict,
			"step 1 of dev (promote of " + img["a"].Short() + " by alice), not step 0, is the head"},
		{"head not there yet", env.PromoteOptions{Env: "new", Image: img["b"], Actor: "x", Expect: ptr(int64(7))}, store.ErrConflict,
			"new has no step yet, not step 7"},
		{"escape in actor", env.PromoteOptions{Env: "dev", Image: img["b"], Actor: "x\x1b[2J"}, nil, "the actor has the control character U+001B"},
		{"two lines of reason", env.PromoteOptions{Env: "dev", Image: img["b"], Actor: "x", Reason: "a\nb"}, nil, "the reason has the control character U+000A"},
		{"reason too long", env.PromoteOptions{Env: "dev", Image: img["b"], Actor: "x", Reason: strings.Repeat("x", 1<<20)}, nil, "longer than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := env.Promote(t.Context(), s, tt.o)
			wantError(t, err, tt.target, "promote "+tt.o.Image.Short()+" to "+tt.o.Env+": ", tt.text)
		})
	}
	if head, err := env.Head(t.Context(), s, "dev"); err != nil || head.Seq != 1 {
		t.Errorf("Head = %d, %v; want 1", head.Seq, err)
	}
	if e, err := env.Promote(t.Context(), s, env.PromoteOptions{Env: "dev", Image: img["c"], Actor: "x", Expect: ptr(int64(1))}); err != nil || e.Seq != 2 {
		t.Errorf("Promote that expects step 1 = %+v, %v; want step 2", e, err)
	}
}

// TestIncompleteImages: neither Promote nor Rollback makes an environment run an image
// that could not be served.
func TestIncompleteImages(t *testing.T) {
	s := newStore(t, mem.New())
	img := images(t, s, "ab")
	promote(t, s, "dev", img["a"])
	promote(t, s, "dev", img["b"])
	kernel := store.Sum([]byte("kernel a"))
	damages := map[error]func() error{
		store.ErrCorrupt: func() error { return s.Bucket().Put(t.Context(), store.BlobKey(kernel), store.Bytes([]byte("kern"))) },
		fs.ErrNotExist:   func() error { return s.Bucket().Delete(t.Context(), store.BlobKey(kernel)) },
	}
	for target, damage := range damages {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		_, err := env.Promote(t.Context(), s, env.PromoteOptions{Env: "prod", Image: img["a"], Actor: "x"})
		wantError(t, err, target, kernel.Short(), "kernel8.img", "not complete")
		_, err = env.Rollback(t.Context(), s, env.RollbackOptions{Env: "dev", Actor: "x"})
		wantError(t, err, target, kernel.Short(), "kernel8.img", "not complete")
	}
	if _, err := env.Head(t.Context(), s, "prod"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Head(prod) = %v; want fs.ErrNotExist", err)
	}
}

func TestUnknownEnvironment(t *testing.T) {
	s := newStore(t, mem.New())
	calls := map[string]func() error{
		"Head":    func() error { _, err := env.Head(t.Context(), s, "prdo"); return err },
		"History": func() error { _, err := env.History(t.Context(), s, "prdo"); return err },
		"Rollback": func() error {
			_, err := env.Rollback(t.Context(), s, env.RollbackOptions{Env: "prdo", Actor: "x"})
			return err
		},
		"Resolve":  func() error { _, err := env.Resolve(t.Context(), s, "prdo"); return err },
		"Resolve@": func() error { _, err := env.Resolve(t.Context(), s, "prdo@3"); return err },
		"Resolve~": func() error { _, err := env.Resolve(t.Context(), s, "prdo~3"); return err },
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			wantError(t, call(), fs.ErrNotExist, "environment prdo is not known: there is none yet")
		})
	}
	img := images(t, s, "a")
	promote(t, s, "prod", img["a"])
	promote(t, s, "dev", img["a"])
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			wantError(t, call(), fs.ErrNotExist, "environment prdo is not known: there are dev, prod")
		})
	}
	if got, err := env.List(t.Context(), s); err != nil || !slices.Equal(got, []string{"dev", "prod"}) {
		t.Errorf("List = %q, %v; want dev and prod", got, err)
	}
}

// TestRollback tells histories: a letter promotes that image, "-" rolls back, and "-x"
// rolls back to x.
func TestRollback(t *testing.T) {
	tests := []struct {
		does string
		want string // the head, then env~1, env~2 and so on
	}{
		{"a", "a"},
		{"a b", "b a"},
		{"a b c", "c b a"},
		{"a b c -", "b a"},
		{"a b c - -", "a"},
		{"a b c - d", "d b a"},
		{"a b c - d -", "b a"},
		{"a b c - d - -", "a"},
		{"a b c - c", "c b a"},
		{"a b c -a", "a"},
		{"a b c -a c -", "a"},
		{"a b c - -c", "c b a"},       // c was popped: it is pushed again
		{"a b c - -c -", "b a"},       // and popped
		{"a b a", "a b a"},            // the same image twice in the stack
		{"a b a -", "b a"},            // goes to the nearest
		{"a b a b -a", "a b a"},       // the nearest of two
		{"a b -x", "x b a"},           // forced: never run
		{"a b -x -", "b a"},           // undone like any other
		{"a b c d - - -b e", "e b a"}, // -b at b changes nothing
		{"a a b b - a", "a"},          // promoting the head changes nothing
	}
	for _, tt := range tests {
		t.Run(tt.does, func(t *testing.T) {
			s := newStore(t, mem.New())
			img := images(t, s, "abcdex")
			for word := range strings.FieldsSeq(tt.does) {
				if to, ok := strings.CutPrefix(word, "-"); ok {
					rollback(t, s, "dev", img[to])
				} else {
					promote(t, s, "dev", img[word])
				}
			}
			want := strings.Fields(tt.want)
			for back, letter := range want {
				got, err := env.Resolve(t.Context(), s, fmt.Sprintf("dev~%d", back))
				if back == 0 {
					got, err = env.Resolve(t.Context(), s, "dev")
				}
				if err != nil || got.Image != img[letter] {
					t.Errorf("dev~%d = %s, %v; want %s, %s", back, got.Image.Short(), err, letter, img[letter].Short())
				}
				if at, err := env.Resolve(t.Context(), s, fmt.Sprintf("dev@%d", got.Seq)); err != nil || at != got {
					t.Errorf("dev@%d = %+v, %v; want %+v", got.Seq, at, err, got)
				}
			}
			_, err := env.Resolve(t.Context(), s, fmt.Sprintf("dev~%d", len(want)))
			wantError(t, err, fs.ErrNotExist)
		})
	}
}

// TestStackIsReplayedFromTheHead compares what is read from the head down with the
// stack built from the first step on, over random histories.
func TestStackIsReplayedFromTheHead(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 0))
		s := newStore(t, mem.New())
		img := images(t, s, "abcd")
		var stack []store.Digest
		for range 30 {
			d := img[string("abcd"[r.IntN(4)])]
			if r.IntN(2) == 0 || len(stack) < 2 {
				promote(t, s, "dev", d)
				if len(stack) == 0 || stack[len(stack)-1] != d {
					stack = append(stack, d)
				}
			} else {
				if r.IntN(2) == 0 {
					d = store.Digest{}
				}
				to := rollback(t, s, "dev", d).Image
				if at := lastIndex(stack, to); at >= 0 {
					stack = stack[:at+1]
				} else {
					stack = append(stack, to)
				}
			}
			for back := 1; back < len(stack); back += 1 + len(stack)/4 {
				got, err := env.Resolve(t.Context(), s, fmt.Sprintf("dev~%d", back))
				if want := stack[len(stack)-1-back]; err != nil || got.Image != want {
					t.Fatalf("seed %d: dev~%d = %s, %v; want %s", seed, back, got.Image.Short(), err, want.Short())
				}
			}
			_, err := env.Resolve(t.Context(), s, fmt.Sprintf("dev~%d", len(stack)))
			wantError(t, err, fs.ErrNotExist)
		}
	}
}

func lastIndex(stack []store.Digest, d store.Digest) int {
	for i, have := range slices.Backward(stack) {
		if have == d {
			return i
		}
	}
	return -1
}

func TestRollbackRefuses(t *testing.T) {
	s := newStore(t, mem.New())
	img := images(t, s, "abx")
	promote(t, s, "one", img["a"])
	promote(t, s, "dev", img["a"])
	promote(t, s, "dev", img["b"])
	tests := []struct {
		name   string
		o      env.RollbackOptions
		target error
		text   string
	}{
		{"no image before", env.RollbackOptions{Env: "one", Actor: "x"}, fs.ErrNotExist, "one has no image before " + img["a"].Short()},
		{"no actor", env.RollbackOptions{Env: "dev"}, nil, "the actor is empty"},
		{"tab in actor", env.RollbackOptions{Env: "dev", Actor: "a\tb"}, nil, "the actor has the control character U+0009"},
		{"two lines of reason", env.RollbackOptions{Env: "dev", Actor: "x", Reason: "a\nb"}, nil, "the reason has the control character U+000A"},
		{"bad name", env.RollbackOptions{Env: "Dev", Actor: "x"}, nil, `environment "Dev"`},
		{"never run", env.RollbackOptions{Env: "dev", Actor: "x", To: img["x"]}, fs.ErrNotExist, "dev has never run " + img["x"].Short()},
		{"forced without a reason", env.RollbackOptions{Env: "dev", Actor: "x", To: img["x"], Force: true}, nil, "needs a reason"},
		{"forced to nowhere", env.RollbackOptions{Env: "dev", Actor: "x", To: store.Sum(nil), Force: true, Reason: "r"}, fs.ErrNotExist, store.Sum(nil).Short()},
		{"head moved", env.RollbackOptions{Env: "dev", Actor: "x", Expect: ptr(int64(1))}, store.ErrConflict, "by alice), not step 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := env.Rollback(t.Context(), s, tt.o)
			wantError(t, err, tt.target, "roll back "+tt.o.Env+": ", tt.text)
		})
	}
	if e := rollback(t, s, "dev", img["b"]); !e.Unchanged || e.Seq != 2 {
		t.Errorf("rollback to the head = %+v; want step 2, unchanged", e)
	}
	if e := rollback(t, s, "dev", img["x"]); !e.Force || e.Seq != 3 || e.Action != env.RolledBack || e.From != img["b"] {
		t.Errorf("forced rollback = %+v; want step 3, forced", e)
	}
	if e := rollback(t, s, "dev", img["a"]); e.Force {
		t.Errorf("rollback that needed no force = %+v; want it not marked", e)
	}
}

func TestResolve(t *testing.T) {
	s := newStore(t, mem.New())
	img := images(t, s, "abc")
	for _, letter := range []string{"a", "b", "c"} {
		promote(t, s, "prod", img[letter])
	}
	rollback(t, s, "prod", store.Digest{})
	tests := []struct {
		ref  string
		want env.Resolved
	}{
		{"prod", env.Resolved{Image: img["b"], Env: "prod", Seq: 4}},
		{"prod@4", env.Resolved{Image: img["b"], Env: "prod", Seq: 4}},
		{"prod@3", env.Resolved{Image: img["c"], Env: "prod", Seq: 3}},
		{"prod~1", env.Resolved{Image: img["a"], Env: "prod", Seq: 1}},
		{"prod~", env.Resolved{Image: img["a"], Env: "prod", Seq: 1}},
		{img["c"].String(), env.Resolved{Image: img["c"]}},
		{img["c"].Hex(), env.Resolved{Image: img["c"]}},
		{img["c"].Short(), env.Resolved{Image: img["c"]}},
		{img["c"].Hex()[:8], env.Resolved{Image: img["c"]}},
	}
	for _, tt := range tests {
		if got, err := env.Resolve(t.Context(), s, tt.ref); err != nil || got != tt.want {
			t.Errorf("Resolve(%s) = %+v, %v; want %+v", tt.ref, got, err, tt.want)
		}
	}
	errs := []struct {
		ref    string
		target error
		text   string
	}{
		{"prod@5", fs.ErrNotExist, "image prod@5: prod has 4 steps"},
		{"prod~2", fs.ErrNotExist, "image prod~2: prod~1 is as far back as it goes"},
		{"sha256:00000000", fs.ErrNotExist, "image sha256:00000000 is not in the store"},
		{store.Sum(nil).String(), fs.ErrNotExist, "is not in the store"},
		{store.Sum([]byte("kernel a")).String(), fs.ErrNotExist, "is not in the store"},
		{"Prod", nil, "<env>@<step>"},
	}
	for _, tt := range errs {
		t.Run(tt.ref, func(t *testing.T) {
			_, err := env.Resolve(t.Context(), s, tt.ref)
			wantError(t, err, tt.target, tt.text)
		})
	}
}

func TestResolveAmbiguousPrefix(t *testing.T) {
	s := newStore(t, mem.New())
	var names []string
	for n := range 9 {
		name := fmt.Sprintf("4f1c9a02%056d", n)
		names = append(names, name)
		if err := s.Bucket().Create(t.Context(), "images/"+name+".json", []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	_, err := env.Resolve(t.Context(), s, "4f1c9a02")
	wantError(t, err, nil, "could be any of 9", "sha256:"+names[0]+", sha256:"+names[1], "…")
	if got, err := env.Resolve(t.Context(), s, names[3]); err != nil || got.Image.Hex() != names[3] {
		t.Errorf("Resolve(%s) = %+v, %v", names[3], got, err)
	}
}

// TestRacingPromotions: at every step one caller wins, each other one learns who did,
// and the log holds what was reported and nothing else.
func TestRacingPromotions(t *testing.T) {
	buckets := map[string]func() store.Bucket{
		"mem": func() store.Bucket { return mem.New() },
		"disk": func() store.Bucket {
			b, err := disk.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
	}
	for name, open := range buckets {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, open())
			var img []store.Digest
			for n := range 16 {
				img = append(img, publish(t, s, fmt.Sprint("kernel ", n)))
			}
			reported := race(t, s, img, 8)
			history, err := env.History(t.Context(), s, "prod")
			if err != nil {
				t.Fatal(err)
			}
			if len(history) != len(reported) {
				t.Errorf("the log has %d steps, %d successes were reported", len(history), len(reported))
			}
			for _, e := range history {
				if diff := cmp.Diff(reported[e.Seq], e); diff != "" {
					t.Errorf("step %d, reported -, stored +:\n%s", e.Seq, diff)
				}
			}
		})
	}
}

// race has one promoter for each image try rounds times, and returns what was reported.
func race(t *testing.T, s *store.Store, img []store.Digest, rounds int) map[int64]env.Entry {
	t.Helper()
	var mu sync.Mutex
	reported := map[int64]env.Entry{}
	var racers sync.WaitGroup
	for n, d := range img {
		racers.Go(func() {
			for range rounds {
				e, err := env.Promote(t.Context(), s, env.PromoteOptions{Env: "prod", Image: d, Actor: fmt.Sprint("racer ", n)})
				switch {
				case errors.Is(err, store.ErrConflict):
					wantError(t, err, nil, "step ", "of prod (promote of sha256:", "by racer ", "came first")
				case err != nil:
					t.Errorf("Promote = %v", err)
				case !e.Unchanged:
					mu.Lock()
					if other, twice := reported[e.Seq]; twice {
						t.Errorf("%s and %s were both told that step %d is theirs", other.Actor, e.Actor, e.Seq)
					}
					reported[e.Seq] = e
					mu.Unlock()
				}
			}
		})
	}
	racers.Wait()
	return reported
}

// TestRefusedEntries stores entries that no version of this package writes.
func TestRefusedEntries(t *testing.T) {
	img := store.Sum([]byte("image"))
	good := env.Entry{Version: 1, Env: "prod", Action: env.Promoted, Image: img}
	tests := []struct {
		name   string
		change func(*env.Entry)
		target error
		text   string
	}{
		{"newer version", func(e *env.Entry) { e.Version = 2 }, nil, "version 2, this piimg knows version 1"},
		{"of another environment", func(e *env.Entry) { e.Env = "dev" }, store.ErrCorrupt, `of environment "dev"`},
		{"without image", func(e *env.Entry) { e.Image = store.Digest{} }, store.ErrCorrupt, "no image"},
		{"unknown action", func(e *env.Entry) { e.Action = "drop" }, store.ErrCorrupt, `"drop"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore(t, mem.New())
			e := good
			tt.change(&e)
			appendRaw(t, s, store.Entry{}, e)
			_, err := env.Head(t.Context(), s, "prod")
			wantError(t, err, tt.target, "environment prod: step 1: ", tt.text)
			_, err = env.History(t.Context(), s, "prod")
			wantError(t, err, tt.target, "environment prod: step 1: ", tt.text)
		})
	}
	t.Run("from another image", func(t *testing.T) {
		s := newStore(t, mem.New())
		two := good
		two.From = store.Sum([]byte("other"))
		appendRaw(t, s, appendRaw(t, s, store.Entry{}, good), two)
		_, err := env.History(t.Context(), s, "prod")
		wantError(t, err, store.ErrCorrupt, "step 2 does not follow step 1")
		_, err = env.Resolve(t.Context(), s, "prod~1")
		wantError(t, err, store.ErrCorrupt, "step 2 does not follow step 1")
	})
}

// TestDamagedNeighbour: a broken log stays listed, and no other environment suffers.
func TestDamagedNeighbour(t *testing.T) {
	s := newStore(t, mem.New())
	img := publish(t, s, "kernel")
	for _, name := range []string{"dev", "prod", "rack"} {
		promote(t, s, name, img)
	}
	for key, doc := range map[string]string{"envs/dev/log/0000000001.json": "nonsense", "envs/rack/log/0000000003.json": "{}"} {
		if err := s.Bucket().Put(t.Context(), key, store.Bytes([]byte(doc))); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := env.List(t.Context(), s); err != nil || !slices.Equal(got, []string{"dev", "prod", "rack"}) {
		t.Errorf("List = %q, %v; want dev, prod, rack", got, err)
	}
	for _, name := range []string{"dev", "rack"} {
		_, err := env.Head(t.Context(), s, name)
		wantError(t, err, store.ErrCorrupt, "envs/"+name)
	}
	if head, err := env.Head(t.Context(), s, "prod"); err != nil || head.Image != img {
		t.Errorf("Head(prod) = %+v, %v; want %s", head, err, img.Short())
	}
	_, err := env.Head(t.Context(), s, "prdo")
	wantError(t, err, fs.ErrNotExist, "there are dev, prod, rack")
}

// TestErrorsAreOneLine: an error is printed behind a prefix, so it must not have two lines.
func TestErrorsAreOneLine(t *testing.T) {
	s := newStore(t, mem.New())
	img := publish(t, s, "kernel")
	const wrongType = `{"seq":1,"prev":"","v":"one"}`
	if _, err := s.Log("envs/prod").Append(t.Context(), store.Link{Seq: 1}, []byte(wrongType)); err != nil {
		t.Fatal(err)
	}
	_, err := env.Head(t.Context(), s, "prod")
	wantError(t, err, store.ErrCorrupt, "environment prod: step 1: corrupt: json")
	wantOneLine(t, err)

	raced, err := store.Open(t.Context(), beaten{s.Bucket(), "envs/dev/log/0000000001.json"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = env.Promote(t.Context(), raced, env.PromoteOptions{Env: "dev", Image: img, Actor: "x"})
	wantError(t, err, store.ErrConflict, "who came first is not known: environment dev: read envs/dev/log/0000000001.json")
	wantOneLine(t, err)
}

func wantOneLine(t *testing.T, err error) {
	t.Helper()
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q is longer than a line", err)
	}
}

// beaten is a bucket where somebody else always creates key first, with nonsense.
type beaten struct {
	store.Bucket
	key string
}

func (b beaten) Create(ctx context.Context, key string, doc []byte) error {
	if key == b.key {
		if err := b.Put(ctx, key, store.Bytes([]byte("nonsense"))); err != nil {
			return err
		}
	}
	return b.Bucket.Create(ctx, key, doc)
}

func appendRaw(t *testing.T, s *store.Store, head store.Entry, e env.Entry) store.Entry {
	t.Helper()
	l := s.Log("envs/prod")
	e.Link = l.Next(head)
	payload, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := l.Append(t.Context(), e.Link, payload)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}
