package main

import (
	"context"

	"piimg/store"
	"piimg/store/env"
)

// origin is an image and where it comes from.
type origin struct {
	image  store.Digest
	source *env.Source  // the environment that runs it, or the store that it is to be copied from
	store  *store.Store // that source is in, and the image, where that is another store
}

// find is the image that ref names, in the store from unless that is "".
func (a *app) find(ctx context.Context, s *store.Store, ref, from string) (origin, error) {
	if from != "" {
		return a.findElsewhere(ctx, from, ref)
	}
	found, err := resolve(ctx, s, ref)
	if err != nil || found.Env == "" {
		return origin{image: found.Image}, err
	}
	return origin{image: found.Image, source: &env.Source{Env: found.Env, Seq: found.Seq}}, nil
}

func (a *app) findElsewhere(ctx context.Context, where, ref string) (origin, error) {
	from, err := a.openNamed(ctx, where)
	if err != nil {
		return origin{}, err
	}
	found, err := resolve(ctx, from, ref)
	if err != nil {
		return origin{}, err
	}
	return origin{found.Image, &env.Source{Store: from.ID(), Env: found.Env, Seq: found.Seq}, from}, nil
}

// bring copies the image of p from another store, unless p would be refused in any case.
// Whoever promotes it writes the log entry after that: what an interrupted promotion leaves
// is content that nothing names, and the next one finds it.
func (a *app) bring(ctx context.Context, to *store.Store, p env.PromoteOptions) error {
	if err := env.Ask(ctx, to, p); err != nil {
		return err
	}
	return a.copyImage(ctx, p.From, to, p.Image)
}
