package fsck

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// atATime is how many objects are read at once: a server far away is waited for more than
// it is worked with.
const atATime = 8

// each calls do for all items, several at a time, until one fails.
func each[T any](ctx context.Context, items []T, do func(context.Context, T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	for _, item := range items {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return do(ctx, item)
		})
	}
	return g.Wait()
}
