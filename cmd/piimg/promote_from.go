package main

import (
	"context"

	"piimg/store"
	"piimg/store/env"
)

// bring copies the image that ref names in another store, and says what it is called here
// and where it comes from. Whoever promotes it writes the log entry after that: what an
// interrupted promotion leaves is content that nothing names, and the next one finds it.
func (a *app) bring(ctx context.Context, where string, to *store.Store, ref string) (store.Digest, *env.Source, error) {
	from, err := a.openNamed(ctx, where)
	if err != nil {
		return store.Digest{}, nil, err
	}
	found, err := resolve(ctx, from, ref)
	if err != nil {
		return store.Digest{}, nil, err
	}
	if err := a.copyImage(ctx, from, to, found.Image); err != nil {
		return store.Digest{}, nil, err
	}
	return found.Image, &env.Source{Store: from.ID(), Env: found.Env, Seq: found.Seq}, nil
}

// find is the image that ref names and where it comes from: the environment that runs it,
// or the store that it is copied from.
func (a *app) find(ctx context.Context, s *store.Store, ref, from string) (store.Digest, *env.Source, error) {
	if from != "" {
		return a.bring(ctx, from, s, ref)
	}
	found, err := resolve(ctx, s, ref)
	if err != nil || found.Env == "" {
		return found.Image, nil, err
	}
	return found.Image, &env.Source{Env: found.Env, Seq: found.Seq}, nil
}
