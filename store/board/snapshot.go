package board

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"piimg/store"
)

// Snapshot is the newest assignment of every board. It lists the logs once and reads the
// heads that before, an older snapshot or nil, has not. Damage to the log of one board costs
// that board: what before has of it stays, and the error names it.
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
	var broken []error
	for id, seq := range heads {
		if now[id].Seq == seq {
			continue
		}
		a, err := at(ctx, s, id, seq)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			broken = append(broken, fmt.Errorf("board %s: %w", id, err))
			continue
		}
		now[id] = a
	}
	return now, errors.Join(broken...)
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
