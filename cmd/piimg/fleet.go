package main

import (
	"context"
	"fmt"
	"io/fs"

	"piimg/store"
	"piimg/store/board"
	"piimg/store/env"
	"piimg/store/serve"
)

// fleet tells the front end what the store knows of boards and environments.
type fleet struct {
	store *store.Store
	guard *guard // nil: everything that the store says is true
}

var _ serve.Fleet = fleet{}

func (f fleet) Board(name string) (string, bool) {
	id, err := board.ParseID(name)
	return string(id), err == nil
}

func (f fleet) Assigned(ctx context.Context, id string) (serve.Assignment, error) {
	a, err := board.Get(ctx, f.store, board.ID(id))
	if err != nil {
		return serve.Assignment{}, err
	}
	if a.Mode == board.Unset {
		return serve.Assignment{}, fs.ErrNotExist
	}
	if !a.Image.IsZero() {
		if err := f.guard.image(ctx, f.store, a.Image); err != nil {
			return serve.Assignment{}, fmt.Errorf("board %s: %w", id, err)
		}
	}
	return serve.Assignment{Env: a.Env, Image: a.Image, Local: a.Mode == board.Local}, nil
}

func (f fleet) Head(ctx context.Context, name string, good serve.Head) (serve.Head, error) {
	e, err := f.guard.head(ctx, f.store, name, env.Seen(good))
	if err != nil {
		return serve.Head{}, err
	}
	return serve.Head{Seq: e.Seq, Image: e.Image, Entry: e.Digest}, nil
}
