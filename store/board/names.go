package board

import (
	"maps"
	"slices"
)

// Names are the ids of boards by their other names. A name that is a board's own id is that
// board's; where several claim one, the first of them has it, as for front ends.
func Names(all map[ID]Assignment) map[ID]ID {
	names := map[ID]ID{}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		for _, other := range all[id].Also {
			if _, own := all[other]; own {
				continue
			}
			if _, taken := names[other]; !taken {
				names[other] = id
			}
		}
	}
	return names
}

// Find is the board that has the name id, and its own id. Where there is none it is false, with
// id as it is.
func Find(all map[ID]Assignment, id ID) (ID, Assignment, bool) {
	if own, ok := Names(all)[id]; ok {
		id = own
	}
	a, ok := all[id]
	return id, a, ok
}
