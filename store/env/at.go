package env

import (
	"context"

	"piimg/store"
)

// At is the entry numbered seq of the environment called name. Its place in the chain is
// not checked; History does that.
func At(ctx context.Context, s *store.Store, name string, seq int64) (Entry, error) {
	if err := store.CheckEnv(name); err != nil {
		return Entry{}, err
	}
	return at(ctx, s, name, seq)
}
