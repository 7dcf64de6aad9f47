package tftp

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"piimg/store/serve"
)

// What becomes of a request, until it is answered.
const (
	makeRoom   = time.Second      // an answer without a sign of life for so long makes room for others
	askedAfter = 10 * time.Second // a request that is not repeated for so long was given up
	retryEvery = time.Second      // what could not be had is tried again
	restarted  = time.Second      // a request that is repeated in mid-transfer after so long starts it anew
	mostOpens  = 4096             // files that are looked for at the same time
)

// opened is what a look for a file came to.
type opened struct {
	t    *transfer
	file *serve.File
	wire int64 // bytes of the file on the wire
	mtu  int   // of the way to the client
	err  error
}

// request is an RRQ.
func (e *engine) request(from *address, b []byte) {
	e.stats.requests.Add(1)
	client := from.addrPort()
	n := networkOf(e.networks, client.Addr().WithZone(""))
	if n == nil {
		e.stats.unknown.Add(1)
		e.flood.Log(context.Background(), slog.LevelWarn, "request from a network that is not served", "protocol", "tftp", "client", client)
		e.refuse(from, len(b), codeAccess, sayNetwork)
		return
	}
	r, err := parseRequest(b[2:])
	if err != nil {
		e.cfg.Log.Debug("bad request", "protocol", "tftp", "client", client, "err", err)
		e.refuse(from, len(b), codeIllegal, sayIllegal)
		return
	}
	if old := e.transfers[from.peer]; old != nil && !e.supersedes(old, r) {
		return
	}
	if e.stopping {
		return // whoever serves next is asked again
	}
	t := &transfer{from: *from, req: r, asked: len(b), network: n, arrived: e.now, repeated: e.now, deadline: never, heap: -1}
	e.transfers[from.peer] = t
	e.enqueue(t)
}

// supersedes says whether a request from a client that has a transfer already is a new
// one. A client that has missed the answer asks again from the same port, and keeps its
// place; one that was switched off and on may happen to use the same port.
func (e *engine) supersedes(old *transfer, r request) bool {
	same := old.req.name == r.name && old.req.netascii == r.netascii
	switch {
	case !same:
	case old.stage < offered:
		old.repeated = e.now
		if old.stage == crowded && e.now-old.arrived >= fileTimeout {
			old.arrived = e.now // of a client that waits for longer, or that starts over
		}
		return false
	case old.stage == offered:
		if e.now-old.again >= e.cfg.Floor {
			e.answer(old)
		}
		return false
	case e.now-old.again < restarted:
		return false // a copy of the first one that was late
	}
	e.end(old, serve.Aborted)
	return true
}

// enqueue lets t wait for its turn.
func (e *engine) enqueue(t *transfer) {
	if e.turns.ask(t, keyOf(t.from.addrPort().Addr(), t.req.name)) {
		e.admit()
		return
	}
	e.tooMany(t)
}

// tooMany drops a request that there is no room for. It is not answered: the firmware takes
// any ERROR for a missing file, and silence for a reason to ask again.
func (e *engine) tooMany(t *transfer) {
	e.stats.dropped.Add(1)
	e.flood.Log(context.Background(), slog.LevelWarn, "too many transfers or requests", "protocol", "tftp", "client", t.from.addrPort(),
		"name", t.req.name, "transfers", e.cfg.Transfers, "waiting", e.cfg.Waiting)
	e.drop(t)
}

// admit gives turns to as many as there may be.
func (e *engine) admit() {
	e.evict()
	for e.opens < mostOpens {
		t := e.turns.next()
		if t == nil {
			return
		}
		if e.now-t.repeated > askedAfter || e.stopping {
			e.drop(t)
			continue
		}
		t.stage = opening
		e.opens++
		e.look(t)
	}
}

// evict makes room by ending the oldest answers that no client has reacted to: addresses
// that somebody made up must not take the places of boards.
func (e *engine) evict() {
	for e.full() && e.offers.Len() > 0 {
		t := e.offers.Front().Value.(*transfer)
		if e.now-t.begun < makeRoom {
			return
		}
		e.stats.evicted.Add(1)
		e.finishWith(t, serve.Aborted)
	}
}

// full says whether somebody waits because all turns are taken.
func (e *engine) full() bool {
	return e.turns.full() && (e.turns.asked() || slices.ContainsFunc(e.networks, func(n *network) bool { return len(n.crowd.waiting) > 0 }))
}

// opened goes on with a transfer whose file was looked for.
func (e *engine) opened(r opened) {
	e.opens--
	t := r.t
	switch {
	case t.stage != opening: // it is over meanwhile
		if r.file != nil {
			e.ended = append(e.ended, ended{r.file, serve.Aborted, 0})
		}
	case r.err == nil:
		e.found(t, r)
	case errors.Is(r.err, fs.ErrNotExist):
		e.cfg.Log.Debug("no such file", "protocol", "tftp", "client", t.from.addrPort(), "name", t.req.name, "err", r.err)
		e.stats.missing.Add(1)
		e.tell(t, codeNotFound, sayNotFound)
		e.drop(t)
	case e.now-t.arrived >= e.cfg.Hold:
		e.flood.Log(context.Background(), slog.LevelError, "file is not served", "protocol", "tftp", "client", t.from.addrPort(), "name", t.req.name, "err", r.err)
		e.stats.trouble.Add(1)
		e.tell(t, codeUndefined, sayTrouble)
		e.drop(t)
	default:
		e.hold(t)
	}
	e.admit()
}

// found goes on with a file that is there.
func (e *engine) found(t *transfer, r opened) {
	c := &t.network.crowd
	t.ready = r
	if c.atOnce(t, e.now) {
		e.offer(t)
		return
	}
	if !e.hasRoom(c) {
		e.tooMany(t)
		return
	}
	e.turns.park(t)
	t.stage = crowded
	c.wait(t)
}

// hasRoom says whether one more may wait with a large file: half of those who wait at most,
// since others wait for small ones. The oldest that has not asked again makes room.
func (e *engine) hasRoom(c *crowd) bool {
	all := 0
	for _, n := range e.networks {
		all += len(n.crowd.waiting)
	}
	if all < e.turns.room/2 {
		return true
	}
	doubtful := c.doubtful(e.now)
	if doubtful != nil {
		e.drop(doubtful)
	}
	return doubtful != nil
}

// thin lets those begin whose large files the networks can carry now, and forgets those
// that have given up.
func (e *engine) thin() {
	for _, n := range e.networks {
		c := &n.crowd
		if len(c.waiting) == 0 || e.now < c.due {
			continue
		}
		c.due = e.now + crowdEvery
		for _, t := range c.gaveUp(e.now) {
			e.drop(t)
		}
		for !e.turns.full() {
			t := c.next(e.now, e.turns.each)
			if t == nil {
				break
			}
			c.leave(t)
			e.turns.resume(t)
			e.offer(t)
		}
	}
}

// hold lets t wait, without a turn, until the front end's trouble may be over.
func (e *engine) hold(t *transfer) {
	e.turns.park(t)
	t.stage = held
	e.at(t, min(e.now+min(retryEvery, max(e.cfg.Hold/3, 1)), t.arrived+e.cfg.Hold))
}
