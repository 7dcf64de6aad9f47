package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"piimg/pipeline"
	"piimg/pipeline/lint"
	"piimg/pipeline/sources"
	"piimg/pipeline/stages"
	"piimg/recipes"
	"piimg/store"
)

// workbench is a recipe with all that it takes to build it.
type workbench struct {
	recipe   *recipes.Recipe
	boards   []recipes.Board
	lock     *recipes.Lock // nil where there is no lock file
	pipeline *pipeline.Pipeline
}

// buildOptions are the flags that commands which run the pipeline share.
type buildOptions struct {
	offline bool
	check   bool
	verbose bool
	jobs    int
	cache   string // what becomes of finished steps
	scope   string // trust scope

	bootKey, bootSign string // who signs boot.img
}

// loadRecipe reads a recipe and the boards that it is for. SOURCE_DATE_EPOCH, where set,
// is its epoch (https://reproducible-builds.org/specs/source-date-epoch/).
func (a *app) loadRecipe(file string) (*recipes.Recipe, []recipes.Board, error) {
	if base, ok := strings.CutSuffix(file, ".lock"); ok {
		return nil, nil, hint(usageError{fmt.Errorf("%s is a lock file, not a recipe", file)}, "its recipe is %s.toml", base)
	}
	o := recipes.LoadOptions{Rules: lint.IDs()}
	if text := a.getenv("SOURCE_DATE_EPOCH"); text != "" {
		epoch, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, nil, hint(fmt.Errorf("SOURCE_DATE_EPOCH is %q", text), "set it to a number of seconds since 1970, or unset it")
		}
		o.Epoch = &epoch
	}
	r, err := o.Load(file)
	if err != nil {
		return nil, nil, err
	}
	boards, err := boardsByName(r.Boards)
	return r, boards, err
}

// bench opens or makes the store, and sets up a recipe over it.
func (a *app) bench(ctx context.Context, file string, o buildOptions) (*store.Store, *workbench, error) {
	s, err := a.makeStore(ctx)
	if err != nil {
		return nil, nil, err
	}
	s, content, err := a.withCopies(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	w, err := a.workbench(s, file, o)
	if err != nil {
		return nil, nil, err
	}
	w.pipeline.Content = content
	return s, w, nil
}

// workbench loads a recipe and its lock file and sets up the pipeline over s, which may
// be nil where nothing is built.
func (a *app) workbench(s *store.Store, file string, o buildOptions) (*workbench, error) {
	r, boards, err := a.loadRecipe(file)
	if err != nil {
		return nil, err
	}
	cache, work, err := a.buildDirs()
	if err != nil {
		return nil, err
	}
	l, err := recipes.LoadLock(recipes.LockFile(file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	reuse, scope, err := a.reuse(o)
	if err != nil {
		return nil, err
	}
	sign, err := a.bootSigner(o)
	if err != nil {
		return nil, err
	}
	p := &pipeline.Pipeline{
		Store: s, Reuse: reuse, Scope: scope, Stages: stages.All(), Fetchers: sources.All(storeImages{a}),
		Cache: cache, Work: work,
		Jobs: o.jobs, Offline: o.offline, Check: o.check,
		Events: (&progress{ui: a.ui, now: a.now, verbose: o.verbose}).event,
		Sign:   sign,
	}
	return &workbench{r, boards, l, p}, nil
}

// buildDirs are the folders of what builds find again and of what they work in.
func (a *app) buildDirs() (cache, work string, err error) {
	dir, err := a.cacheDir()
	if err != nil {
		return "", "", err
	}
	return filepath.Join(dir, "sources"), filepath.Join(dir, "work"), nil
}

// plan plans the steps, if the lock file pins what the recipe says.
func (w *workbench) plan(ctx context.Context) (*pipeline.Plan, error) {
	if err := w.checkLock(); err != nil {
		return nil, err
	}
	return w.pipeline.Plan(ctx, w.recipe, w.boards, w.lock)
}

func (w *workbench) checkLock() error {
	file := recipes.LockFile(w.recipe.File)
	if w.lock == nil {
		if len(w.recipe.Sources) == 0 {
			w.lock = &recipes.Lock{}
			return nil
		}
		return hint(fmt.Errorf("%s: no such lock file: the sources of %s are not pinned", file, w.recipe.File), "pin them: piimg lock %s", w.recipe.File)
	}
	var reasons []string
	for _, s := range w.lock.Stale(w.recipe) {
		if s.Why != recipes.Superfluous { // a pin too many does no harm
			reasons = append(reasons, "source "+s.Source+" "+s.Text)
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	return hint(fmt.Errorf("%s: %s", file, strings.Join(reasons, "; ")), "pin what the recipe says now: piimg lock %s", w.recipe.File)
}
