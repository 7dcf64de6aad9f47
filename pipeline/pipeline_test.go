package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline"
	"piimg/recipes"
	"piimg/store"
	"piimg/store/mem"
)

// stage is a stage whose plan and run the test writes down.
type stage struct {
	name    string
	version int
	step    pipeline.Step
	run     func(ctx context.Context, job *pipeline.Job) error
	runs    atomic.Int32
}

func (s *stage) Name() string { return s.name }
func (s *stage) Version() int { return s.version }
func (s *stage) Plan(pipeline.Wish) (*pipeline.Step, error) {
	step := s.step
	if step.Params == nil {
		step.Params = map[string]string{}
	}
	return &step, nil
}

func (s *stage) Run(ctx context.Context, job *pipeline.Job) error {
	s.runs.Add(1)
	return s.run(ctx, job)
}

// writes is a run that writes one file.
func writes(path, text string) func(context.Context, *pipeline.Job) error {
	return func(ctx context.Context, job *pipeline.Job) error {
		return job.Write(ctx, path, func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		})
	}
}

// keeps is a run that takes over what stages have made.
func keeps(stages ...string) func(context.Context, *pipeline.Job) error {
	return func(_ context.Context, job *pipeline.Job) error {
		for _, name := range stages {
			for _, f := range job.Need(name) {
				job.Keep(f)
			}
		}
		return nil
	}
}

// world is a recipe, a store and stages.
type world struct {
	t      *testing.T
	dir    string
	recipe *recipes.Recipe
	lock   *recipes.Lock
	pipeline.Pipeline
}

func newWorld(t *testing.T, stages ...*stage) *world {
	t.Helper()
	s, err := store.Init(t.Context(), mem.New())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: t.TempDir(), lock: &recipes.Lock{Sources: map[string]recipes.Pin{}}}
	w.recipe = &recipes.Recipe{File: filepath.Join(w.dir, "r.toml"), Name: "r", Epoch: recipes.DefaultEpoch, Sources: map[string]recipes.Source{}}
	w.Store, w.Cache, w.Work, w.Jobs = s, t.TempDir(), t.TempDir(), 4
	for _, st := range stages {
		st.version = max(st.version, 1)
		w.Stages = append(w.Stages, st)
	}
	return w
}

func (w *world) file(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) run() (*pipeline.Result, error) {
	w.t.Helper()
	plan, err := w.Plan(w.t.Context(), w.recipe, nil, w.lock)
	if err != nil {
		return nil, err
	}
	return plan.Run(w.t.Context())
}

