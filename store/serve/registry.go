package serve

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"piimg/store"
)

// Registry is a Fleet that can name all boards that it knows. With it the front end finds
// boards by their other names and addresses, and knows what boards have been told that it
// never saw, when the store is away.
type Registry interface {
	// Boards is what each board has been told, by id. An error beside a map is of those
	// that are missing in it.
	Boards(ctx context.Context) (map[string]Assignment, error)
}

// registryEvery is the time between two looks at all boards; each boot looks at its own.
const registryEvery = 15 * time.Second

// registry is what the fleet said of all boards. It does not change.
type registry struct {
	boards  map[string]Assignment
	names   map[string]string // id by other names
	address map[netip.Addr]string
}

func newRegistry(boards map[string]Assignment) *registry {
	r := &registry{boards: boards, names: map[string]string{}, address: map[netip.Addr]string{}}
	for _, id := range sortedKeys(boards) { // where two boards claim a name, the first has it, every time
		for _, other := range boards[id].Also {
			if _, own := boards[other]; !own && r.names[other] == "" {
				r.names[other] = id
			}
		}
		for _, a := range boards[id].Addresses {
			if r.address[plainAddr(a)] == "" {
				r.address[plainAddr(a)] = id
			}
		}
	}
	return r
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func (f *Front) registryFile() string { return filepath.Join(f.cfg.Dir, "registry.json") }

// readRegistry reads what an earlier process has saved.
func (f *Front) readRegistry() {
	var boards map[string]Assignment
	if err := readJSON(f.registryFile(), &boards); err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.log.Warn("the saved list of boards is unreadable", "err", err)
	}
	f.boards.Store(newRegistry(boards))
}

// refreshRegistry asks the fleet for all boards, if it is time to.
func (f *Front) refreshRegistry(ctx context.Context) error {
	from, ok := f.cfg.Fleet.(Registry)
	now := f.cfg.Now()
	f.mu.Lock()
	recent := now.Sub(f.listed) < registryEvery && !now.Before(f.listed)
	f.mu.Unlock()
	if !ok || recent {
		return nil
	}
	asked, cancel := context.WithTimeout(ctx, headTimeout)
	defer cancel()
	boards, err := from.Boards(asked)
	if boards == nil {
		return err
	}
	f.mu.Lock()
	f.listed = now
	f.mu.Unlock()
	if err != nil {
		f.log.Warn("some boards cannot be read", "err", err)
	}
	f.boards.Store(newRegistry(boards))
	if err := writeJSON(f.registryFile(), boards, false); err != nil {
		f.log.Warn("the list of boards is not saved", "err", err)
	}
	return nil
}

// canonical is the id of the board that has the name id.
func (f *Front) canonical(id string) string {
	if own, ok := f.boards.Load().names[id]; ok {
		return own
	}
	return id
}

// told is what the fleet said of the board id when it was last asked for all, and false
// where err, of asking it now, leaves no way to know.
func (f *Front) told(id string, err error) (Assignment, bool) {
	r := f.boards.Load()
	a, listed := r.boards[id]
	var refused Refused
	return a, listed || r.boards != nil && !errors.As(err, &refused)
}

// registered are the images that boards have been told to run.
func (r *registry) images(held map[store.Digest]bool) {
	for _, a := range r.boards {
		held[a.Image] = true
	}
}
