package tftp

import (
	"cmp"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"piimg/store/serve"
)

const offerFor = 10 * time.Second // an answer waits so long for a sign of life

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
