package gc_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/board"
	"piimg/store/env"
	"piimg/store/gc"
)

// TestWhatNothingKeepsGoes: in two steps, a day apart.
func TestWhatNothingKeepsGoes(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.publish("a"), w.publish("b")
		w.promote("dev", a)
		if r := w.collect(w.options()); r.Condemned.Blobs != 0 || w.kernels("ab") != "ab" {
			t.Errorf("lately published: %+v", r)
		}
		w.pass(15 * day)
		r := w.collect(w.options())
		if r.Condemned.Blobs != 2 || r.Removed.Blobs != 0 || w.kernels("ab") != "ab" {
			t.Errorf("first run = %+v; want kernel and manifest of b condemned, nothing removed", r)
		}
		if !r.Ripe.Equal(w.clock.now().Add(day)) {
			t.Errorf("ripe at %v; want a day from %v", r.Ripe, w.clock.now())
		}
		w.pass(23 * time.Hour)
		if r := w.collect(w.options()); r.Removed.Blobs != 0 {
			t.Errorf("an hour early: %+v", r)
		}
		w.pass(2 * time.Hour)
		r = w.collect(w.options())
		if r.Removed.Blobs != 2 || w.kernels("ab") != "a" || !w.has("{}") {
			t.Errorf("second run = %+v, kernels %s; want b's two removed", r, w.kernels("ab"))
		}
		if found, err := w.store.FindImages(t.Context(), b.Hex()); err != nil || len(found) != 0 {
			t.Errorf("record of b: %v, %v", found, err)
		}
		whole(t, w.store)
		for _, prefix := range []string{"gc/state", "gc/beats", "leases/"} {
			if got := w.keys(prefix); len(got) != 0 {
				t.Errorf("left: %q", got)
			}
		}
		if again := w.collect(w.options()); again.Removed.Blobs != 0 || again.Condemned.Blobs != 0 {
			t.Errorf("third run = %+v", again)
		}
		if got := w.keys("gc/"); len(got) != 0 {
			t.Errorf("left: %q", got)
		}
	})
}

// TestQuarantine: what was removed from a folder can be put back for a week.
func TestQuarantine(t *testing.T) {
	w := newWorld(t, "disk")
	w.promote("dev", w.publish("a"))
	w.publish("b")
	w.pass(15 * day)
	w.twice(w.options())
	aside := w.keys("quarantine/")
	if len(aside) != 2 || w.kernels("b") != "" {
		t.Fatalf("quarantine = %q; want b's two", aside)
	}
	w.pass(6 * day)
	w.collect(w.options())
	if got := w.keys("quarantine/"); len(got) != 2 {
		t.Errorf("after six days %q", got)
	}
	w.pass(2 * day)
	if r := w.collect(w.options()); r.Tidied.Quarantine != 2 || len(w.keys("quarantine/")) != 0 {
		t.Errorf("after eight days %+v, %q", r, w.keys("quarantine/"))
	}
}

