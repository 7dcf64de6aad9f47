package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxStations = 8192                // boards in memory; more than that is somebody playing
	saveEvery   = 5 * time.Second     // a session that is only touched is saved no more often
	forgetAfter = 30 * 24 * time.Hour // a saved board without an assignment
	evictEvery  = time.Second         // between two fruitless looks for boards to forget
)

// station is one board as the front end knows it.
type station struct {
	id   string
	turn chan struct{} // held by the one request that decides what the board gets

	visits atomic.Int64 // requests between visit and leave; begun under Front.mu

	mu       sync.Mutex
	session  *session // the present or the last one, nil before the first
	assigned *Assignment
	refusal  error // why a moment ago nothing could be had
	until    time.Time
	addr     netip.Addr
	seen     time.Time
	trail    trail
	dirty    bool // the trail has changed since it was kept
	quiet    bool // the board was silent for long when it was
}

// savedBoard is what the front end remembers of a board on disk.
type savedBoard struct {
	Board    string      `json:"board"`
	Assigned *Assignment `json:"assigned,omitempty"` // as the fleet last said; nil: never asked
	Session  *session    `json:"session,omitempty"`
}

func (f *Front) boardDir() string { return filepath.Join(f.cfg.Dir, "boards") }

func (f *Front) boardFile(id string) string { return filepath.Join(f.boardDir(), id+".json") }

// sweepBoards removes saved boards that nobody told anything and nobody has seen for long.
func sweepBoards(dir string, now time.Time) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := removeTemps(dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		var saved savedBoard
		name := filepath.Join(dir, e.Name())
		if err := readJSON(name, &saved); err == nil && !saved.stale(now) {
			continue
		}
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// savedBoards is what can be read of what is saved in dir.
func savedBoards(dir string) []savedBoard {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var all []savedBoard
	for _, e := range entries {
		var saved savedBoard
		if readJSON(filepath.Join(dir, e.Name()), &saved) == nil {
			all = append(all, saved)
		}
	}
	return all
}

func (b savedBoard) stale(now time.Time) bool {
	told := b.Assigned != nil && b.Assigned.known()
	return !told && (b.Session == nil || now.Sub(b.Session.Touched) > forgetAfter)
}

// errFull is the answer to a board that there is no room for. Serving it without
// remembering what it got would mix images.
var errFull = errors.New("too many boards at once")

// visit is the board id for one request from addr, read from disk where this process
// sees it for the first time. It is not forgotten until leave.
func (f *Front) visit(id string, addr netip.Addr) (*station, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	st := f.stations[id]
	if st == nil {
		st = f.restored(id)
		if !f.roomFor(st) {
			return nil, fmt.Errorf("board %s: %w", id, errFull)
		}
		f.stations[id] = st
	}
	st.visits.Add(1)
	f.arrived(st, addr)
	return st, nil
}

// leave ends a visit.
func (st *station) leave() { st.visits.Add(-1) }

// restored is the board id as an earlier process has known it.
func (f *Front) restored(id string) *station {
	st := &station{id: id, turn: make(chan struct{}, 1), seen: f.cfg.Now()}
	f.restore(st)
	return st
}

// known is the board id if it has had a session here, in this process or before.
func (f *Front) known(id string) *station {
	f.mu.Lock()
	defer f.mu.Unlock()
	st := f.stations[id]
	if st == nil {
		if st = f.restored(id); st.session == nil || !f.roomFor(st) {
			return nil
		}
		f.stations[id] = st
	}
	return st
}

// restore reads what an earlier process has saved of st. A session of the future was
// written before the clock was set back, and nothing can be said about its age.
func (f *Front) restore(st *station) {
	f.restoreTrail(st)
	var saved savedBoard
	if err := readJSON(f.boardFile(st.id), &saved); err != nil || saved.Board != st.id {
		return
	}
	st.assigned = saved.Assigned
	if s := saved.Session; s != nil && !s.Touched.After(st.seen) {
		st.session = s
		if a := st.trail.opened(s.Opened); a != nil {
			a.session = s
		} else {
			st.trail.begin(st, s)
		}
	}
}

// roomFor says whether one more board may be remembered. One that must not be forgotten
// was here before a restart, so there are only so many of them. The caller holds f.mu.
func (f *Front) roomFor(st *station) bool {
	if len(f.stations) < maxStations || f.evict() {
		return true
	}
	_, ok := st.forgettable(f.cfg.Now(), f.cfg.Idle)
	return !ok
}

// evict forgets up to an eighth of the boards, those that were not seen for longest,
// with what is saved of them, and says whether there were any. It goes through all
// boards, so in a flood it does not do so for every request. The caller holds f.mu.
func (f *Front) evict() bool {
	now := f.cfg.Now()
	if now.Before(f.full) {
		return false
	}
	type candidate struct {
		st   *station
		seen time.Time
	}
	var idle []candidate
	for _, st := range f.stations {
		if seen, ok := st.forgettable(now, f.cfg.Idle); ok {
			idle = append(idle, candidate{st, seen})
		}
	}
	slices.SortFunc(idle, func(a, b candidate) int { return a.seen.Compare(b.seen) })
	for _, c := range idle[:min(len(idle), maxStations/8)] {
		f.forget(c.st)
	}
	if len(idle) == 0 {
		f.full = now.Add(evictEvery)
	}
	return len(idle) > 0
}

// forget drops st. The caller holds f.mu.
func (f *Front) forget(st *station) {
	st.mu.Lock()
	addr := st.addr
	st.mu.Unlock()
	if f.seenAt[addr] == st {
		delete(f.seenAt, addr)
	}
	delete(f.stations, st.id)
	os.Remove(f.boardFile(st.id))
	os.Remove(f.trailFile(st.id))
}

// forgettable says when st was seen last, and whether forgetting it does no harm: a
// board whose session is not over would get another one in mid-boot.
func (st *station) forgettable(now time.Time, idle time.Duration) (time.Time, bool) {
	if st.visits.Load() > 0 || st.booting(now, idle) {
		return time.Time{}, false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	told := st.assigned != nil && st.assigned.known()
	return st.seen, !told
}

func (f *Front) allStations() []*station {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*station, 0, len(f.stations))
	for _, st := range f.stations {
		all = append(all, st)
	}
	slices.SortFunc(all, func(a, b *station) int { return strings.Compare(a.id, b.id) })
	return all
}

// arrived remembers that st's requests come from addr. The caller holds f.mu.
func (f *Front) arrived(st *station, addr netip.Addr) {
	st.mu.Lock()
	before := st.addr
	st.addr, st.seen = addr, f.cfg.Now()
	st.mu.Unlock()
	if before != addr && f.seenAt[before] == st {
		delete(f.seenAt, before)
	}
	f.seenAt[addr] = st
}

// boardAt is the board whose names need no prefix when they come from addr: the
// configured one, else the one that was last seen there and is still booting.
func (f *Front) boardAt(addr netip.Addr) (string, bool) {
	if id, ok := f.policy.Load().Addresses[addr]; ok {
		return f.canonical(id), true
	}
	if id, ok := f.boards.Load().address[addr]; ok {
		return id, true
	}
	f.mu.Lock()
	st := f.seenAt[addr]
	f.mu.Unlock()
	if st == nil || !st.booting(f.cfg.Now(), f.cfg.Idle) {
		return "", false
	}
	return st.id, true
}

// booting says whether st has a session that a request would still belong to.
func (st *station) booting(now time.Time, idle time.Duration) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.session != nil && (st.session.active > 0 || now.Sub(st.session.Touched) < idle)
}

