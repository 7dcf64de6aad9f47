package tftp

import (
	"cmp"
	"container/list"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"piimg/store/serve"
)

const (
	offerFor   = 10 * time.Second // an answer waits so long for a sign of life
	makeRoom   = time.Second      // an answer without one for so long makes room for others
	askedAfter = 10 * time.Second // a request that is not repeated for so long was given up
	retryEvery = time.Second      // what could not be had is tried again
	restarted  = time.Second      // a request that is repeated in mid-transfer after so long starts it anew
	mostOpens  = 4096             // files that are looked for at the same time
)

// What clients are told.
const (
	sayNotFound = "file not found"
	sayTrouble  = "not available now"
	sayReadOnly = "read only"
	sayNetwork  = "not served here"
	sayIllegal  = "illegal request"
	sayUnread   = "file cannot be read"
	sayStopping = "server is stopping"
)

// sender takes what is to be sent; an outbox is one.
type sender interface {
	packet(t *transfer, to *address, b []byte)
	data(t *transfer, number uint16, pieces [][]byte)
	flush()
}

// opened is what a look for a file came to.
type opened struct {
	t    *transfer
	file *serve.File
	wire int64 // bytes of the file on the wire
	mtu  int   // of the way to the client
	err  error
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

// offer answers the request of t with what it is about to get.
func (e *engine) offer(t *transfer) {
	r := t.ready
	t.ready = opened{}
	block := max(min(e.cfg.BlockSize, r.mtu-overhead(t.from.peer)), defaultBlock)
	agreed := agree(t.req.options, r.wire, block, e.cfg.Window)
	p := pace{first: e.cfg.Timeout, floor: e.cfg.Floor, top: topTimeout}
	if agreed.timeout != 0 {
		p.first, p.top = agreed.timeout, agreed.timeout
	}
	e.turns.found(t)
	t.begin(r.file, newBody(r.file, agreed, t.req.netascii, r.wire), agreed, p, e.now)
	t.network.crowd.begin(t)
	t.offer = e.offers.PushBack(t)
	e.answer(t)
}

// answer sends the first packet of t. The options come back in fewer bytes than they
// were asked for in; the first block to a client without options is lent.
func (e *engine) answer(t *transfer) {
	e.loan.giveBack(t.credit) // a repeated question
	t.credit = 0
	length := len(t.oack)
	if t.oack == nil {
		length = headerLen + int(min(t.body.size(), int64(t.blksize)))
	}
	if !e.loan.take(length-t.asked, e.now) {
		e.stats.dropped.Add(1)
		e.end(t, serve.Aborted)
		return
	}
	t.credit = max(0, length-t.asked)
	if t.oack != nil {
		t.again = e.now
		e.out.packet(t, &t.from, t.oack)
	} else {
		t.sent = 0
		e.send(t)
	}
	e.at(t, e.now+offerFor)
}

// overhead is what a packet to p has besides the data of a block.
func overhead(p peer) int {
	const v4, v6, udp = 20, 40, 8
	if p.addrPort().Addr().Is4() {
		return v4 + udp + headerLen
	}
	return v6 + udp + headerLen
}

// push sends the blocks of t that may be on their way, as soon as its network may send.
func (e *engine) push(t *transfer) {
	if t.network.Rate == 0 {
		e.send(t)
		return
	}
	if !t.queued {
		t.queued = true
		t.network.ready = append(t.network.ready, t)
		e.at(t, never)
	}
	e.drain(t.network)
}

// drain lets the transfers of a network send in turn while it has bytes left.
func (e *engine) drain(n *network) {
	n.bucket.fill(e.now)
	for len(n.ready) > 0 && n.bucket.left > 0 {
		t := n.ready[0]
		n.ready[0] = nil
		n.ready = n.ready[1:]
		t.queued = false
		if t.stage == running {
			n.bucket.left -= e.send(t)
		}
	}
}

// send sends the blocks of t that may be on their way, and returns how many bytes.
func (e *engine) send(t *transfer) (bytes int64) {
	first, last := t.pending()
	for n := first; n <= last; n++ {
		if n == t.last && t.top < n {
			if err := t.file.Check(); err != nil {
				e.failed(t, err)
				return bytes
			}
		}
		pieces, err := t.body.block(e.pieces[:0], n-1)
		if err != nil {
			e.failed(t, err)
			return bytes
		}
		e.pieces = pieces
		bytes += headerLen
		for _, p := range pieces {
			bytes += int64(len(p))
		}
		if n <= t.top {
			e.stats.again.Add(1)
		}
		e.out.data(t, uint16(n), pieces)
	}
	if last >= first {
		t.pushed(last, e.now)
		e.stats.sent.Add(bytes)
	}
	e.at(t, t.deadline)
	return bytes
}

// failed ends t because its file cannot be read.
func (e *engine) failed(t *transfer, err error) {
	e.cfg.Log.Error("transfer failed", "protocol", "tftp", "client", t.from.addrPort(), "name", t.file.Name, "err", err)
	e.tell(t, codeUndefined, sayUnread)
	e.end(t, serve.Failed)
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

// tell sends an ERROR to the client of t.
func (e *engine) tell(t *transfer, code uint16, text string) {
	most := t.asked
	if t.stage == running {
		most = maxPacket
	}
	e.out.packet(nil, &t.from, appendError(nil, code, text, most))
}

// refuse answers a request of so many bytes that never becomes a transfer.
func (e *engine) refuse(from *address, asked int, code uint16, text string) {
	e.out.packet(nil, from, appendError(nil, code, text, asked))
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

// unsent takes in that a packet could not be sent. One to a client that cannot be reached
// now is as good as lost on the way; memory that is not there is a file that was cut short.
func (e *engine) unsent(l lost) {
	e.stats.unsent.Add(1)
	if l.t == nil || l.t.stage == over {
		return
	}
	if errors.Is(l.err, unix.EFAULT) {
		e.failed(l.t, cmp.Or(l.t.file.Check(), l.err))
		return
	}
	e.cfg.Log.Debug("packet is not sent", "protocol", "tftp", "client", l.t.from.addrPort(), "err", l.err)
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