// TestRoots: each kind of root keeps its image, and gives it up.
func TestRoots(t *testing.T) {
	id, err := board.ParseID("3d1d1c36")
	if err != nil {
		t.Fatal(err)
	}
	assign := func(t *testing.T, w *world, o board.Options) {
		o.Actor, o.Now = "ci", w.clock.now
		if _, err := board.Set(t.Context(), w.store, id, o); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name  string
		why   string
		keep  func(t *testing.T, w *world, d store.Digest)
		free  func(t *testing.T, w *world, d store.Digest)
		after time.Duration
	}{
		{"pin", "pin golden", func(t *testing.T, w *world, d store.Digest) {
			if err := w.store.Pin(t.Context(), store.Pin{Name: "golden", Image: d, Actor: "ci"}); err != nil {
				t.Fatal(err)
			}
		}, func(t *testing.T, w *world, d store.Digest) {
			if p, err := w.store.Unpin(t.Context(), "golden"); err != nil || p.Image != d {
				t.Fatal(p, err)
			}
		}, 0},
		{"board", "board 3d1d1c36", func(t *testing.T, w *world, d store.Digest) {
			assign(t, w, board.Options{Image: d})
		}, func(t *testing.T, w *world, _ store.Digest) {
			assign(t, w, board.Options{Env: "dev"})
			for n := range 10 {
				assign(t, w, board.Options{Image: w.publish(fmt.Sprint("other", n))})
			}
		}, 91 * day},
		{"front end", "in use by rack1", func(t *testing.T, w *world, d store.Digest) {
			if err := w.store.ReportInUse(t.Context(), store.InUse{Front: "rack1", Images: []store.Digest{d}}); err != nil {
				t.Fatal(err)
			}
		}, func(*testing.T, *world, store.Digest) {}, 31 * day},
		{"lease", "lease of ci, test", func(t *testing.T, w *world, d store.Digest) {
			l, err := w.store.HoldImage(t.Context(), store.LeaseOptions{Holder: "ci, test", Now: w.clock.now}, d)
			if err != nil {
				t.Fatal(err)
			}
			w.t.Cleanup(func() { l.Release(t.Context()) })
		}, func(*testing.T, *world, store.Digest) {}, 7 * time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "mem")
			w.promote("dev", w.publish("a"))
			b := w.publish("b")
			w.pass(15 * day)
			tt.keep(t, w, b)
			o := w.options()
			o.Grace = -1
			r := w.collect(o)
			if w.kernels("ab") != "ab" {
				t.Fatalf("it was collected")
			}
			at := slices.IndexFunc(r.Images, func(i gc.Image) bool { return i.Image == b })
			if at < 0 || !strings.Contains(text(r.Images[at].Why), tt.why) {
				t.Errorf("images = %+v; want b kept by %q", r.Images, tt.why)
			}
			tt.free(t, w, b)
			w.pass(tt.after)
			w.collect(o)
			if w.kernels("ab") != "a" {
				t.Errorf("kernels = %s; want a alone", w.kernels("ab"))
			}
			whole(t, w.store)
		})
	}
}

// TestHistoryIsRetained: the last ten images of an environment, and all of the last 90
// days; and three, whatever is asked.
func TestHistoryIsRetained(t *testing.T) {
	const letters = "abcdefghijklmnop" // 16
	tests := []struct {
		name string
		o    gc.Options
		step time.Duration // between promotions
		wait time.Duration
		want string
	}{
		{"all of 90 days", gc.Options{}, 5 * day, 0, letters},
		{"ten of long ago", gc.Options{}, 5 * day, 300 * day, letters[6:]},
		{"until it was replaced, not since", gc.Options{Images: 3}, 60 * day, 0, letters[13:]},
		{"fewer", gc.Options{Images: 5, History: -1}, day, 0, letters[11:]},
		{"never fewer than three", gc.Options{Images: 1, History: -1}, day, 0, letters[13:]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "mem")
			for n, l := range letters {
				if n > 0 {
					w.pass(tt.step)
				}
				w.promote("dev", w.publish(string(l)))
			}
			w.pass(tt.wait)
			tt.o.Delete, tt.o.Owner, tt.o.Now, tt.o.Published, tt.o.Grace = true, "ci", w.clock.now, -1, -1
			w.pass(time.Minute)
			w.collect(tt.o)
			if got := w.kernels(letters); got != tt.want {
				t.Errorf("kernels = %s; want %s", got, tt.want)
			}
			whole(t, w.store)
		})
	}
}

// TestHistoryCountsDifferentImages: going back and forth between two images does not push
// the others out.
func TestHistoryCountsDifferentImages(t *testing.T) {
	w := newWorld(t, "mem")
	img := map[string]store.Digest{}
	for _, l := range []string{"a", "b", "c", "d"} {
		img[l] = w.publish(l)
	}
	for _, l := range strings.Split("abc"+strings.Repeat("dc", 40), "") {
		w.promote("dev", img[l])
	}
	w.pass(200 * day)
	o := w.options()
	o.Images, o.Grace = 3, -1
	w.collect(o)
	if got := w.kernels("abcd"); got != "bcd" {
		t.Errorf("kernels = %s; want bcd", got)
	}
}

