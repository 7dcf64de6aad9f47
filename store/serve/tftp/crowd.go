package tftp

import (
	"slices"
	"time"
)

const (
	largeFile   = 1 << 20                // bytes; smaller files do not wait for others
	promised    = 1_250_000_000          // bytes: what a gigabit carries in promiseTime
	promiseTime = 10 * time.Second       // in which a network carries what may be promised on it
	provenTime  = 5 * time.Second        // of what a network has been carrying
	fileTimeout = 30 * time.Second       // what the firmware gives a file, waiting included (TFTP_FILE_TIMEOUT)
	crowdEvery  = 10 * time.Millisecond  // a look at who waits
	rateOver    = 500 * time.Millisecond // the least that a rate is measured over
	reactWithin = 250 * time.Millisecond // an answer without a sign of life for so long may be to nobody
	silentFor   = 3 * time.Second        // and a client that is silent for so long may be gone
)

// crowd keeps a network from being shared by so many large files that nobody has one in
// time: the firmware gives a file up after 30 s, and boards that were started together would
// all miss that together, again and again. A large file is begun only where it and what is
// left of the others takes the network some seconds. The other requests wait without an
// answer, as for a turn.
type crowd struct {
	promise int64       // bytes that the network is taken to carry in promiseTime, if not more
	begun   []*transfer // of large files
	waiting []*transfer // in the order of their requests
	due     instant     // when to look at them again

	rate  float64 // bytes of large files a second that were acknowledged lately
	best  float64 // and that ever were
	since instant
	count int64
	short bool // files were given up on the way: the network does not carry what is promised
}

func newCrowd(promise, rate int64) crowd {
	if rate > 0 {
		promise = int64(float64(rate) * promiseTime.Seconds())
	}
	return crowd{promise: promise}
}

// look returns how many bytes the clients lack whose files were begun, and counts the large
// files that boards which wait are getting. Who may not be there, or has taken longer than
// any board waits, keeps nobody out.
func (c *crowd) look(now instant) (owed int64) {
	for _, t := range c.waiting {
		t.turn.board.large = 0
	}
	for _, t := range c.begun {
		if t.stage == offered && now-t.begun < reactWithin || t.stage == running && now-t.heard < silentFor && now-t.begun < fileTimeout {
			owed += t.left()
			t.turn.board.large++
		}
	}
	return owed
}

// fits says whether a large file of so many bytes may be begun while so many are owed.
func (c *crowd) fits(size, owed int64) bool {
	return owed == 0 || owed+size <= max(c.promise, int64(c.rate*provenTime.Seconds()))
}

// atOnce says whether the file of t, which was just found, may be begun. Where boards have
// given files up it is not begun beside others that it would come too late with.
func (c *crowd) atOnce(t *transfer, now instant) bool {
	if t.ready.wire < largeFile {
		return true
	}
	owed := c.look(now)
	return len(c.waiting) == 0 && c.fits(t.ready.wire, owed) && !(c.short && c.late(t, owed, c.best, now))
}

// begin takes note that t was begun, where its file is a large one.
func (c *crowd) begin(t *transfer) {
	if t.body.size() >= largeFile {
		t.large = true
		c.begun = append(c.begun, t)
	}
}

// delivered takes note of bytes of a large file that the client has.
func (c *crowd) delivered(bytes int64, now instant) {
	c.count += bytes
	if d := now - c.since; d >= rateOver {
		c.rate = max(float64(c.count)/d.Seconds(), c.rate*3/4)
		c.best = max(c.best, c.rate)
		c.since, c.count = now, 0
	}
}

// wait puts t, whose file was found, behind those that wait.
func (c *crowd) wait(t *transfer) {
	if len(c.waiting) == 0 {
		c.due = 0
	}
	c.waiting = append(c.waiting, t)
}

// leave forgets t.
func (c *crowd) leave(t *transfer) {
	is := func(other *transfer) bool { return other == t }
	switch {
	case t.stage == crowded:
		c.waiting = slices.DeleteFunc(c.waiting, is)
	case t.large:
		c.begun = slices.DeleteFunc(c.begun, is)
	}
}

// gaveUp takes those out who have not asked again for so long that they must have given up.
func (c *crowd) gaveUp(now instant) (gone []*transfer) {
	c.waiting = slices.DeleteFunc(c.waiting, func(t *transfer) bool {
		if now-t.repeated <= askedAfter {
			return false
		}
		t.stage = over
		gone = append(gone, t)
		return true
	})
	return gone
}

// doubtful is the one who has waited for longest without asking again, and nil where none is
// that a client would have been expected to ask again by now.
func (c *crowd) doubtful(now instant) *transfer {
	for _, t := range c.waiting {
		switch {
		case now-t.arrived <= silentFor:
			return nil // and so are those behind it
		case !t.askedAgain():
			return t
		}
	}
	return nil
}

// next is who is to begin, and nil where nobody can: those who have asked again before those
// who may be addresses that somebody made up, boards that are getting no large file before
// those that are, and then the first to have come. It is nobody who would give up before the
// file is there, which only takes it from others, and nobody whose board has as many
// transfers as one may have.
func (c *crowd) next(now instant, each int) *transfer {
	owed := c.look(now)
	var best *transfer
	for _, t := range c.waiting {
		if !c.late(t, owed, c.rate, now) && t.turn.board.running < each && (best == nil || t.before(best)) {
			best = t
		}
	}
	if best == nil || !c.fits(best.ready.wire, owed) {
		return nil
	}
	return best
}

// askedAgain says whether t is of a client that is there.
func (t *transfer) askedAgain() bool { return t.repeated > t.arrived }

// before says whether t is to begin before another one that came earlier.
func (t *transfer) before(other *transfer) bool {
	if t.askedAgain() != other.askedAgain() {
		return t.askedAgain()
	}
	return t.turn.board.large < other.turn.board.large
}

// late says whether the client of t has given up by the time that it could have its file from
// a network that carries so many bytes a second. Where less is owed than that is taken to
// carry in a second, the rate says what a few clients took, perhaps slow ones, and a late one
// takes little from them.
func (c *crowd) late(t *transfer, owed int64, rate float64, now instant) bool {
	const margin = 1.25 // what a network carries is not even
	waited := now - t.arrived
	if rate == 0 || owed <= c.promise/int64(promiseTime/time.Second) {
		return waited >= fileTimeout
	}
	return waited.Seconds()+margin*float64(owed+t.ready.wire)/rate > fileTimeout.Seconds()
}
