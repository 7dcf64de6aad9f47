package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"piimg/store"
	"piimg/store/env"
	"piimg/store/sign"
	"piimg/store/yank"
)

// guard says what a front end may give to boards. It reads the trust file anew whenever
// something new is to be served, so that whoever changes it need not restart front ends.
// It is safe for concurrent use. A nil guard allows everything.
type guard struct {
	rules env.Rules // without Trust
	file  string    // trust file; "" where signatures are off
	now   func() time.Time

	mu     sync.Mutex
	doc    []byte      // of file, as it was last read
	chain  *sign.Chain // in doc: a file that does not go on from it is refused
	images map[store.Digest]store.Digest
}

// guard is that of the configuration file. Where the trust file cannot be read or does not
// hold, boards go on with what this front end has, as they would if it had been running.
func (a *app) guard() (*guard, error) {
	rules, err := a.policies()
	if err != nil {
		return nil, err
	}
	g := &guard{rules: rules, file: rules.TrustFile, now: a.now}
	if g.file == "" {
		a.ui.say("signatures are off: no trust file is configured, boards get what the store says")
		return g, nil
	}
	if _, err := g.current(); err != nil {
		a.ui.warn("boards get the last known good images until it is right: %v", err)
	}
	return g, nil
}

// current are the rules with the trust file as it is now.
func (g *guard) current() (env.Rules, error) {
	if g == nil {
		return env.Rules{}, nil
	}
	if g.file == "" {
		return g.rules, nil
	}
	doc, err := os.ReadFile(g.file)
	if err != nil {
		return env.Rules{}, fmt.Errorf("trust file: %w", unknown{err})
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.read(doc); err != nil {
		return env.Rules{}, fmt.Errorf("trust file %s: %w", g.file, err)
	}
	r := g.rules
	r.Trust, err = g.chain.Trust()
	return r, err
}

// read takes doc for the trust file, if it goes on from the one before. The caller holds g.mu.
func (g *guard) read(doc []byte) error {
	if g.chain != nil && bytes.Equal(doc, g.doc) {
		return nil
	}
	chain, err := sign.ParseChain(doc)
	if err == nil {
		_, err = chain.Trust()
	}
	if err == nil && g.chain != nil {
		err = chain.Extends(g.chain)
	}
	if err != nil {
		return err
	}
	g.doc, g.chain, g.images = doc, chain, map[store.Digest]store.Digest{}
	return nil
}

// head is the head of an environment, for boards that get seen now. A new head that is not
// signed as it has to be, or that was yanked, is refused where there is one that boards get:
// what they have goes on to boot.
func (g *guard) head(ctx context.Context, s *store.Store, name string, seen env.Seen) (env.Entry, error) {
	r, err := g.current()
	if err != nil {
		return env.Entry{}, err
	}
	e, err := env.Follow(ctx, s, name, seen, r, g.clock())
	if err != nil || seen.Seq == 0 || e.Image == seen.Image {
		return e, err
	}
	if err := yank.Check(ctx, s, e.Image, r.TrustedYank(g.clock())); err != nil {
		return env.Entry{}, unknown{fmt.Errorf("step %d of %s: %w", e.Seq, name, err)}
	}
	return e, nil
}

// image refuses to give an image to a board that is set to it, if it is not signed as the
// policy of all environments says: who sets boards signs nothing.
func (g *guard) image(ctx context.Context, s *store.Store, d store.Digest) error {
	r, err := g.current()
	if err != nil || r.Trust == nil {
		return err
	}
	g.mu.Lock()
	known := g.images[d] == r.Trust.Digest
	g.mu.Unlock()
	if known {
		return nil
	}
	if err := r.CheckImage(ctx, s, "*", d, g.clock()); err != nil {
		return unknown{err}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.images[d] = r.Trust.Digest
	return nil
}

func (g *guard) clock() time.Time {
	if g == nil {
		return time.Time{} // asked for with signatures only
	}
	return g.now()
}
