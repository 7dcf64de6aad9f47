package disk

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"piimg/store"
)

var (
	_ store.Mover   = (*Bucket)(nil)
	_ store.Aborter = (*Bucket)(nil)
)

// Move renames an object.
func (b *Bucket) Move(ctx context.Context, from, to string) error {
	for _, key := range []string{from, to} {
		if err := check(ctx, key); err != nil {
			return err
		}
	}
	if err := b.makeFolder(filepath.Dir(b.path(to))); err != nil {
		return fmt.Errorf("move %s: %w", from, err)
	}
	// The time first: an object whose time is new is spared, one that was moved with its
	// old time would not stay for as long as it should.
	now := time.Now()
	err := os.Chtimes(b.path(from), now, now)
	if err == nil {
		err = os.Rename(b.path(from), b.path(to))
	}
	if err != nil {
		return fmt.Errorf("move %s: %w", from, b.forget(absence(err)))
	}
	return nil
}

// Abort removes the temporaries of processes that died.
func (b *Bucket) Abort(_ context.Context, before time.Time) (int, error) {
	return b.sweep(before), nil
}
