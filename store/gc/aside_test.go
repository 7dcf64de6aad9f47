package gc_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"piimg/store"
	"piimg/store/gc"
)

// damage has a repair find that the content of text has other bytes, and moves it out of the way.
func (w *world) damage(text string) (aside string) {
	w.t.Helper()
	bytes := []byte(strings.ToUpper(text))
	aside = store.DamagedKey(store.BlobKey(store.Sum([]byte(text))), store.Sum(bytes))
	w.write(aside, bytes)
	return aside
}

func (w *world) write(key string, doc []byte) {
	w.t.Helper()
	if err := w.store.Bucket().Put(w.t.Context(), key, store.Bytes(doc)); err != nil {
		w.t.Fatal(err)
	}
}

// TestWhatRepairsSetAsideGoes: after a week, as what collections set aside does, and said before.
// What nobody has set aside stays.
func TestWhatRepairsSetAsideGoes(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.promote("dev", w.publish("a"))
		kernel := w.damage("kernel a")
		entry := store.DamagedKey("envs/dev/log/0000000002.json", store.Sum(nil))
		w.write(entry, []byte("{"))
		const notes = "quarantine/blobs/readme.txt"
		w.write(notes, []byte("do not touch"))
		began := w.clock.now()
		looked, err := gc.Run(t.Context(), w.store, gc.Options{Now: w.clock.now})
		want := []gc.SetAside{
			{Key: kernel, Of: store.BlobKey(store.Sum([]byte("kernel a"))), Damaged: true, Bytes: 8, Since: began, Goes: began.Add(7 * day)},
			{Key: entry, Of: "envs/dev/log/0000000002.json", Damaged: true, Bytes: 1, Since: began, Goes: began.Add(7 * day)},
		}
		if err != nil || !slices.Equal(looked.SetAside, want) {
			t.Errorf("set aside: %+v, %v; want %+v", looked.SetAside, err, want)
		}
		w.pass(6 * day)
		if r := w.collect(w.options()); r.Tidied.Quarantine != 0 || len(w.keys("quarantine/")) != 3 {
			t.Errorf("after six days %+v, %q", r.Tidied, w.keys("quarantine/"))
		}
		w.pass(2 * day)
		if r := w.collect(w.options()); r.Tidied.Quarantine != 2 || !r.SetAside[0].Removed || !r.SetAside[1].Removed || text(w.keys("quarantine/")) != "["+notes+"]" {
			t.Errorf("after eight days %+v, %q", r.Tidied, w.keys("quarantine/"))
		}
		whole(t, w.store)
	})
}

// TestSetAsideAndNeeded: what somebody needs and has nowhere else stays until it is back.
func TestSetAsideAndNeeded(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.promote("dev", w.publish("a"))
		w.damage("kernel a")
		key := store.BlobKey(store.Sum([]byte("kernel a")))
		if err := w.store.Bucket().Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		w.pass(30 * day)
		r := w.collect(w.options())
		if len(r.SetAside) != 1 || !r.SetAside[0].Goes.IsZero() || r.SetAside[0].Due(w.clock.now()) || r.Tidied.Quarantine != 0 {
			t.Errorf("needed: %+v", r)
		}
		w.put("kernel a")
		if r := w.collect(w.options()); r.Tidied.Quarantine != 1 || len(w.keys("quarantine/")) != 0 {
			t.Errorf("back: %+v, %q", r, w.keys("quarantine/"))
		}
	})
}

// TestSetAsideOnceMore: what goes into quarantine a second time stays for a week from then on,
// also where the run that puts it there has seen the first one.
func TestSetAsideOnceMore(t *testing.T) {
	w := newWorld(t, "disk")
	w.promote("dev", w.publish("a"))
	now := gc.Options{Delete: true, Owner: "alice@test", Now: w.clock.now, Grace: -1, Published: -1}
	w.publish("b")
	w.collect(now)
	w.pass(8 * day)
	w.publish("b")
	if r := w.collect(now); r.Removed.Blobs != 2 || r.Tidied.Quarantine != 0 || r.SetAside[0].Removed || !r.SetAside[0].Goes.After(w.clock.now()) || len(w.keys("quarantine/")) != 2 {
		t.Errorf("set aside once more: %+v, %q", r, w.keys("quarantine/"))
	}
	w.pass(8 * day)
	if r := w.collect(now); r.Tidied.Quarantine != 2 {
		t.Errorf("a week later: %+v", r.Tidied)
	}
}

