package fsck

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"piimg/store"
)

// maxCached is more than any object of a cache has.
const maxCached = 32 << 20

// caches reads finished steps and notes. Their outputs are no part of any closure: one
// whose output was collected is a miss, and no damage.
func (c *checker) caches(ctx context.Context) error {
	keys := c.byKind["cache"]
	done := c.count("finished steps", len(keys))
	return store.Each(ctx, atATime, keys, func(ctx context.Context, key string) error {
		err := c.cached(ctx, key)
		done()
		if err != nil && kindOf(err) == Malformed {
			err = fmt.Errorf("%w (it costs a build, and nothing else)", err)
		}
		return c.found(ctx, key, err)
	})
}

func (c *checker) cached(ctx context.Context, key string) error {
	doc, err := c.store.Object(ctx, key, maxCached)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	return store.CheckCached(key, doc)
}
