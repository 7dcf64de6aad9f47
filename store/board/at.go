package board

import (
	"context"
	"fmt"

	"piimg/store"
)

// At is the assignment numbered seq of a board. Its place in the chain is not checked;
// History does that.
func At(ctx context.Context, s *store.Store, id ID, seq int64) (Assignment, error) {
	if known, err := ParseID(string(id)); err != nil || known != id {
		return Assignment{}, fmt.Errorf("%q is not the id of a board", id)
	}
	stored, err := logOf(s, id).At(ctx, seq)
	if err != nil {
		return Assignment{}, err // it names the log, and so the board
	}
	a, err := Decode(stored, id)
	if err != nil {
		return Assignment{}, fmt.Errorf("board %s: %w", id, err)
	}
	return a, nil
}
