package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"piimg/recipes"
	"piimg/store"
)

// Pipeline is a set of stages and where they work. Fill it in and leave it alone then;
// its methods may be called concurrently.
type Pipeline struct {
	Store    *store.Store
	Content  *store.Store // where content of Store is read; nil: in Store
	Stages   []Stage
	Fetchers []Fetcher
	Cache    string       // folder for downloads, kept
	Work     string       // folder for temporary files; they are removed
	Scope    string       // trust scope, "" for the trusted one: see Reuse
	Reuse    Reuse        // of finished steps
	Jobs     int          // steps that run at once; 0: as many as there are processors
	Offline  bool         // use no network
	Check    bool         // run every step even if it is finished, and compare
	Lease    *store.Lease // what Run relies on is held by it; nil where nothing is collected
	Events   func(Event)  // called one at a time; may be nil

	// Sign signs the file of that name with RSA, PKCS#1 v1.5 and SHA-256. It is nil where
	// nobody can.
	Sign func(ctx context.Context, file string) ([]byte, error)

	mu sync.Mutex // for Events
}

func (p *Pipeline) emit(e Event) {
	if p.Events == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Events(e)
}

// Read is where content of the store is read.
func (p *Pipeline) Read() *store.Store {
	if p.Content != nil {
		return p.Content
	}
	return p.Store
}

func (p *Pipeline) steps(scope string) store.Steps { return p.Store.Steps().Under(p.Lease).In(scope) }

// Plan is what a recipe needs to be done.
type Plan struct {
	pipeline *Pipeline
	wish     Wish
	lock     *recipes.Lock
	nodes    []*node // in an order in which needs come first
}

// Plan orders the steps of r. It reads the files beside the recipe and asks for versions
// of tools, and runs nothing else. boards are those of the recipe; l has to pin every
// source.
func (p *Pipeline) Plan(ctx context.Context, r *recipes.Recipe, boards []recipes.Board, l *recipes.Lock) (*Plan, error) {
	w := Wish{Recipe: r, Boards: boards, Digest: r.Digest(l)}
	byName := map[string]*node{}
	var nodes []*node
	for _, s := range p.Stages {
		step, err := s.Plan(w)
		if err != nil {
			return nil, fmt.Errorf("plan %s: %w", s.Name(), err)
		}
		if step == nil {
			continue
		}
		p.fromStages(w.Recipe, step)
		n, err := p.newNode(ctx, w, l, s, step)
		if err != nil {
			return nil, fmt.Errorf("plan %s: %w", s.Name(), err)
		}
		byName[s.Name()] = n
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		for _, need := range n.step.Needs {
			if other := byName[need]; other != nil {
				n.needs = append(n.needs, other)
			}
		}
	}
	ordered, err := order(nodes)
	return &Plan{p, w, l, ordered}, err
}

// fromStages makes needs of the sources of a step that the recipe does not declare and
// that are called as a stage: what that stage makes is read as a source is.
func (p *Pipeline) fromStages(r *recipes.Recipe, step *Step) {
	step.Sources = slices.DeleteFunc(step.Sources, func(name string) bool {
		_, declared := r.Sources[name]
		made := !declared && slices.ContainsFunc(p.Stages, func(s Stage) bool { return s.Name() == name })
		if made {
			step.Needs = appendNew(slices.Clone(step.Needs), name)
		}
		return made
	})
}

// order sorts nodes so that needs come first, and by the given order otherwise.
func order(nodes []*node) ([]*node, error) {
	var sorted []*node
	state := map[*node]int{} // 1: being visited, 2: placed
	var visit func(n *node, path []string) error
	visit = func(n *node, path []string) error {
		path = append(path, n.name())
		switch state[n] {
		case 1:
			return fmt.Errorf("stages need each other: %s", strings.Join(path, " → "))
		case 2:
			return nil
		}
		state[n] = 1
		for _, need := range n.needs {
			if err := visit(need, slices.Clone(path)); err != nil {
				return err
			}
		}
		state[n] = 2
		sorted = append(sorted, n)
		return nil
	}
	for _, n := range nodes {
		if err := visit(n, nil); err != nil {
			return nil, err
		}
	}
	return sorted, nil
}

// Verdict is what would become of one step.
type Verdict struct {
	Step string       `json:"step"`
	Hit  bool         `json:"hit"`
	Why  string       `json:"why"`
	Key  store.Digest `json:"key,omitzero"` // zero where it depends on what has yet to run
}

// Explain says of every step whether it is finished, and if not, why not.
func (pl *Plan) Explain(ctx context.Context) ([]Verdict, error) {
	made := map[*node]store.Step{}
	var all []Verdict
	for _, n := range pl.nodes {
		v := Verdict{Step: n.name()}
		if open := unfinished(n, made); open != "" {
			v.Why = "waits for " + open
			all = append(all, v)
			continue
		}
		step, err := pl.lookup(ctx, n, made)
		if err != nil {
			return nil, err
		}
		v.Key, v.Hit, v.Why = step.Key, step.hit, step.why
		if step.hit {
			made[n] = step.Step
		}
		all = append(all, v)
	}
	return all, nil
}

// unfinished names the needs of n that are not made.
func unfinished(n *node, made map[*node]store.Step) string {
	var open []string
	for _, need := range n.needs {
		if _, ok := made[need]; !ok {
			open = append(open, need.name())
		}
	}
	return strings.Join(open, ", ")
}

// found is a step as the store knows it: finished, or else with only its key and inputs.
type found struct {
	store.Step
	hit bool
	why string
}