func (w *world) mustRun() *pipeline.Result {
	w.t.Helper()
	r, err := w.run()
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// why is what a plan says of each step.
func (w *world) why() map[string]string {
	w.t.Helper()
	plan, err := w.Plan(w.t.Context(), w.recipe, nil, w.lock)
	if err != nil {
		w.t.Fatal(err)
	}
	verdicts, err := plan.Explain(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[string]string{}
	for _, v := range verdicts {
		all[v.Step] = v.Why
	}
	return all
}

func TestUnchangedResultStopsTheRebuild(t *testing.T) {
	a := &stage{name: "a", run: writes("a", "same"), step: pipeline.Step{Params: map[string]string{"level": "1"}}}
	b := &stage{name: "b", run: keeps("a"), step: pipeline.Step{Needs: []string{"a"}}}
	w := newWorld(t, b, a) // the needed one comes last: the order is the pipeline's business
	if r := w.mustRun(); !slices.Equal(r.Ran, []string{"a", "b"}) || r.Wrote != 4 {
		t.Fatalf("first run: %+v", r)
	}
	if r := w.mustRun(); len(r.Ran) != 0 || r.Wrote != 0 {
		t.Errorf("second run: %+v", r)
	}
	a.step.Params = map[string]string{"level": "2"}
	want := map[string]string{"a": `setting level changed from "1" to "2"`, "b": "waits for a"}
	if d := cmp.Diff(want, w.why()); d != "" {
		t.Errorf("plan (-want +got):\n%s", d)
	}
	if r := w.mustRun(); !slices.Equal(r.Ran, []string{"a"}) {
		t.Errorf("a setting changed and the result did not: ran %v", r.Ran)
	}
}

func TestPlanSaysWhyAStepRuns(t *testing.T) {
	version := "1"
	s := &stage{name: "s", run: writes("s", "x"), step: pipeline.Step{
		Params: map[string]any{"list": []int{1}}, Sources: []string{"src"}, Locals: []string{"overlay"},
		Tools: []pipeline.Tool{{Name: "cc", Version: func(context.Context) (string, error) { return version, nil }}},
	}}
	w := newWorld(t, s)
	w.file("overlay/etc/motd", "hello")
	w.recipe.Sources["src"] = recipes.Source{Path: "src"}
	w.lock.Sources["src"] = recipes.Pin{Digest: store.Sum([]byte("1"))}
	if got := w.why()["s"]; got != "never built in this store" {
		t.Errorf("before the first run: %q", got)
	}
	w.mustRun()
	for _, tt := range []struct {
		change func()
		why    string
	}{
		{func() {}, "unchanged"},
		{func() { w.file("overlay/etc/motd", "bye") }, "file overlay changed"},
		{func() { w.lock.Sources["src"] = recipes.Pin{Digest: store.Sum([]byte("2"))} }, "source src changed"},
		{func() { version = "2" }, "tool cc changed from 1 to 2"},
		{func() { s.step.Params = map[string]any{"list": []int{1, 2}} }, "setting list changed from [1] to [1,2]"},
		{func() { s.step.Params = map[string]any{"other": 1} }, "setting other is new, setting list is gone"},
		{func() { s.version = 2 }, "version changed from 1 to 2"},
		{func() { w.recipe.Epoch++ }, "epoch changed from 315532800 to 315532801"},
	} {
		tt.change()
		if got := w.why()["s"]; got != tt.why {
			t.Errorf("plan says %q, want %q", got, tt.why)
		}
		w.mustRun()
		if got := w.why()["s"]; got != "unchanged" {
			t.Errorf("after a run the plan says %q", got)
		}
	}
}

func TestLostOutputIsBuiltAgain(t *testing.T) {
	s := &stage{name: "s", run: writes("s", "x")}
	w := newWorld(t, s)
	first := w.mustRun()
	key := store.BlobKey(first.Files[0].Digest)
	if err := w.Store.Bucket().Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if got := w.why()["s"]; got != "its result is no longer in the store" {
		t.Errorf("plan says %q", got)
	}
	if r := w.mustRun(); r.Wrote != 1 {
		t.Errorf("run wrote %d bytes, want the lost one", r.Wrote)
	}
}

func TestIndependentStepsRunAtTheSameTime(t *testing.T) {
	var both sync.WaitGroup
	both.Add(2)
	meet := func(ctx context.Context, job *pipeline.Job) error {
		both.Done()
		met := make(chan struct{})
		go func() { both.Wait(); close(met) }()
		select {
		case <-met:
			return nil
		case <-time.After(2 * time.Minute):
			return errors.New("the other step did not start")
		}
	}
	a, b := &stage{name: "a", run: meet}, &stage{name: "b", run: meet}
	end := &stage{name: "end", run: keeps("a", "b"), step: pipeline.Step{Needs: []string{"a", "b"}}}
	newWorld(t, a, b, end).mustRun()
}

func TestFirstErrorEndsTheRun(t *testing.T) {
	broken := errors.New("no space in the attic")
	waits := func(ctx context.Context, _ *pipeline.Job) error {
		<-ctx.Done()
		return ctx.Err()
	}
	a := &stage{name: "a", run: func(context.Context, *pipeline.Job) error { return broken }}
	b := &stage{name: "b", run: waits}
	_, err := newWorld(t, a, b).run()
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "stage a: ") {
		t.Errorf("run = %v, want that of stage a", err)
	}
}

func TestCancelledRunLeavesNothingBehind(t *testing.T) {
	s := &stage{name: "s", run: func(ctx context.Context, job *pipeline.Job) error {
		if _, err := job.Dir(); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	w := newWorld(t, s)
	plan, err := w.Plan(t.Context(), w.recipe, nil, w.lock)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := plan.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("run = %v", err)
	}
	if left, _ := os.ReadDir(w.Work); len(left) > 0 {
		t.Errorf("left in the work folder: %v", left)
	}
	if got := w.why()["s"]; got != "never built in this store" {
		t.Errorf("a cancelled step counts as built: %q", got)
	}
}

func TestCheckFindsWhatIsNotReproducible(t *testing.T) {
	n := 0
	s := &stage{name: "s", run: func(ctx context.Context, job *pipeline.Job) error {
		n++
		return writes("s", fmt.Sprint(n))(ctx, job)
	}}
	w := newWorld(t, s)
	w.Check = true
	if _, err := w.run(); err == nil || !strings.Contains(err.Error(), "the same inputs gave another s") {
		t.Errorf("run = %v", err)
	}
	s.run = writes("s", "same")
	w.mustRun()
	if r := w.mustRun(); !slices.Equal(r.Ran, []string{"s"}) {
		t.Errorf("a finished step was not checked: ran %v", r.Ran)
	}
}

func TestStageReadsOnlyWhatItDeclares(t *testing.T) {
	for name, read := range map[string]func(context.Context, *pipeline.Job) error{
		"source": func(ctx context.Context, job *pipeline.Job) error { _, err := job.Source(ctx, "src"); return err },
		"file":   func(_ context.Context, job *pipeline.Job) error { _, err := job.Local("overlay"); return err },
	} {
		w := newWorld(t, &stage{name: "s", run: read})
		w.file("overlay/f", "x")
		if _, err := w.run(); err == nil || !strings.Contains(err.Error(), "is not declared by the plan of s") {
			t.Errorf("%s: run = %v", name, err)
		}
	}
}

func TestOutputsThatCannotBe(t *testing.T) {
	for _, paths := range [][]string{{"../up"}, {"/abs"}, {"a b"}, {"a", "a"}, {"Config.txt", "config.txt"}} {
		s := &stage{name: "s", run: func(ctx context.Context, job *pipeline.Job) error {
			for _, p := range paths {
				if err := writes(p, "x")(ctx, job); err != nil {
					return err
				}
			}
			return nil
		}}
		if _, err := newWorld(t, s).run(); err == nil {
			t.Errorf("outputs %q were taken", paths)
		}
	}
}

func TestLocalFilesDoNotLeadOut(t *testing.T) {
	s := &stage{name: "s", run: func(_ context.Context, job *pipeline.Job) error {
		fsys, err := job.Local("overlay")
		if err != nil {
			return err
		}
		_, err = fs.ReadFile(fsys, "link")
		return err
	}, step: pipeline.Step{Locals: []string{"overlay"}}}
	w := newWorld(t, s)
	w.file("overlay/f", "x")
	if err := os.Symlink("/etc/passwd", filepath.Join(w.dir, "overlay/link")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.run(); err == nil || !strings.Contains(err.Error(), "escapes") {
		t.Errorf("run = %v", err)
	}
}

// fetcher gives a tree that the test changes.
type fetcher struct{ tree fstest.MapFS }

func (f *fetcher) Kind() string                { return "test" }
func (f *fetcher) Takes(s recipes.Source) bool { return s.Path != "" }
func (f *fetcher) Fetch(_ context.Context, s recipes.Source, _ *recipes.Pin, _ pipeline.FetchEnv) (pipeline.Fetched, error) {
	d, n, err := pipeline.TreeDigest(f.tree)
	return pipeline.Fetched{Pin: recipes.Pin{Kind: "dir", From: s.Text(), Digest: d, Size: n}, FS: f.tree}, err
}

func TestSourceThatDiffersFromTheLockIsRefusedByName(t *testing.T) {
	f := &fetcher{fstest.MapFS{"file": {Data: []byte("one")}}}
	s := &stage{name: "s", step: pipeline.Step{Sources: []string{"kernel"}}, run: func(ctx context.Context, job *pipeline.Job) error {
		fsys, err := job.Source(ctx, "kernel")
		if err != nil {
			return err
		}
		return job.Copy(ctx, fsys, "file", "file")
	}}
	w := newWorld(t, s)
	w.Fetchers = []pipeline.Fetcher{f}
	w.recipe.Sources["kernel"] = recipes.Source{Path: "x"}
	l, err := w.Lock(t.Context(), w.recipe, nil, []string{"kernel"})
	if err != nil {
		t.Fatal(err)
	}
	w.lock = l
	w.mustRun()
	f.tree["file"].Data = []byte("two")
	if r := w.mustRun(); len(r.Ran) > 0 {
		t.Errorf("a finished step fetched its source again: %v", r.Ran)
	}
	s.version++
	_, err = w.run()
	var drift *pipeline.DriftError
	if !errors.As(err, &drift) || drift.Name != "kernel" {
		t.Errorf("run = %v, want a DriftError of kernel", err)
	}
}

func TestTreeDigest(t *testing.T) {
	base := func() fstest.MapFS {
		return fstest.MapFS{"a/f": {Data: []byte("x"), Mode: 0o644}, "run": {Data: []byte("y"), Mode: 0o755}}
	}
	digest := func(f fs.FS) store.Digest {
		d, _, err := pipeline.TreeDigest(f)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	want := digest(base())
	// The form is part of every lock file: it may not change by accident.
	form := "dir \"a\"\nfile 0644 " + store.Sum([]byte("x")).Hex() + " \"a/f\"\nfile 0755 " + store.Sum([]byte("y")).Hex() + " \"run\"\n"
	if want != store.Sum([]byte(form)) {
		t.Errorf("digest is not that of\n%s", form)
	}
	same := base()
	same["a/f"].Mode, same["run"].Mode, same["run"].ModTime = 0o600, 0o700, time.Unix(1, 0)
	if digest(same) != want {
		t.Error("umask or time change the digest")
	}
	for name, change := range map[string]func(fstest.MapFS){
		"content": func(f fstest.MapFS) { f["a/f"].Data = []byte("z") },
		"mode":    func(f fstest.MapFS) { f["a/f"].Mode = 0o755 },
		"name":    func(f fstest.MapFS) { f["b/f"] = f["a/f"]; delete(f, "a/f") },
		"more":    func(f fstest.MapFS) { f["c"] = &fstest.MapFile{} },
		"folder":  func(f fstest.MapFS) { f["c"] = &fstest.MapFile{Mode: fs.ModeDir} },
	} {
		f := base()
		change(f)
		if digest(f) == want {
			t.Errorf("%s does not change the digest", name)
		}
	}
	if _, _, err := pipeline.TreeDigest(fstest.MapFS{"p": {Mode: fs.ModeNamedPipe}}); err == nil {
		t.Error("a pipe was hashed")
	}
}

func TestFSIsAFileSystem(t *testing.T) {
	w := newWorld(t)
	var files []store.File
	for path, text := range map[string]string{"config.txt": "x", "overlays/a.dtbo": "yy", "overlays/deep/er": ""} {
		c := store.Bytes([]byte(text))
		if _, err := w.Store.Blobs().Put(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		files = append(files, store.NewFile(path, 0o644, c.Blob()))
	}
	if err := fstest.TestFS(pipeline.FS(t.Context(), w.Store, files), "config.txt", "overlays/a.dtbo", "overlays/deep/er"); err != nil {
		t.Error(err)
	}
}

func TestExecEndsWhatItStarted(t *testing.T) {
	s := &stage{name: "s", run: func(ctx context.Context, job *pipeline.Job) error {
		return job.Exec(ctx, "/", []string{"PATH=/usr/bin:/bin"}, "sh", "-c", "sleep 60 & sleep 60")
	}}
	w := newWorld(t, s)
	plan, err := w.Plan(t.Context(), w.recipe, nil, w.lock)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := plan.Run(ctx); err == nil || time.Since(start) > 50*time.Second {
		t.Errorf("run = %v after %s", err, time.Since(start))
	}
}

func TestExecShowsTheLastWords(t *testing.T) {
	s := &stage{name: "s", run: func(ctx context.Context, job *pipeline.Job) error {
		return job.Exec(ctx, "/", []string{"PATH=/usr/bin:/bin"}, "sh", "-c", "seq 100; echo $HOME-; exit 3")
	}}
	_, err := newWorld(t, s).run()
	if err == nil || !strings.Contains(err.Error(), "sh: exit status 3") || !strings.Contains(err.Error(), "100\n  -") || strings.Contains(err.Error(), "  80\n") {
		t.Errorf("run = %v", err)
	}
}

func TestExecHasAUmaskOfItsOwn(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	s := &stage{name: "s", run: func(ctx context.Context, job *pipeline.Job) error {
		return job.Exec(ctx, "/", []string{"PATH=/usr/bin:/bin"}, "sh", "-c", "test $(umask) = 0022")
	}}
	if _, err := newWorld(t, s).run(); err != nil {
		t.Error(err)
	}
}

// What a step needs is part of its key by the bytes that were made, and by the facts.
func TestStepFollowsWhatItNeeds(t *testing.T) {
	text, fact := "one", "1"
	a := &stage{name: "a", run: func(ctx context.Context, job *pipeline.Job) error {
		job.Fact("release", fact)
		return writes("a", text)(ctx, job)
	}}
	b := &stage{name: "b", run: keeps("a"), step: pipeline.Step{Needs: []string{"a"}}}
	w := newWorld(t, a, b)
	w.mustRun()
	for _, change := range []func(){func() { text = "two" }, func() { fact = "2" }} {
		change()
		a.version++ // or a would not run again
		if r := w.mustRun(); !slices.Equal(r.Ran, []string{"a", "b"}) {
			t.Errorf("what b needs has changed, ran %v", r.Ran)
		}
		a.version++
		if r := w.mustRun(); !slices.Equal(r.Ran, []string{"a"}) {
			t.Errorf("what b needs is as it was, ran %v", r.Ran)
		}
	}
}

// A file that is edited while a step reads it must not be remembered as what it was.
func TestFileThatChangesDuringAStepIsNotRemembered(t *testing.T) {
	var w *world
	meddle := true
	s := &stage{name: "s", step: pipeline.Step{Locals: []string{"overlay"}}, run: func(ctx context.Context, job *pipeline.Job) error {
		if meddle {
			w.file("overlay/f", "changed")
		}
		fsys, err := job.Local("overlay")
		if err != nil {
			return err
		}
		return job.Copy(ctx, fsys, "f", "f")
	}}
	w = newWorld(t, s)
	w.file("overlay/f", "original")
	if _, err := w.run(); !errors.Is(err, pipeline.ErrChanged) {
		t.Errorf("run = %v, want ErrChanged", err)
	}
	meddle = false
	w.file("overlay/f", "original")
	r := w.mustRun()
	if got := r.Files[0].Digest; got != store.Sum([]byte("original")) || len(r.Ran) != 1 {
		t.Errorf("ran %v, the file has digest %s", r.Ran, got)
	}
}

func TestWhatKilledBuildsLeftIsRemoved(t *testing.T) {
	w := newWorld(t, &stage{name: "s", run: writes("s", "x")})
	old, young := filepath.Join(w.Work, "step-old"), filepath.Join(w.Work, "step-young")
	for _, dir := range []string{old, young} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	w.mustRun()
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old folder: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("the young folder: %v", err)
	}
}

// A program that leaves children behind, even ones that ignore SIGTERM, leaves none.
func TestExecLeavesNothingRunning(t *testing.T) {
	dir := t.TempDir()
	s := &stage{name: "s", run: func(ctx context.Context, job *pipeline.Job) error {
		return job.Exec(ctx, dir, []string{"PATH=/usr/bin:/bin"}, "sh", "-c", `sh -c 'trap "" TERM; echo $$ > pid; exec sleep 600' >/dev/null 2>&1 & while ! test -s pid; do sleep 0.01; done`)
	}}
	newWorld(t, s).mustRun()
	pid, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	for range 6000 {
		state, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		if err != nil || strings.Contains(string(state), ") Z ") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("process %s still runs", pid)
}

// Damage that keeps its size is found and mended by a check.
func TestCheckMendsDamagedContent(t *testing.T) {
	w := newWorld(t, &stage{name: "s", run: writes("s", "right")})
	f := w.mustRun().Files[0]
	if err := w.Store.Bucket().Delete(t.Context(), store.BlobKey(f.Digest)); err != nil {
		t.Fatal(err)
	}
	if err := w.Store.Bucket().Create(t.Context(), store.BlobKey(f.Digest), []byte("wrong")); err != nil {
		t.Fatal(err)
	}
	w.Check = true
	w.mustRun()
	r, err := w.Store.OpenFile(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != "right" {
		t.Errorf("read %q, %v", b, err)
	}
}
