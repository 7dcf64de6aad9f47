package main

import (
	"context"
	"fmt"

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
	return f.assignment(ctx, a)
}

// assignment is a as the front end has it, once its image may be served.
func (f fleet) assignment(ctx context.Context, a board.Assignment) (serve.Assignment, error) {
	if !a.Image.IsZero() {
		if err := f.guard.image(ctx, f.store, a.Image); err != nil {
			return serve.Assignment{}, serve.Refused{Err: fmt.Errorf("board %s: %w", a.Board, err)}
		}
	}
	found := serve.Assignment{
		Image:  a.Image,
		Target: serve.Target{Env: a.Env, Local: a.Mode == board.Local, Off: a.Mode == board.Off},
		Labels: a.Labels, Vars: a.Vars, Addresses: a.Addresses,
	}
	for _, other := range a.Also {
		found.Also = append(found.Also, string(other))
	}
	return found, nil
}

func (f fleet) Head(ctx context.Context, name string, good serve.Head) (serve.Head, error) {
	e, err := f.guard.head(ctx, f.store, name, env.Seen(good))
	if err != nil {
		return serve.Head{}, err
	}
	return serve.Head{Seq: e.Seq, Image: e.Image, Entry: e.Digest}, nil
}