// TestQuarantineThatFails: a deletion that fails ends the run, and the next one goes on.
func TestQuarantineThatFails(t *testing.T) {
	w := newWorld(t, "mem")
	w.promote("dev", w.publish("a"))
	for _, letter := range "ab" {
		w.damage("kernel " + string(letter))
	}
	w.pass(8 * day)
	left := 1
	w.bucket.intercept(func(op, key string) error {
		if op == "delete" && strings.HasPrefix(key, "quarantine/") {
			if left--; left < 0 {
				return fs.ErrPermission
			}
		}
		return nil
	})
	if r, err := gc.Run(t.Context(), w.store, w.options()); !errors.Is(err, fs.ErrPermission) || r.Tidied.Quarantine != 1 {
		t.Errorf("Run = %+v, %v", r.Tidied, err)
	}
	w.bucket.intercept(nil)
	if r := w.collect(w.options()); r.Tidied.Quarantine != 1 || len(w.keys("quarantine/")) != 0 {
		t.Errorf("the next run: %+v", r.Tidied)
	}
}

// TestSetAsideAndDamagedInPlace: that something lies in its place is not enough where somebody needs
// it: one flipped bit there, or a read that fails, and what is set aside is all that is right. It is
// removed when what is in its place is right again.
func TestSetAsideAndDamagedInPlace(t *testing.T) {
	kernel := []byte("kernel a")
	key := store.BlobKey(store.Sum(kernel))
	for name, damage := range map[string]func(w *world){
		"a flipped bit": func(w *world) { w.write(key, []byte("kernel`a")) },
		"cut off":       func(w *world) { w.write(key, kernel[:3]) },
		"unreadable": func(w *world) {
			w.bucket.intercept(func(op, at string) error {
				if op == "get" && at == key {
					return &fs.PathError{Op: "read", Path: key, Err: syscall.EIO}
				}
				return nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				w.promote("dev", w.publish("a"))
				w.write(store.CollectedKey(key), kernel)
				w.damage("kernel b") // of what nobody needs
				damage(w)
				w.pass(30 * day)
				r := w.collect(w.options())
				if got := text(w.keys("quarantine/")); got != text([]string{store.CollectedKey(key)}) || r.Tidied.Quarantine != 1 {
					t.Errorf("left in quarantine: %s, %+v", got, r.Tidied)
				}
				for _, a := range r.SetAside {
					if needed := a.Of == key; a.Spoilt != needed || a.Removed == needed || a.Goes.IsZero() != needed {
						t.Errorf("%+v", a)
					}
				}
				w.bucket.intercept(nil)
				w.write(key, kernel)
				if r := w.collect(w.options()); r.Tidied.Quarantine != 1 || r.SetAside[0].Spoilt || len(w.keys("quarantine/")) != 0 {
					t.Errorf("right again: %+v", r)
				}
			})
		})
	}
}

// TestSetAsideWithoutEnvironments: where environments are kept elsewhere, nobody knows what they need.
func TestSetAsideWithoutEnvironments(t *testing.T) {
	w := newWorld(t, "mem")
	w.damage("kernel a")
	w.collect(w.options())
	w.pass(8 * day)
	if r, err := gc.Run(t.Context(), w.store, w.options()); !errors.Is(err, gc.ErrNoEnvironments) || !r.Bare || len(w.keys("quarantine/")) != 1 {
		t.Errorf("Run = %+v, %v", r, err)
	}
	o := w.options()
	o.NoEnvironments = true
	if r := w.collect(o); r.Tidied.Quarantine != 1 {
		t.Errorf("where that is meant: %+v", r)
	}
}

// TestSetAsideInterrupted: who interrupts is told so, also while what is in its place is read.
func TestSetAsideInterrupted(t *testing.T) {
	w := newWorld(t, "mem")
	w.promote("dev", w.publish("a"))
	w.damage("kernel a")
	w.pass(8 * day)
	ctx, cancel := context.WithCancel(t.Context())
	w.bucket.intercept(func(op, key string) error {
		if op == "get" && key == store.BlobKey(store.Sum([]byte("kernel a"))) {
			cancel()
		}
		return ctx.Err()
	})
	if _, err := gc.Run(ctx, w.store, w.options()); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
	w.bucket.intercept(nil)
	if got := w.keys("quarantine/"); len(got) != 1 {
		t.Errorf("in quarantine: %q", got)
	}
}