// take waits for st's turn.
func (st *station) take(ctx context.Context) error {
	select {
	case st.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (st *station) pass() { <-st.turn }

// refuse remembers for a moment that nothing can be had.
func (st *station) refuse(err error, until time.Time) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.refusal, st.until = err, until
}

func (st *station) refused(now time.Time) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if now.Before(st.until) {
		return st.refusal
	}
	return nil
}

func (st *station) forgive() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.refusal, st.until = nil, time.Time{}
}

// save writes what outlives a restart. It is not made durable: a machine that loses
// power loses its sessions, and so do the boards that it was serving. The caller holds
// st.mu.
func (f *Front) save(st *station) {
	if err := f.keep(st, false); err != nil {
		f.log.Warn("session is not saved", "board", st.id, "err", err)
	}
}

// keep writes what outlives a restart, and with sync what outlives the machine. The caller
// holds st.mu.
func (f *Front) keep(st *station, sync bool) error {
	if st.session != nil {
		st.session.saved = st.session.Touched
	}
	return writeJSON(f.boardFile(st.id), savedBoard{Board: st.id, Assigned: st.assigned, Session: st.session}, sync)
}

// saveTouched saves a session that has only gone on, if that was not done just now.
// The caller holds st.mu.
func (f *Front) saveTouched(st *station) {
	if st.session.Touched.Sub(st.session.saved) >= min(saveEvery, f.cfg.Idle/4) {
		f.save(st)
	}
}

// assignment is what st has been told to run: as the fleet says now, and as it last
// said where it cannot be asked.
func (f *Front) assignment(ctx context.Context, st *station) (Assignment, error) {
	st.mu.Lock()
	last := st.assigned
	st.mu.Unlock()
	patience := firstAsk
	if last != nil || f.boards.Load().boards != nil {
		patience = nextAsk
	}
	asked, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	now, err := f.cfg.Fleet.Assigned(asked, st.id)
	if errors.Is(err, fs.ErrNotExist) {
		now, err = Assignment{}, nil
	}
	if err == nil {
		st.mu.Lock()
		st.assigned = &now
		st.mu.Unlock()
		return now, nil
	}
	if last == nil {
		told, ok := f.told(st.id, err)
		if !ok {
			return Assignment{}, err
		}
		last = &told
	}
	f.log.Warn("assignment is the last known one", "board", st.id, "err", err)
	return *last, nil
}

// Time for the fleet to say what a board runs. A board repeats a request after 2 s, so
// where the last answer is known, a late one is not waited for.
const (
	firstAsk = 10 * time.Second
	nextAsk  = 1500 * time.Millisecond
)
