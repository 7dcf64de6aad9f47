package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"piimg/store"
	"piimg/store/env"
)

// resolve finds the image that ref names.
func resolve(ctx context.Context, s *store.Store, ref string) (env.Resolved, error) {
	if _, err := store.ParseRef(ref); err != nil {
		return env.Resolved{}, usageError{err}
	}
	found, err := env.Resolve(ctx, s, ref)
	if errors.Is(err, fs.ErrNotExist) {
		err = hint(err, "piimg ls lists images and the environments that run them, piimg history ENV what one ran")
	}
	return found, err
}

// when is a time for people, in their time zone.
func when(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 MST") }

// printStep prints the step that an environment is at now.
func (a *app) printStep(e env.Entry) error {
	if e.Unchanged {
		a.ui.say("nothing to do: %s runs this image already", e.Env)
	}
	_, err := fmt.Fprintf(a.out, "%s@%d %s\n", e.Env, e.Seq, e.Image)
	return err
}
