package tftp

import (
	"container/list"
	"time"

	"piimg/store/serve"
)

// instant is a time since the server was made.
type instant = time.Duration

// never is no deadline.
const never instant = 1<<63 - 1

// stage is how far a request has come.
type stage int

const (
	waiting stage = iota // for its turn
	opening              // the front end looks for the file
	held                 // the front end has trouble: the request is tried again
	crowded              // its file is there, and others get theirs first
	offered              // answered, and the client has not shown yet that it is there
	running
	over
)

// transfer is a request and what becomes of it. It belongs to the engine.
type transfer struct {
	from    address
	req     request
	asked   int // bytes of the request
	turn    turn
	network *network

	stage    stage
	arrived  instant
	repeated instant // when the client asked for the last time

	ready opened // while crowded
	large bool   // its file is one

	file *serve.File
	body body
	terms
	last int64 // number of the last block; they count from 1

	acked int64   // blocks that the client has
	sent  int64   // blocks on their way, the last one's number; lower again after a loss
	top   int64   // the highest that was ever sent
	timed int64   // the block whose round trip is measured; 0 where none is
	since instant // when it was sent for the first time
	again instant // when a block was sent for the last time
	begun instant // when it was answered
	heard instant // when the client acknowledged something that it had not before
	slid  bool    // a repeated ACK has made the window be sent again since the last new one
	pace  pace

	twice int64 // the last block that was acknowledged after it was sent again

	deadline instant
	heap     int // place in the engine's timers, -1 where it has none
	queued   bool
	offer    *list.Element // in the engine's offers, nil where it is in none
	credit   int           // bytes lent for an answer that is longer than the question
}

// event is what a transfer has to do after a packet or a deadline.
type event int

const (
	nothing event = iota
	push          // send the blocks that may be on their way
	finish        // the client has everything
	abandon       // the client is gone
)

// begin makes t a transfer of f, once that is open.
func (t *transfer) begin(f *serve.File, b body, agreed terms, p pace, now instant) {
	t.file, t.body, t.terms, t.pace = f, b, agreed, p
	t.last = b.size()/int64(t.blksize) + 1
	t.stage, t.begun, t.since, t.again = offered, now, now, now
}

// ack takes in the number of a block that the client acknowledges.
func (t *transfer) ack(number uint16, now instant) event {
	if t.stage == offered && t.oack != nil {
		return t.accepted(number, now)
	}
	ahead := int64(number - uint16(t.acked))
	switch {
	case ahead == 0:
		if t.twice == t.acked && now-t.again < ownAccord {
			t.pace.doubt()
		}
		return t.repeat(now)
	case ahead > t.top-t.acked:
		return nothing // an old one, or none of ours
	}
	t.measure(t.acked+ahead, now)
	t.stage, t.heard = running, now
	t.acked += ahead
	t.slid = t.acked < t.sent
	if t.acked == t.last {
		return finish
	}
	// A client that acknowledges less than it was sent lacks the next block (RFC 7440).
	t.sent = t.acked
	return push
}

// accepted is the ACK of the options. Its round trip does not count: nothing repeats the
// options but the client, whose ACK may be a late second one.
func (t *transfer) accepted(number uint16, now instant) event {
	if number != 0 {
		return nothing
	}
	t.stage, t.heard = running, now
	return push
}

// repeat is an ACK that the client has sent before. Answering each of them would double
// every block from then on (the sorcerer's apprentice); but a client that asks again when
// the answer must have been lost is right, and so is one with a window of which the first
// block was lost.
func (t *transfer) repeat(now instant) event {
	if t.sent == t.acked || t.stage != running {
		return nothing
	}
	lost := now-t.again > t.pace.patience()
	if !lost && (t.window == 1 || t.slid) {
		return nothing
	}
	t.slid = true
	t.sent = t.acked
	return push
}

// measure takes the round trip of the timed block.
func (t *transfer) measure(acked int64, now instant) {
	switch {
	case t.pace.tries > 0:
		t.twice = acked
		t.pace.answered(now-t.again, now-t.since)
	case t.timed != 0 && acked >= t.timed:
		t.pace.trip(now - t.since)
	default:
		return
	}
	t.timed = 0
}

// window is the numbers of the blocks that are to be sent now.
func (t *transfer) pending() (first, last int64) {
	return t.sent + 1, min(t.acked+int64(t.window), t.last)
}

// pushed says that the blocks up to number were sent.
func (t *transfer) pushed(number int64, now instant) {
	fresh := number > t.top
	if fresh && t.timed == 0 && t.pace.tries == 0 {
		t.timed, t.since = number, now
	}
	if !fresh && t.timed != 0 && t.timed <= number {
		t.timed = 0 // sent twice: its round trip says nothing
	}
	t.sent, t.top = number, max(t.top, number)
	t.again = now
	t.deadline = now + t.pace.patience()
}

// expire is the end of patience.
func (t *transfer) expire(retries int) event {
	// Nothing is sent again to a client that has not shown that it is there: it asks
	// again itself, and an address that somebody made up is not flooded.
	if t.stage == offered || t.pace.tries >= retries {
		return abandon
	}
	t.pace.tries++
	t.sent = t.acked
	return push
}

// left is how many bytes the client lacks.
func (t *transfer) left() int64 { return t.body.size() - t.taken() }

// taken is how many bytes the client has acknowledged.
func (t *transfer) taken() int64 {
	if t.body == nil {
		return 0
	}
	return min(t.acked*int64(t.blksize), t.body.size())
}