// TestUnlistedEntry: an entry that is written while a log is listed, and that the list does
// not show, is no gap, and keeps its image.
func TestUnlistedEntry(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, l := range "abc" {
			w.promote("dev", w.publish(string(l)))
		}
		w.pass(15 * day)
		w.bucket.hidden = "envs/dev/log/0000000002.json"
		o := w.options()
		o.Grace = -1
		w.collect(o)
		if got := w.kernels("abc"); got != "abc" {
			t.Errorf("kernels = %s; want all", got)
		}
	})
}

// TestReferrersLiveWithTheirSubject: what is said about an image stays as long as it does,
// and goes with it.
func TestReferrersLiveWithTheirSubject(t *testing.T) {
	w := newWorld(t, "mem")
	refer := func(d store.Digest, what string) store.Digest {
		subject, err := w.store.Blobs().Find(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := store.EncodeReferrer(store.Referrer{Subject: subject, Type: "application/vnd.test", Content: []store.Blob{w.put(what)}, Media: "text/plain"})
		if err != nil {
			t.Fatal(err)
		}
		r, err := w.store.PutReferrer(t.Context(), doc)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	a, b := w.publish("a"), w.publish("b")
	w.promote("dev", a)
	refer(refer(a, "about a"), "about what is about a")
	refer(b, "about b")
	w.pass(15 * day)
	w.twice(w.options())
	for what, want := range map[string]bool{"about a": true, "about what is about a": true, "about b": false, "kernel b": false} {
		if got := w.has(what); got != want {
			t.Errorf("%s is there: %v; want %v", what, got, want)
		}
	}
	if got := w.keys("referrers/" + b.Hex()); len(got) != 0 {
		t.Errorf("markers of b: %q", got)
	}
	if got := w.keys("referrers/" + a.Hex()); len(got) != 1 {
		t.Errorf("markers of a: %q", got)
	}
}

// TestRescue: what comes to be kept between the runs stays, and is condemned anew later.
func TestRescue(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.promote("dev", w.publish("a"))
		b := w.publish("b")
		w.pass(15 * day)
		w.collect(w.options())
		w.promote("prod", b)
		w.pass(25 * time.Hour)
		if r := w.collect(w.options()); r.Removed.Blobs != 0 || w.kernels("ab") != "ab" {
			t.Errorf("promoted meanwhile: %+v", r)
		}
		whole(t, w.store)
	})
}

// TestABlobThatCameBack: what was condemned, and written anew, is as good as new.
func TestABlobThatCameBack(t *testing.T) {
	w := newWorld(t, "mem")
	w.promote("dev", w.publish("a"))
	w.put("orphan")
	w.pass(2 * day)
	w.collect(w.options())
	w.pass(23 * time.Hour)
	if err := w.store.Bucket().Put(t.Context(), store.BlobKey(store.Sum([]byte("orphan"))), store.Bytes([]byte("orphan"))); err != nil {
		t.Fatal(err)
	}
	w.pass(2 * time.Hour)
	if w.collect(w.options()); !w.has("orphan") {
		t.Error("it was removed two hours after it was written")
	}
}

// TestTidy: finished steps whose outputs are gone, leases of the dead, what others left.
func TestTidy(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.promote("dev", w.publish("a"))
		kept, gone := store.Sum([]byte("kept")), store.Sum([]byte("gone"))
		for key, out := range map[store.Digest]store.Blob{kept: w.put("kernel a"), gone: w.put("orphan")} {
			step := store.Step{Key: key, Outputs: []store.File{store.NewFile("out", 0o644, out)}}
			if err := w.store.Steps().Put(t.Context(), "r", key.Hex(), step); err != nil {
				t.Fatal(err)
			}
		}
		branch := w.store.Steps().In("branch")
		if err := branch.Put(t.Context(), "r", "s", store.Step{Key: gone, Outputs: []store.File{store.NewFile("out", 0o644, w.put("orphan"))}}); err != nil {
			t.Fatal(err)
		}
		l := w.store.NewLease(store.LeaseOptions{Now: w.clock.now})
		if err := l.Hold(t.Context(), store.Bytes(nil).Blob()); err != nil {
			t.Fatal(err)
		}
		defer l.Release(t.Context())
		w.pass(2 * day)
		r := w.twice(w.options())
		if r.Tidied.Steps != 2 || r.Removed.Blobs != 1 {
			t.Errorf("report = %+v; want two steps and one blob gone", r)
		}
		if _, err := w.store.Steps().Get(t.Context(), kept); err != nil {
			t.Errorf("the step whose output is kept: %v", err)
		}
		if got := w.keys("cache/steps/"); len(got) != 1 {
			t.Errorf("steps: %q", got)
		}
		if got := w.keys("leases/"); len(got) != 0 {
			t.Errorf("leases: %q", got)
		}
	})
}

