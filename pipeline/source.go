package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"piimg/recipes"
)

// Fetcher gets sources of one kind.
type Fetcher interface {
	// Kind is what lock files call it.
	Kind() string

	// Takes says whether s is of this kind.
	Takes(s recipes.Source) bool

	// Fetch gets s and describes what it got. Where pin is not nil, the version that
	// pin names is what is wanted; the caller compares the rest. Nothing is fetched
	// over the network where env.Offline is set. Concurrent calls are fine.
	Fetch(ctx context.Context, s recipes.Source, pin *recipes.Pin, env FetchEnv) (Fetched, error)
}

// FetchEnv is where a Fetcher works.
type FetchEnv struct {
	Dir     string // the folder of the recipe
	Cache   string // a folder for what was downloaded
	Offline bool
}

// Fetched is a source that is there. A source that is one file is a tree with that file
// alone, under its base name.
type Fetched struct {
	Pin recipes.Pin
	FS  fs.FS
}

// ErrOffline: something is not here and may not be fetched.
var ErrOffline = errors.New("not here, and the network is not to be used")

// Fetch gets the source called name, of whatever kind. Where l is not nil, it has to pin
// the source, and what comes has to be what it pins.
func (p *Pipeline) Fetch(ctx context.Context, r *recipes.Recipe, l *recipes.Lock, name string) (Fetched, error) {
	s, ok := r.Sources[name]
	if !ok {
		return Fetched{}, fmt.Errorf("source %s is not declared", name)
	}
	f, err := p.fetcher(s)
	if err != nil {
		return Fetched{}, fmt.Errorf("source %s: %w", name, err)
	}
	var pin *recipes.Pin
	if l != nil {
		got, ok := l.Sources[name]
		if !ok {
			return Fetched{}, fmt.Errorf("source %s is not pinned", name)
		}
		pin = &got
	}
	got, err := f.Fetch(ctx, s, pin, FetchEnv{Dir: r.Path("."), Cache: p.Cache, Offline: p.Offline})
	if err != nil {
		return Fetched{}, fmt.Errorf("source %s: %w", name, err)
	}
	if pin != nil && got.Pin != *pin {
		return Fetched{}, &DriftError{Recipe: r.File, Name: name, Pinned: *pin, Found: got.Pin}
	}
	return got, nil
}

func (p *Pipeline) fetcher(s recipes.Source) (Fetcher, error) {
	for _, f := range p.Fetchers {
		if f.Takes(s) {
			return f, nil
		}
	}
	return nil, errors.New("no kind of source takes it")
}

// DriftError: a source is not what the lock file pins.
type DriftError struct {
	Recipe        string // file
	Name          string
	Pinned, Found recipes.Pin
}

func (e *DriftError) Error() string {
	switch {
	case e.Pinned.Kind != e.Found.Kind:
		return fmt.Sprintf("source %s is a %s, the lock file pins a %s", e.Name, e.Found.Kind, e.Pinned.Kind)
	case e.Pinned.Version != e.Found.Version:
		return fmt.Sprintf("source %s has version %s, the lock file pins %s", e.Name, e.Found.Version, e.Pinned.Version)
	case e.Pinned.Digest != e.Found.Digest:
		return fmt.Sprintf("source %s has the digest %s, the lock file pins %s", e.Name, e.Found.Digest.Short(), e.Pinned.Digest.Short())
	}
	return fmt.Sprintf("source %s is not what the lock file pins", e.Name)
}

// Lock fetches the sources called names and returns l with their pins set anew; other
// pins of sources that the recipe still has are kept.
func (p *Pipeline) Lock(ctx context.Context, r *recipes.Recipe, l *recipes.Lock, names []string) (*recipes.Lock, error) {
	next := &recipes.Lock{Sources: map[string]recipes.Pin{}}
	if l != nil {
		for name, pin := range l.Sources {
			if _, ok := r.Sources[name]; ok {
				next.Sources[name] = pin
			}
		}
	}
	for _, name := range names {
		p.emit(Event{Step: "lock", Kind: Log, Text: "fetch " + name})
		got, err := p.Fetch(ctx, r, nil, name)
		if err != nil {
			return nil, err
		}
		next.Sources[name] = got.Pin
	}
	return next, nil
}
