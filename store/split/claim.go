package split

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"piimg/store"
)

// claimKey says in a bucket for logs which store they are of.
const claimKey = "piimg-refs.json"

type claim struct {
	Store string `json:"store"` // its id
}

// Claim makes logs those of the store with this id, for good. It is an error where they are
// those of another one.
func Claim(ctx context.Context, logs store.Bucket, id string) error {
	if err := Check(ctx, logs, id); err != nil {
		return err
	}
	doc, err := json.Marshal(claim{id})
	if err != nil {
		return err
	}
	err = logs.Create(ctx, claimKey, doc)
	if errors.Is(err, store.ErrConflict) {
		return Check(ctx, logs, id)
	}
	return err
}

// Check is an error where logs are those of another store than the one with this id.
func Check(ctx context.Context, logs store.Bucket, id string) error {
	of, err := owner(ctx, logs)
	if err == nil && of != "" && of != id {
		err = fmt.Errorf("these environments are of store %s, not of store %s", of, id)
	}
	return err
}

// Free is an error where logs are those of a store: one that is yet to be made is another.
func Free(ctx context.Context, logs store.Bucket) error {
	of, err := owner(ctx, logs)
	if err == nil && of != "" {
		err = fmt.Errorf("these environments are of store %s, not of one that is yet to be made", of)
	}
	return err
}

// owner is the id of the store that logs are of, "" where nobody has written there yet.
func owner(ctx context.Context, logs store.Bucket) (string, error) {
	const limit = 4 << 10
	r, err := logs.Get(ctx, claimKey, 0, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return resident(ctx, logs)
	}
	if err != nil {
		return "", err
	}
	defer r.Close()
	doc, err := io.ReadAll(r)
	if err != nil {
		return "", err
	}
	var c claim
	if err := json.Unmarshal(doc, &c); err != nil || c.Store == "" {
		return "", fmt.Errorf("read %s: it does not say whose environments these are: %w", claimKey, store.ErrCorrupt)
	}
	return c.Store, nil
}

// resident is the id of a store that has its content there too, and so its environments.
func resident(ctx context.Context, logs store.Bucket) (string, error) {
	s, err := store.Open(ctx, logs)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return s.ID(), nil
}
