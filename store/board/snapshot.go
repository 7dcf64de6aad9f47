package board

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"piimg/store"
)

// readers is how many logs are read at a time: a fleet has hundreds, each some milliseconds away.
const readers = 16

// Snapshot is the newest assignment of every board. It lists the logs once and reads the
// heads that before, an older snapshot or nil, has not. Damage to the log of one board costs
// that board: what before has of it stays, and the error names it. Where ctx ends, what was
// read until then comes beside its error: as before, it saves the next one that work.
func Snapshot(ctx context.Context, s *store.Store, before map[ID]Assignment) (map[ID]Assignment, error) {
	heads := map[ID]int64{}
	for info, err := range s.Bucket().List(ctx, folder+"/", "") {
		if err != nil {
			return nil, fmt.Errorf("list boards: %w", err)
		}
		if id, seq, ok := entryOf(info.Key); ok {
			heads[id] = max(heads[id], seq)
		}
	}
	now := maps.Clone(before)
	if now == nil {
		now = map[ID]Assignment{}
	}
	maps.DeleteFunc(heads, func(id ID, seq int64) bool { return now[id].Seq == seq })
	var mu sync.Mutex
	var broken []error
	err := store.Each(ctx, readers, slices.Sorted(maps.Keys(heads)), func(ctx context.Context, id ID) error {
		a, err := at(ctx, s, id, heads[id])
		mu.Lock()
		defer mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			broken = append(broken, fmt.Errorf("board %s: %w", id, err))
		default:
			now[id] = a
		}
		return nil
	})
	slices.SortFunc(broken, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return now, cmp.Or(err, errors.Join(broken...))
}

func at(ctx context.Context, s *store.Store, id ID, seq int64) (Assignment, error) {
	stored, err := logOf(s, id).At(ctx, seq)
	if err != nil {
		return Assignment{}, err
	}
	return Decode(stored, id)
}

// entryOf is the board and the number that the key of a log entry has.
func entryOf(key string) (ID, int64, bool) {
	name, file, ok := strings.Cut(strings.TrimPrefix(key, folder+"/"), "/log/")
	id, err := ParseID(name)
	seq, e := strconv.ParseInt(strings.TrimSuffix(file, ".json"), 10, 64)
	return id, seq, ok && err == nil && e == nil && string(id) == name && seq > 0
}