// TestAnotherCollectionWasFaster: what is gone when this one comes to delete it is no error.
func TestAnotherCollectionWasFaster(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.promote("dev", w.publish("a"))
		w.publish("b")
		w.pass(15 * day)
		w.collect(w.options())
		w.pass(25 * time.Hour)
		once := false
		w.bucket.intercept(func(op, key string) error {
			if op == "create" && key == "gc/state.json" && !once {
				once = true
				w.collect(w.options())
			}
			return nil
		})
		w.collect(w.options())
		w.bucket.intercept(nil)
		if got := w.keys("gc/"); !once || len(got) != 1 { // what is condemned
			t.Errorf("left: %q", got)
		}
		whole(t, w.store)
	})
}

// TestFaultRow20TwoCollections: the second one refuses, and so does whoever would break
// the sign of a live one; that of a dead one can be broken, and goes by itself in the end.
func TestFaultRow20TwoCollections(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.promote("dev", w.publish("a"))
		w.publish("b")
		w.pass(15 * day)
		w.collect(w.options())
		w.pass(25 * time.Hour)
		other := store.Sweep{Run: "r1", Owner: "bob@elsewhere", Time: w.clock.now()}
		dead := func() {
			if _, err := w.store.Beat(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			if err := w.store.BeginSweep(t.Context(), other); err != nil {
				t.Fatal(err)
			}
		}
		dead()
		for _, wait := range []time.Duration{0, 10 * time.Minute} {
			w.pass(wait)
			if _, err := gc.Run(t.Context(), w.store, w.options()); !errors.Is(err, store.ErrConflict) || !strings.Contains(err.Error(), "bob@elsewhere is deleting since") {
				t.Errorf("Run beside another = %v; want ErrConflict that names bob", err)
			}
			broken, err := gc.Break(t.Context(), w.store, w.options())
			if wait == 0 && (!errors.Is(err, store.ErrConflict) || !strings.Contains(err.Error(), "sign of life")) {
				t.Errorf("Break of a live one = %v; want ErrConflict", err)
			}
			if wait > 0 && (err != nil || broken.Owner != "bob@elsewhere") {
				t.Errorf("Break of a dead one = %+v, %v", broken, err)
			}
		}
		if _, err := gc.Break(t.Context(), w.store, w.options()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Break of none = %v; want fs.ErrNotExist", err)
		}
		dead()
		w.pass(2 * time.Hour)
		if r := w.collect(w.options()); r.Removed.Blobs != 2 {
			t.Errorf("two hours after the other died: %+v; want b removed", r)
		}
		if got := w.keys("gc/"); len(got) != 1 { // what is condemned
			t.Errorf("left: %q", got)
		}
		whole(t, w.store)
	})
}

