package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"piimg/recipes"
	"piimg/store"
)

// keySchema is part of every key. Raise it when the way keys are made changes.
const keySchema = "2"

// scopeInput is the name of the input that is the trust scope.
const scopeInput = "scope"

// node is a step in its place: what its key depends on, as far as the recipe, the lock
// file and the machine decide it. What its needs made is added by inputs.
type node struct {
	stage  Stage
	step   *Step
	params []byte // of step, canonical JSON
	needs  []*node
	fixed  []store.Input
}

func (n *node) name() string { return n.stage.Name() }

// newNode computes the inputs of a step that are known before anything runs.
func (p *Pipeline) newNode(ctx context.Context, w Wish, l *recipes.Lock, s Stage, step *Step) (*node, error) {
	n := &node{stage: s, step: step}
	n.add("schema", keySchema)
	n.add("stage", s.Name())
	n.add("version", strconv.Itoa(s.Version()))
	n.add("epoch", strconv.FormatInt(w.Recipe.Epoch, 10))
	n.add(scopeInput, p.Scope)
	if err := n.addParams(); err != nil {
		return nil, err
	}
	for _, name := range step.Sources {
		pin, ok := l.Sources[name]
		if !ok {
			return nil, fmt.Errorf("source %s is not pinned", name)
		}
		n.add("source "+name, pin.Digest.String())
	}
	for _, rel := range step.Locals {
		d, err := hashLocal(w.Recipe.Path("."), rel)
		if err != nil {
			return nil, err
		}
		n.add("file "+rel, d)
	}
	for _, t := range step.Tools {
		v, err := t.Version(ctx)
		if err != nil {
			return nil, fmt.Errorf("version of %s: %w", t.Name, err)
		}
		n.add("tool "+t.Name, v)
	}
	return n, nil
}

func (n *node) add(name, value string) {
	n.fixed = append(n.fixed, store.Input{Name: name, Value: value})
}

// value is the fixed input called name.
func (n *node) value(name string) string {
	for _, in := range n.fixed {
		if in.Name == name {
			return in.Value
		}
	}
	return ""
}

// addParams adds each member of the parameters by itself, so that a miss can be explained.
func (n *node) addParams() error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(n.step.Params); err != nil {
		return fmt.Errorf("parameters: %w", err)
	}
	n.params = bytes.TrimSpace(b.Bytes())
	var members map[string]json.RawMessage
	if err := json.Unmarshal(n.params, &members); err != nil {
		return fmt.Errorf("parameters have to be a JSON object: %w", err)
	}
	for name, value := range members {
		n.add("setting "+name, string(value))
	}
	slices.SortFunc(n.fixed, func(a, b store.Input) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// inputs are all inputs of n, given what the steps that it needs have made.
func (n *node) inputs(made map[*node]store.Step) []store.Input {
	all := slices.Clone(n.fixed)
	for _, need := range n.needs {
		for _, f := range made[need].Outputs {
			all = append(all, store.Input{
				Name:  need.name() + " " + f.Path,
				Value: fmt.Sprintf("%04o %s", f.Mode, f.Digest),
			})
		}
		for _, fact := range made[need].Facts {
			all = append(all, store.Input{Name: need.name() + " fact", Value: fact})
		}
	}
	slices.SortFunc(all, func(a, b store.Input) int {
		return strings.Compare(a.Name+"\x00"+a.Value, b.Name+"\x00"+b.Value)
	})
	return all
}

// keyOf is the key of a step with these inputs.
func keyOf(inputs []store.Input) (store.Digest, error) {
	doc, err := json.Marshal(inputs)
	return store.Sum(doc), err
}

// difference says in words how inputs differ from those that a step had last.
func difference(last, now []store.Input) string {
	old := map[string]string{}
	for _, in := range last {
		old[in.Name] = in.Value
	}
	var changes []string
	for _, in := range now {
		was, ok := old[in.Name]
		switch {
		case !ok:
			changes = append(changes, in.Name+" is new")
		case was != in.Value:
			changes = append(changes, in.Name+" changed"+fromTo(was, in.Value))
		}
		delete(old, in.Name)
	}
	for _, in := range last {
		if _, left := old[in.Name]; left {
			changes = append(changes, in.Name+" is gone")
			delete(old, in.Name)
		}
	}
	const most = 3
	if more := len(changes) - most; more > 0 {
		changes = append(changes[:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(changes, ", ")
}

// fromTo shows short values, such as versions.
func fromTo(was, is string) string {
	if len(was) > 60 || len(is) > 60 || strings.HasPrefix(is, "sha256:") {
		return ""
	}
	return " from " + was + " to " + is
}
