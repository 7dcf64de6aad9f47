package tftp

import (
	"net/netip"
	"slices"
	"strings"
)

// boardKey is whose turn a request belongs to: a client's address, and the folder that
// it asks below, since several boards may ask from one address.
type boardKey struct {
	addr   netip.Addr
	folder string
}

func keyOf(addr netip.Addr, name string) boardKey {
	folder, _, ok := strings.Cut(strings.TrimLeft(name, "/"), "/")
	if !ok {
		folder = ""
	}
	return boardKey{addr, strings.ToLower(folder)}
}

// turn is what a request has of the admission.
type turn struct {
	board  *boardTurns // nil before and after
	placed bool        // it counts as waiting: until its file is found
	queued bool        // it waits for its turn
	runs   bool        // it has its turn
}

// boardTurns is what one board has.
type boardTurns struct {
	key      boardKey
	requests int // of whatever kind
	running  int
	large    int // of those, large files, when the crowd last looked
	queue    []*transfer
	inRing   bool
}

// admission decides whose transfer is next: one of each board that waits in turn, so that
// a board which asks for much keeps no other out.
type admission struct {
	all, each     int // transfers at a time, of all boards and of one
	room, perAddr int // requests that may wait, of all boards and of one address

	running int
	waiting int
	boards  map[boardKey]*boardTurns
	addrs   map[netip.Addr]int // waiting requests by address
	ring    []*boardTurns      // that have a waiting request and may have a turn
}

func newAdmission(all, each, room, perAddr int) *admission {
	return &admission{
		all: all, each: each, room: room, perAddr: perAddr,
		boards: map[boardKey]*boardTurns{}, addrs: map[netip.Addr]int{},
	}
}

// ask puts t into the queue, and says whether there was room.
func (a *admission) ask(t *transfer, key boardKey) bool {
	if a.waiting >= a.room || a.addrs[key.addr] >= a.perAddr {
		return false
	}
	a.waiting++
	a.addrs[key.addr]++
	b := a.boards[key]
	if b == nil {
		b = &boardTurns{key: key}
		a.boards[key] = b
	}
	b.requests++
	t.turn = turn{board: b, placed: true}
	a.again(t)
	return true
}

// again puts t, which has its place still, into the queue.
func (a *admission) again(t *transfer) {
	b := t.turn.board
	t.turn.queued = true
	b.queue = append(b.queue, t)
	a.enlist(b)
}

// enlist lets b take part in the round where it has reason and right to.
func (a *admission) enlist(b *boardTurns) {
	if !b.inRing && len(b.queue) > 0 && b.running < a.each {
		b.inRing = true
		a.ring = append(a.ring, b)
	}
}

// next is the transfer whose turn it is, and nil where none may run now.
func (a *admission) next() *transfer {
	for a.running < a.all && len(a.ring) > 0 {
		b := a.ring[0]
		a.ring[0] = nil
		a.ring = a.ring[1:]
		b.inRing = false
		if len(b.queue) == 0 { // its requests were given up
			continue
		}
		t := b.queue[0]
		b.queue = slices.Delete(b.queue, 0, 1)
		t.turn.queued, t.turn.runs = false, true
		b.running++
		a.running++
		a.enlist(b)
		return t
	}
	return nil
}

// full says whether all turns are taken, and asked whether requests wait for one.
func (a *admission) full() bool  { return a.running >= a.all }
func (a *admission) asked() bool { return len(a.ring) > 0 }

// found ends the waiting of t, which runs.
func (a *admission) found(t *transfer) {
	if !t.turn.placed {
		return
	}
	t.turn.placed = false
	a.waiting--
	addr := t.turn.board.key.addr
	if a.addrs[addr]--; a.addrs[addr] == 0 {
		delete(a.addrs, addr)
	}
}

// park gives t's turn back; it goes on waiting.
func (a *admission) park(t *transfer) {
	b := t.turn.board
	t.turn.runs = false
	b.running--
	a.running--
	a.enlist(b)
}

// resume gives t, which was parked, its turn back.
func (a *admission) resume(t *transfer) {
	t.turn.runs = true
	t.turn.board.running++
	a.running++
}

// leave gives everything back that t has.
func (a *admission) leave(t *transfer) {
	b := t.turn.board
	if b == nil {
		return
	}
	if t.turn.queued {
		b.queue = slices.DeleteFunc(b.queue, func(other *transfer) bool { return other == t })
	}
	if t.turn.runs {
		a.park(t)
	}
	a.found(t)
	t.turn = turn{}
	if b.requests--; b.requests == 0 {
		delete(a.boards, b.key)
	}
}