// TestFaultRow21SuspendedPublisher: one that slept for longer than its lease lives finds
// out, says what is gone and leaves nothing that names it.
func TestFaultRow21SuspendedPublisher(t *testing.T) {
	// The publisher is suspended right before one of these operations.
	for _, at := range []string{"put blobs/", "create images/", "delete leases/"} {
		t.Run("publish, "+at, func(t *testing.T) {
			w := newWorld(t, "mem")
			w.promote("dev", w.publish("a"))
			i := w.image("old") // orphans
			w.pass(2 * day)
			w.collect(w.options())
			err := w.suspended(at, func() error {
				l := w.store.NewLease(store.LeaseOptions{Holder: "ci", Now: w.clock.now})
				defer l.Release(t.Context())
				_, err := l.PutImage(t.Context(), i, store.Record{Actor: "ci"})
				return err
			})
			if at == "delete leases/" {
				if err != nil || !w.has("kernel old") {
					t.Errorf("published before the sleep: %v; kernel there: %v", err, w.has("kernel old"))
				}
				return
			}
			if !errors.Is(err, fs.ErrNotExist) || w.has("kernel old") {
				t.Errorf("PutImage = %v, kernel there: %v; want what is gone", err, w.has("kernel old"))
			}
			if got := w.keys("images/"); len(got) != 1 {
				t.Errorf("records: %q; want that of a alone", got)
			}
			whole(t, w.store)
		})
	}
	t.Run("promote", func(t *testing.T) {
		w := newWorld(t, "mem")
		w.promote("dev", w.publish("a"))
		b := w.publish("b")
		w.pass(15 * day)
		w.collect(w.options())
		err := w.suspended("get blobs/", func() error {
			_, err := env.Promote(t.Context(), w.store, env.PromoteOptions{Env: "prod", Image: b, Actor: "ci", Now: w.clock.now})
			return err
		})
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Promote = %v; want what is gone", err)
		}
		if _, err := env.Head(t.Context(), w.store, "prod"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Head(prod) = %v; want none", err)
		}
		whole(t, w.store)
	})
}

// suspended runs do, which sleeps for two days right before its first operation of a kind,
// while others collect.
func (w *world) suspended(at string, do func() error) error {
	op, prefix, _ := strings.Cut(at, " ")
	slept := false // the collections' operations do not come here: they are within one
	w.bucket.intercept(func(gotOp, key string) error {
		if slept || gotOp != op || !strings.HasPrefix(key, prefix) {
			return nil
		}
		slept = true
		for range 2 {
			w.pass(25 * time.Hour)
			w.collect(w.options())
		}
		return nil
	})
	defer w.bucket.intercept(nil)
	err := do()
	if !slept {
		w.t.Errorf("no operation %s", at)
	}
	return err
}

// TestFaultRow22ClockSkew: a clock that is wrong keeps a collection from judging ages, in
// both directions, and nothing else.
func TestFaultRow22ClockSkew(t *testing.T) {
	for _, skew := range []time.Duration{time.Hour, -time.Hour, 365 * day, -365 * day, 6 * time.Minute, -6 * time.Minute} {
		w := newWorld(t, "mem")
		a, b := w.publish("a"), w.publish("b")
		w.promote("dev", a)
		wrong := func() time.Time { return w.clock.now().Add(skew) }
		o := w.options()
		o.Now = wrong
		if _, err := gc.Run(t.Context(), w.store, o); err == nil || !strings.Contains(err.Error(), "the clock of the store says") {
			t.Errorf("Run with a clock that is off by %v = %v; want it refused", skew, err)
		}
		if got := w.keys("gc/"); len(got) != 0 {
			t.Errorf("left: %q", got)
		}
		// Promote asks no clock.
		if _, err := env.Promote(t.Context(), w.store, env.PromoteOptions{Env: "dev", Image: b, Actor: "ci", Now: wrong}); err != nil {
			t.Errorf("Promote with a clock that is off by %v = %v", skew, err)
		}
		o.Delete = false
		if _, err := gc.Run(t.Context(), w.store, o); (err != nil) != (skew < 0) {
			t.Errorf("dry run with a clock that is off by %v = %v; want it refused where objects are of the future", skew, err)
		}
	}
	w := newWorld(t, "mem")
	w.promote("dev", w.publish("a"))
	o := w.options()
	o.Now = func() time.Time { return w.clock.now().Add(4 * time.Minute) }
	if _, err := gc.Run(t.Context(), w.store, o); err != nil {
		t.Errorf("Run with a clock that is off by four minutes = %v", err)
	}
}

