package store

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Steps remembers finished build steps: what a step's key gave. It is a cache and
// nothing more. Losing an entry costs a build, so entries are never roots of a
// collection, and whatever is wrong with one makes it a miss.
type Steps struct {
	bucket Bucket
	scope  string
	lease  *Lease
}

// Under is s for a build that holds what it relies on by l: outputs are held before they
// are looked for.
func (s Steps) Under(l *Lease) Steps { return Steps{s.bucket, s.scope, l} }

// In is s for the builds of one trust scope, "" for those that are trusted.
func (s Steps) In(scope string) Steps { return Steps{s.bucket, scope, s.lease} }

// CheckScope says what is wrong with the name of a trust scope.
func CheckScope(name string) error {
	if name != "" && !nameForm.MatchString(name) {
		return fmt.Errorf("trust scope %q: use 1 to 63 of a-z 0-9 . _ -, the first a letter or digit", name)
	}
	return nil
}

// cacheFolder is where a scope keeps what it remembers. Trusted builds have the first place,
// so that a rule of a server can keep all others from writing there.
func cacheFolder(scope string) string {
	if scope == "" {
		return "cache/"
	}
	return "cache/scopes/" + scope + "/"
}

// Step is a finished build step.
type Step struct {
	Key     Digest   `json:"key"`
	Inputs  []Input  `json:"inputs"` // what Key was computed from, for people
	Outputs []File   `json:"outputs"`
	Facts   []string `json:"facts,omitempty"` // what the step found out, such as "kernel.release=6.12.47"

	// Origins say where outputs come from, by path; "PATH!NAME" is the entry NAME of an
	// archive at PATH.
	Origins map[string]Origin `json:"origins,omitempty"`
}

// Origin is where a file of an image comes from.
type Origin struct {
	Stage string `json:"stage"`
	Key   string `json:"key,omitempty"`  // of the recipe, such as "kernel.file"
	From  string `json:"from,omitempty"` // "source:path", or a path beside the recipe
}

// Input is one of the things that a step's key depends on.
type Input struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

const maxStepLen = 16 << 20

func (s Steps) key(key Digest) string {
	return cacheFolder(s.scope) + "steps/" + key.Hex()[:2] + "/" + key.Hex() + ".json"
}

// last is the key of the latest step of one name of one recipe, only to explain a miss.
func (s Steps) last(recipe, step string) string {
	return cacheFolder(s.scope) + "last/" + Sum([]byte(recipe+"\x00"+step)).Hex() + ".json"
}

// Get is the finished step named key whose outputs are all in the store; else the error
// wraps io/fs.ErrNotExist, whatever the reason, unless ctx has ended.
func (s Steps) Get(ctx context.Context, key Digest) (Step, error) {
	step, err := s.read(ctx, s.key(key))
	if err == nil && step.Key != key {
		err = fmt.Errorf("cache entry %s is of step %s", key.Short(), step.Key.Short())
	}
	if err == nil {
		err = s.complete(ctx, step)
	}
	if ctx.Err() != nil {
		return Step{}, ctx.Err()
	}
	if err != nil {
		return Step{}, fmt.Errorf("step %s: %w (%w)", key.Short(), fs.ErrNotExist, err)
	}
	return step, nil
}

// complete says what is wrong with the outputs of step, or which of them is gone.
func (s Steps) complete(ctx context.Context, step Step) error {
	if err := checkFiles(step.Outputs); err != nil {
		return err
	}
	var parts []Blob
	of := map[Blob]string{}
	for _, f := range step.Outputs {
		for _, b := range f.Parts {
			parts, of[b] = append(parts, b), f.Path
		}
	}
	missing, err := s.missing(ctx, parts)
	if err != nil || len(missing) == 0 {
		return err
	}
	return fmt.Errorf("output %s is gone: %w", of[missing[0]], fs.ErrNotExist)
}

// missing are those of blobs that are not there, each held before it is looked for.
func (s Steps) missing(ctx context.Context, blobs []Blob) ([]Blob, error) {
	if s.lease == nil {
		return NewBlobs(s.bucket).Missing(ctx, blobs)
	}
	if err := s.lease.Hold(ctx, blobs...); err != nil {
		return nil, err
	}
	return s.lease.missing(ctx, blobs)
}

// Keep is what Put does but for remembering: it holds the outputs of step.
func (s Steps) Keep(ctx context.Context, step Step) error {
	if s.lease == nil {
		return nil
	}
	return s.complete(ctx, step)
}

// Put remembers step, under its key and as the latest of its name in recipe. Under a lease
// the error wraps io/fs.ErrNotExist where an output was collected before it was held: then
// the step has to run again.
func (s Steps) Put(ctx context.Context, recipe, name string, step Step) error {
	if err := s.Keep(ctx, step); err != nil {
		return err
	}
	if err := s.write(ctx, s.key(step.Key), step); err != nil {
		return fmt.Errorf("remember step %s: %w", name, err)
	}
	if err := s.write(ctx, s.last(recipe, name), Step{Key: step.Key, Inputs: step.Inputs}); err != nil {
		return fmt.Errorf("remember step %s: %w", name, err)
	}
	return nil
}

func (s Steps) write(ctx context.Context, key string, step Step) error {
	doc, err := json.Marshal(step)
	if err != nil {
		return err
	}
	return s.bucket.Put(ctx, key, Bytes(doc))
}

// Last is the key and the inputs of the step called name of recipe when it was last
// finished, and io/fs.ErrNotExist where nothing is known.
func (s Steps) Last(ctx context.Context, recipe, name string) (Step, error) {
	return s.read(ctx, s.last(recipe, name))
}

// CheckCached says what is wrong with doc as the object of a cache that is stored under
// key: a finished step, the latest of a name, or a note. The error wraps ErrCorrupt. What
// is wrong with one costs a build and nothing else.
func CheckCached(key string, doc []byte) error {
	var kept struct { // what steps and notes have in common
		Key     Digest `json:"key"`
		Outputs []File `json:"outputs"`
	}
	err := json.Unmarshal(doc, &kept)
	if err == nil {
		err = checkFiles(kept.Outputs)
	}
	if name := kept.Key.Hex() + ".json"; err == nil && !strings.Contains(key, "/last/") && path.Base(key) != name {
		err = fmt.Errorf("it is of %s", kept.Key.Short())
	}
	if err != nil {
		return fmt.Errorf("read %s: %w: %w", key, ErrCorrupt, err)
	}
	return nil
}

func (s Steps) read(ctx context.Context, key string) (Step, error) {
	doc, err := readObject(ctx, s.bucket, key, maxStepLen)
	if err != nil {
		return Step{}, err
	}
	var step Step
	if err := json.Unmarshal(doc, &step); err != nil {
		return Step{}, fmt.Errorf("read %s: %w: %w", key, ErrCorrupt, err)
	}
	return step, nil
}
