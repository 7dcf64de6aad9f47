package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"piimg/pipeline"
	"piimg/store"
)

// entries are the keys of what the store remembers of finished steps.
func (w *world) entries(prefix string) []string {
	w.t.Helper()
	var keys []string
	for info, err := range w.Store.Bucket().List(w.t.Context(), prefix, "") {
		if err != nil {
			w.t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

func (w *world) overwrite(key, text string) {
	w.t.Helper()
	if err := w.Store.Bucket().Put(w.t.Context(), key, store.Bytes([]byte(text))); err != nil {
		w.t.Fatal(err)
	}
}

// Row 26: a finished step whose output is gone is run again, and what needs it is not when it
// gives the same.
func TestFaultRow26EvictedOutput(t *testing.T) {
	a := &stage{name: "a", run: writes("a", "same")}
	b := &stage{name: "b", run: keeps("a"), step: pipeline.Step{Needs: []string{"a"}}}
	w := newWorld(t, a, b)
	first := w.mustRun()
	if err := w.Store.Bucket().Delete(t.Context(), store.BlobKey(first.Files[0].Digest)); err != nil {
		t.Fatal(err)
	}
	if got := w.why()["a"]; got != "its result is no longer in the store" {
		t.Errorf("plan says %q", got)
	}
	again := w.mustRun()
	if !slices.Equal(again.Ran, []string{"a"}) || !slices.Equal(again.Hits, []string{"b"}) {
		t.Errorf("ran %v, took %v", again.Ran, again.Hits)
	}
	if err := w.Store.Blobs().Verify(t.Context(), again.Files[0].Parts[0]); err != nil {
		t.Error(err)
	}
	if r := w.mustRun(); len(r.Ran) != 0 {
		t.Errorf("once more: ran %v", r.Ran)
	}
}

// Another machine, which shares nothing but the store, takes what the first one has finished.
func TestHitsAcrossMachines(t *testing.T) {
	stages := []*stage{{name: "a", run: writes("a", "x")}, {name: "b", run: keeps("a"), step: pipeline.Step{Needs: []string{"a"}}}}
	one, two := newWorld(t, stages...), newWorld(t, stages...)
	two.Store = one.Store
	one.mustRun()
	if r := two.mustRun(); len(r.Ran) != 0 || len(r.Hits) != 2 {
		t.Errorf("ran %v, took %v", r.Ran, r.Hits)
	}
}

// Whatever was done to what the store remembers, what is not whole is a miss, and what is
// whole and wrong is found by running the step again.
func TestPoisonedEntries(t *testing.T) {
	w := newWorld(t, &stage{name: "s", run: writes("kernel8.img", "right")})
	w.mustRun()
	entry := w.entries("cache/steps/")[0]
	for _, text := range []string{"", "{", "null", "[]", `{"key":"sha256:00"}`, strings.Repeat("x", 1000)} {
		w.overwrite(entry, text)
		if r := w.mustRun(); !slices.Equal(r.Ran, []string{"s"}) {
			t.Errorf("with the entry %.10q: ran %v", text, r.Ran)
		}
		if r := w.mustRun(); len(r.Ran) != 0 {
			t.Errorf("the entry was not mended: ran %v", r.Ran)
		}
	}

	key, err := store.ParseHex(strings.TrimSuffix(entry[strings.LastIndexByte(entry, '/')+1:], ".json"))
	if err != nil {
		t.Fatal(err)
	}
	step, err := w.Store.Steps().Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	wrong := store.Bytes([]byte("wrong"))
	if _, err := w.Store.Blobs().Put(t.Context(), wrong); err != nil {
		t.Fatal(err)
	}
	step.Outputs = []store.File{store.NewFile("kernel8.img", 0o644, wrong.Blob())}
	if err := w.Store.Steps().Put(t.Context(), "r", "s", step); err != nil {
		t.Fatal(err)
	}
	w.Reuse = pipeline.ReuseVerify
	var differ *pipeline.DifferError
	if _, err := w.run(); !errors.As(err, &differ) || differ.Step != "s" || !strings.Contains(err.Error(), "kernel8.img") {
		t.Errorf("verify = %v; want the step and the file", err)
	}
	w.Reuse = pipeline.ReuseNothing
	right := store.Sum([]byte("right"))
	if r := w.mustRun(); r.Files[0].Digest != right {
		t.Errorf("without the cache: %v", r.Files)
	}
	w.Reuse = pipeline.ReuseFinished
	if r := w.mustRun(); r.Files[0].Digest != wrong.Digest {
		t.Error("a run that is to remember nothing has changed what is remembered")
	}
	w.Reuse = pipeline.ReuseRenew
	w.mustRun()
	w.Reuse = pipeline.ReuseVerify
	if r := w.mustRun(); r.Files[0].Digest != right || len(r.Ran) != 1 {
		t.Errorf("after it was renewed: %+v", r)
	}
}

// A build of an untrusted branch takes what trusted builds have finished, and nothing that it
// says reaches them or another scope.
func TestScopes(t *testing.T) {
	by, runs := "trusted", []string{}
	s := &stage{name: "s", step: pipeline.Step{Params: map[string]int{"n": 1}}}
	s.run = func(ctx context.Context, job *pipeline.Job) error {
		runs = append(runs, by)
		return writes("s", "by "+by)(ctx, job)
	}
	w := newWorld(t, s)
	result := func(scope string) string {
		t.Helper()
		by, w.Scope = scope, scope
		if scope == "" {
			by = "trusted"
		}
		r := w.mustRun()
		text, err := w.Store.Blobs().Read(t.Context(), r.Files[0].Parts[0], 100)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if got := result("pr-1") + result("pr-2") + result("pr-1"); got != "by pr-1by pr-2by pr-1" || len(runs) != 2 {
		t.Errorf("two scopes: %s, ran %v", got, runs)
	}
	if keys := w.entries("cache/"); slices.ContainsFunc(keys, func(key string) bool { return !strings.HasPrefix(key, "cache/scopes/pr-") }) {
		t.Errorf("a build in a scope wrote %v", keys)
	}
	if got := result(""); got != "by trusted" {
		t.Errorf("a trusted build took what was made %s", got)
	}
	s.step.Params = map[string]int{"n": 2} // a step that no scope knows yet
	if got := result("") + result("pr-3"); got != "by trustedby trusted" {
		t.Errorf("after a trusted build: %s", got)
	}
	s.step.Params = map[string]int{"n": 3}
	if got := w.why()["s"]; got != "setting n changed from 2 to 3" {
		t.Errorf("plan says %q", got)
	}
	if n := len(w.entries("cache/scopes/pr-3/")); n != 0 {
		t.Errorf("a hit was written down %d times", n)
	}
	for _, name := range []string{"..", "a/b", "A", "-", strings.Repeat("a", 64)} {
		if store.CheckScope(name) == nil {
			t.Errorf("scope %q is taken", name)
		}
	}
}