// TestFaultRow23WhatCannotBeRead: whatever of the roots or manifests cannot be read or is
// not known ends the run before it deletes anything, and is named.
func TestFaultRow23WhatCannotBeRead(t *testing.T) {
	over := func(w *world, key, doc string) {
		w.t.Helper()
		if err := w.store.Bucket().Put(w.t.Context(), key, store.Bytes([]byte(doc))); err != nil {
			w.t.Fatal(err)
		}
	}
	tests := []struct {
		name   string
		damage func(w *world, a store.Digest)
		want   string // %s: a
	}{
		{"manifest is damaged", func(w *world, a store.Digest) { over(w, store.BlobKey(a), strings.Repeat("x", 600)) }, "head of dev keeps %s"},
		{"manifest is empty", func(w *world, a store.Digest) { over(w, store.BlobKey(a), "") }, "head of dev keeps %s"},
		{"manifest is gone", func(w *world, a store.Digest) { _ = w.store.Bucket().Delete(w.t.Context(), store.BlobKey(a)) }, "whose manifest is not in the store"},
		{"manifest of another kind", func(w *world, _ store.Digest) {
			doc := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
			over(w, "leases/x.json", `{"v":1,"ttl":3600,"images":["`+w.put(doc).Digest.String()+`"],"blobs":[]}`)
		}, "lease of"},
		{"a log entry that is no JSON", func(w *world, _ store.Digest) { over(w, "envs/dev/log/0000000001.json", "{") }, "envs/dev/log/0000000001.json"},
		{"a log entry of an action that is not known", func(w *world, _ store.Digest) {
			e, err := w.store.Log("envs/dev").At(w.t.Context(), 1)
			if err != nil {
				w.t.Fatal(err)
			}
			if _, err := w.store.Log("envs/dev").Append(w.t.Context(), w.store.Log("envs/dev").Next(e),
				[]byte(`{"seq":2,"prev":"`+e.Digest.String()+`","v":1,"env":"dev","action":"frobnicate","image":"`+e.Digest.String()+`"}`)); err != nil {
				w.t.Fatal(err)
			}
		}, "frobnicate"},
		{"a log with a gap", func(w *world, _ store.Digest) { over(w, "envs/dev/log/0000000003.json", "{}") }, "envs/dev/log/0000000003.json follows entry 1"},
		{"a board's log", func(w *world, _ store.Digest) { over(w, "boards/3d1d1c36/log/0000000001.json", "{}") }, "3d1d1c36"},
		{"a pin", func(w *world, _ store.Digest) { over(w, "pins/golden.json", "{}") }, "pins/golden.json"},
		{"a pin of what is gone", func(w *world, _ store.Digest) {
			over(w, "pins/golden.json", `{"name":"golden","image":"`+store.Sum([]byte("gone")).String()+`"}`)
		}, "pin golden keeps image"},
		{"a lease", func(w *world, _ store.Digest) { over(w, "leases/x.json", "") }, "leases/x.json"},
		{"a lease of a later version", func(w *world, _ store.Digest) { over(w, "leases/x.json", `{"v":2,"ttl":5,"everything":true}`) }, "leases/x.json"},
		{"a front end's report", func(w *world, _ store.Digest) { over(w, "inuse/rack1.json", "[]") }, "inuse/rack1.json"},
		{"a key of a kind that is not known", func(w *world, _ store.Digest) { over(w, "tags/latest", "x") }, "tags/latest"},
		{"a blob of another name", func(w *world, _ store.Digest) { over(w, "blobs/sha512/00", "x") }, "blobs/sha512/00"},
		{"a record of another name", func(w *world, _ store.Digest) { over(w, "images/latest.json", "x") }, "images/latest.json"},
		{"something beside a log", func(w *world, _ store.Digest) { over(w, "envs/dev/head.json", "x") }, "envs/dev/head.json"},
		{"a referrer", func(w *world, a store.Digest) {
			over(w, "referrers/"+a.Hex()+"/"+w.put("no manifest").Digest.Hex(), "")
		}, "document about %s"},
		{"a referrer that is gone", func(w *world, a store.Digest) {
			over(w, "referrers/"+a.Hex()+"/"+store.Sum([]byte("gone")).Hex(), "")
		}, "document about %s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "distant")
			a := w.publish("a")
			w.promote("dev", a)
			w.publish("b")
			w.put("orphan")
			w.pass(15 * day)
			w.collect(w.options())
			w.pass(25 * time.Hour)
			tt.damage(w, a)
			before := w.keys("")
			want := tt.want
			if strings.Contains(want, "%s") {
				want = fmt.Sprintf(want, a.Short())
			}
			for _, o := range []gc.Options{w.options(), {Now: w.clock.now}} {
				_, err := gc.Run(t.Context(), w.store, o)
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("Run = %v; want an error with %q", err, want)
				}
				if after := w.keys(""); !slices.Equal(before, after) {
					t.Errorf("there was\n%q, there is\n%q", before, after)
				}
			}
		})
	}
}

