package tftp

import (
	"container/list"
	"context"
	"encoding/binary"
	"log/slog"
	"time"

	"piimg/store/serve"
)

// sender takes what is to be sent; an outbox is one.
type sender interface {
	packet(t *transfer, to *address, b []byte)
	data(t *transfer, number uint16, pieces [][]byte)
	flush()
}

// engine is the protocol and the order in which requests are served. One goroutine runs
// it: it keeps no other waiting, and only what it is given makes time pass.
type engine struct {
	cfg      Config
	flood    *serve.Flood // log of requests that are refused though there may be such a file
	out      sender
	look     func(t *transfer) // starts to look for the file of t; opened is to follow
	stats    *counters
	networks []*network

	now       instant
	transfers map[peer]*transfer
	timers    timers
	turns     *admission
	offers    list.List // of transfers in the stage offered, oldest first
	loan      *loan
	opens     int
	pieces    [][]byte
	ended     []ended
	stopping  bool
}

// ended is a file that is no longer needed once everything was sent.
type ended struct {
	file   *serve.File
	result serve.Result
	bytes  int64
}

func newEngine(cfg Config, stats *counters) *engine {
	return &engine{
		cfg: cfg, stats: stats, networks: newNetworks(cfg.Networks, cfg.Promise),
		flood:     serve.NewFlood(cfg.Log, 1, time.Now),
		transfers: map[peer]*transfer{},
		turns:     newAdmission(cfg.Transfers, cfg.BoardTransfers, 4*cfg.Transfers, cfg.Waiting),
		loan:      newLoan(),
	}
}

// receive takes in one packet.
func (e *engine) receive(from *address, b []byte) {
	if len(b) < headerLen {
		return
	}
	number := binary.BigEndian.Uint16(b[2:])
	switch binary.BigEndian.Uint16(b) {
	case opACK:
		if t := e.transfers[from.peer]; t != nil && t.stage >= offered {
			proven, had := t.stage == offered, t.taken()
			next := t.ack(number, e.now)
			if t.large {
				t.network.crowd.delivered(t.taken()-had, e.now)
			}
			e.follow(t, next)
			if proven && t.stage == running {
				e.proven(t)
			}
		}
	case opERROR:
		if t := e.transfers[from.peer]; t != nil {
			e.refusedBy(t, number)
		}
	case opRRQ:
		e.request(from, b)
	case opWRQ:
		e.refuse(from, len(b), codeAccess, sayReadOnly)
	}
}

// proven is the first sign of life of a client. What its answer was lent is paid back.
func (e *engine) proven(t *transfer) {
	e.unoffer(t)
	e.loan.giveBack(t.credit)
	t.credit = 0
}

// unoffer takes t out of the answers that nobody has reacted to.
func (e *engine) unoffer(t *transfer) {
	if t.offer != nil {
		e.offers.Remove(t.offer)
		t.offer = nil
	}
}

// follow does what t has to do next.
func (e *engine) follow(t *transfer, ev event) {
	switch ev {
	case push:
		e.push(t)
	case finish:
		e.proven(t)
		e.end(t, serve.OK)
	case abandon:
		e.end(t, serve.Aborted)
	}
}

// refusedBy is an ERROR of a client, which is never answered.
func (e *engine) refusedBy(t *transfer, code uint16) {
	if code == codeUndefined || code == codeOption {
		e.end(t, serve.Probe) // it has seen that the file is there, and wants no more
		return
	}
	e.end(t, serve.Aborted)
}

// expire does what is due.
func (e *engine) expire() {
	for _, n := range e.networks {
		if n.Rate != 0 {
			e.drain(n)
		}
	}
	for {
		t := e.timers.due(e.now)
		if t == nil {
			break
		}
		if t.stage == held {
			t.stage = waiting
			e.turns.again(t)
			continue
		}
		if t.stage == running {
			e.stats.timeouts.Add(1)
		}
		e.follow(t, t.expire(e.cfg.Retries))
	}
	e.admit()
	e.thin()
}

// next is when expire is due.
func (e *engine) next() instant {
	at := e.timers.next()
	for _, n := range e.networks {
		if len(n.ready) > 0 {
			at = min(at, n.bucket.when())
		}
		if len(n.crowd.waiting) > 0 {
			at = min(at, n.crowd.due)
		}
	}
	if e.full() && e.offers.Len() > 0 {
		at = min(at, e.offers.Front().Value.(*transfer).begun+makeRoom)
	}
	return at
}

// at sets the deadline of t.
func (e *engine) at(t *transfer, deadline instant) {
	if t.stage == over {
		return
	}
	t.deadline = deadline
	e.timers.set(t)
}

// end is the end of t, and lets the next one have its turn.
func (e *engine) end(t *transfer, result serve.Result) {
	e.finishWith(t, result)
	e.admit()
}

func (e *engine) finishWith(t *transfer, result serve.Result) {
	if t.file != nil {
		e.ended = append(e.ended, ended{t.file, result, t.taken()})
	}
	if t.large && result == serve.Aborted && e.now-t.arrived >= fileTimeout {
		c := &t.network.crowd
		c.short = true
		e.flood.Log(context.Background(), slog.LevelWarn, "large file was given up on the way: where many are, the network carries less than is promised on it",
			"protocol", "tftp", "client", t.from.addrPort(), "name", t.file.Name, "bytes", t.taken(), "of", t.body.size(), "carried_per_second", int64(c.rate), "promise", c.promise)
	}
	e.stats.ended(result)
	e.drop(t)
}

// drop forgets t.
func (e *engine) drop(t *transfer) {
	e.turns.leave(t)
	t.network.crowd.leave(t)
	if t.ready.file != nil {
		e.ended = append(e.ended, ended{t.ready.file, serve.Aborted, 0})
	}
	e.unoffer(t)
	t.stage = over
	e.timers.remove(t)
	if e.transfers[t.from.peer] == t {
		delete(e.transfers, t.from.peer)
	}
}

// flush sends what there is to send, and returns the files that nobody needs after that.
func (e *engine) flush() []ended {
	e.out.flush()
	done := e.ended
	e.ended = nil
	return done
}

// stop takes no more requests, and forgets those that have no answer yet: their clients
// ask again, and whoever serves then answers.
func (e *engine) stop() {
	e.stopping = true
	for _, t := range e.transfers {
		if t.stage < offered {
			e.drop(t)
		}
	}
}

// cutOff ends the transfers that are left.
func (e *engine) cutOff() {
	for _, t := range e.transfers {
		if t.stage >= offered {
			e.tell(t, codeUndefined, sayStopping)
		}
		e.finishWith(t, serve.Aborted)
	}
}

// idle says whether nothing is left to do.
func (e *engine) idle() bool { return len(e.transfers) == 0 && e.opens == 0 }
