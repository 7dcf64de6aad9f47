// Package stagetest is the contract of every stage, as tests, and a small world to run a
// stage in.
package stagetest

import (
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"testing"

	"piimg/pipeline"
	"piimg/pipeline/sources"
	"piimg/recipes"
	"piimg/store"
	"piimg/store/mem"
)

// World is a recipe with the files beside it.
type World struct {
	Recipe string            // text of recipe.toml
	Files  map[string]string // by slash-separated path; a path that ends in "*" is executable
}

// Plan holds the plan of stage for w against the contract, and returns it: a stage has
// the name of its folder; a plan depends on the wish alone, is the same every time, and
// looks at no file.
func Plan(t *testing.T, stage pipeline.Stage, w World) *pipeline.Step {
	t.Helper()
	if folder := path.Base(reflect.TypeOf(stage).PkgPath()); stage.Name() != folder {
		t.Errorf("stage %q is in folder %s", stage.Name(), folder)
	}
	if stage.Version() < 1 {
		t.Errorf("stage %s has version %d", stage.Name(), stage.Version())
	}
	r, boards := w.load(t)
	wish := pipeline.Wish{Recipe: r, Boards: boards}
	first := plan(t, stage, wish)
	if err := os.RemoveAll(filepath.Dir(r.File)); err != nil {
		t.Fatal(err)
	}
	if second := plan(t, stage, wish); !sameStep(t, first, second) {
		t.Errorf("stage %s: two plans of one wish differ: %+v, %+v", stage.Name(), first, second)
	}
	return first
}

func plan(t *testing.T, stage pipeline.Stage, w pipeline.Wish) *pipeline.Step {
	t.Helper()
	step, err := stage.Plan(w)
	if err != nil {
		t.Fatalf("plan %s: %v", stage.Name(), err)
	}
	return step
}

// sameStep compares what makes up a key.
func sameStep(t *testing.T, a, b *pipeline.Step) bool {
	t.Helper()
	if a == nil || b == nil {
		return a == b
	}
	pa, err := json.Marshal(a.Params)
	if err != nil {
		t.Fatal(err)
	}
	pb, err := json.Marshal(b.Params)
	if err != nil {
		t.Fatal(err)
	}
	return string(pa) == string(pb) && reflect.DeepEqual(a.Sources, b.Sources) &&
		reflect.DeepEqual(a.Locals, b.Locals) && reflect.DeepEqual(a.Needs, b.Needs)
}

// Run runs the stages for w, every one of them twice, and returns the files of the last:
// a stage gives the same bytes for the same inputs, and reads nothing that its plan does
// not declare.
func Run(t *testing.T, w World, stages ...pipeline.Stage) (fs.FS, []store.File) {
	t.Helper()
	files, s, err := w.run(t, stages)
	if err != nil {
		t.Fatal(err)
	}
	return pipeline.FS(t.Context(), s, files), files
}

// Fails runs the stages for w and returns the error that they have to end with.
func Fails(t *testing.T, w World, stages ...pipeline.Stage) error {
	t.Helper()
	_, _, err := w.run(t, stages)
	if err == nil {
		t.Fatal("the stages ended without an error")
	}
	return err
}

func (w World) run(t *testing.T, stages []pipeline.Stage) ([]store.File, *store.Store, error) {
	t.Helper()
	s, err := store.Init(t.Context(), mem.New())
	if err != nil {
		t.Fatal(err)
	}
	p := &pipeline.Pipeline{
		Store: s, Stages: stages, Fetchers: sources.All(nil), Cache: t.TempDir(), Work: t.TempDir(), Check: true,
	}
	r, boards := w.load(t)
	var names []string
	for name := range r.Sources {
		names = append(names, name)
	}
	l, err := p.Lock(t.Context(), r, nil, names)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := p.Plan(t.Context(), r, boards, l)
	if err != nil {
		return nil, nil, err
	}
	made, err := plan.Run(t.Context())
	if err != nil {
		return nil, nil, err
	}
	return made.Files, s, nil
}

// load writes the files and loads the recipe.
func (w World) load(t *testing.T) (*recipes.Recipe, []recipes.Board) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range w.Files {
		if n := len(name) - 1; name[n] == '*' {
			write(name[:n], text, 0o755)
		} else {
			write(name, text, 0o644)
		}
	}
	write("recipe.toml", w.Recipe, 0o644)
	r, err := recipes.Load(filepath.Join(dir, "recipe.toml"))
	if err != nil {
		t.Fatal(err)
	}
	var boards []recipes.Board
	for _, name := range r.Boards {
		b, err := recipes.BoardByName(name)
		if err != nil {
			t.Fatal(err)
		}
		boards = append(boards, b)
	}
	return r, boards
}

// Read is the content of a file of a result.
func Read(t *testing.T, fsys fs.FS, name string) string {
	t.Helper()
	f, err := fsys.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