// TestFailedListsAndReads: a store that answers half the time loses nothing.
func TestFailedListsAndReads(t *testing.T) {
	trouble := errors.New("503")
	for nth := 0; ; nth++ {
		w := newWorld(t, "mem")
		w.promote("dev", w.publish("a"))
		w.publish("b")
		w.pass(15 * day)
		w.collect(w.options())
		w.pass(25 * time.Hour)
		var calls atomic.Int64
		w.bucket.intercept(func(_, _ string) error {
			if calls.Add(1) == int64(nth)+1 {
				return trouble
			}
			return nil
		})
		_, err := gc.Run(t.Context(), w.store, w.options())
		w.bucket.intercept(nil)
		if w.kernels("a") != "a" {
			t.Fatalf("call %d failed, and a was lost", nth)
		}
		whole(t, w.store)
		if calls.Load() <= int64(nth) {
			if err != nil || nth < 20 {
				t.Errorf("Run without trouble = %v, after %d calls", err, nth)
			}
			return
		}
	}
}

// TestFaultRow24MissingBlob: an image that has lost a blob is not promoted, and a
// collection takes nothing of what is left of it.
func TestFaultRow24MissingBlob(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.publish("a")
		w.promote("dev", a)
		w.pass(15 * day)
		if err := w.store.Bucket().Delete(t.Context(), store.BlobKey(store.Sum([]byte("kernel a")))); err != nil {
			t.Fatal(err)
		}
		if _, err := env.Promote(t.Context(), w.store, env.PromoteOptions{Env: "prod", Image: a, Actor: "ci"}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Promote = %v; want fs.ErrNotExist", err)
		}
		w.twice(w.options())
		if !w.has("{}") {
			t.Error("the config of the damaged head was collected")
		}
		if _, err := w.store.Image(t.Context(), a); err != nil {
			t.Errorf("the manifest of the damaged head: %v", err)
		}
	})
}

// TestFaultRow25DryRun: looking changes nothing, and tells what would go (I8).
func TestFaultRow25DryRun(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.publish("a"), w.publish("b")
		w.promote("dev", a)
		w.pass(15 * day)
		w.collect(w.options())
		w.pass(25 * time.Hour)
		w.bucket.writes = nil
		r := w.collect(gc.Options{Now: w.clock.now})
		if len(w.bucket.writes) != 0 {
			t.Errorf("a dry run wrote %q", w.bucket.writes)
		}
		if r.Goes.Blobs != 2 || r.Removed.Blobs != 0 || r.Kept.Blobs != 3 || r.Stored.Blobs != 5 {
			t.Errorf("report = %+v; want two of five blobs to go", r)
		}
		for _, i := range r.Images {
			switch {
			case i.Image == a && text(i.Why) == "[head of dev]" && i.Own > 0:
			case i.Image == b && len(i.Why) == 0 && i.Own > 0:
			default:
				t.Errorf("image %+v", i)
			}
		}
		if len(r.Images) != 2 {
			t.Errorf("images = %+v; want two", r.Images)
		}
	})
}

// TestNoEnvironments: a store whose environments were not found is not emptied.
func TestNoEnvironments(t *testing.T) {
	w := newWorld(t, "mem")
	w.publish("a")
	w.pass(15 * day)
	if _, err := gc.Run(t.Context(), w.store, w.options()); !errors.Is(err, gc.ErrNoEnvironments) {
		t.Errorf("Run = %v; want ErrNoEnvironments", err)
	}
	o := w.options()
	o.NoEnvironments = true
	if w.twice(o); w.has("kernel a") {
		t.Error("kernel a is there, although that no environment keeps it was said to be meant")
	}
}
