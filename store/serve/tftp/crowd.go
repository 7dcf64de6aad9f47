package tftp

import (
	"slices"
	"time"
)

const (
	largeFile   = 1 << 20                // bytes; smaller files do not wait for others
	promised    = 1_250_000_000          // bytes: what a gigabit carries in promiseTime
	promiseTime = 10 * time.Second       // of a network whose rate is set
	provenTime  = 5 * time.Second        // of what a network has been carrying
	fileTimeout = 30 * time.Second       // what the firmware gives a file, waiting included (TFTP_FILE_TIMEOUT)
	crowdEvery  = 10 * time.Millisecond  // a look at who waits
	rateOver    = 500 * time.Millisecond // the least that a rate is measured over
)

// crowd keeps a network from being shared by so many large files that nobody has one in
// time: the firmware gives a file up after 30 s, and boards that were started together would
// all miss that together, again and again. A large file is begun only where it and what is
// left of the others takes the network some seconds. The other requests wait without an
// answer, as for a turn.
type crowd struct {
	floor   int64       // bytes that may be promised whatever the rate is
	owed    int64       // bytes of large files that were begun and are not acknowledged
	waiting []*transfer // in the order of their requests
	due     instant     // when to look at them again

	rate  float64 // bytes a second that were acknowledged lately
	since instant
	count int64
}

func newCrowd(floor, rate int64) crowd {
	if rate > 0 {
		floor = int64(float64(rate) * promiseTime.Seconds())
	}
	return crowd{floor: floor}
}

// fits says whether a file of so many bytes may be begun now.
func (c *crowd) fits(size int64) bool {
	return size < largeFile || c.owed == 0 || c.owed+size <= max(c.floor, int64(c.rate*provenTime.Seconds()))
}

// begin takes note that the file of t was begun.
func (c *crowd) begin(t *transfer, size int64) {
	if size >= largeFile {
		t.owed = size
		c.owed += size
	}
}

// delivered takes note of bytes of t that the client has.
func (c *crowd) delivered(t *transfer, bytes int64, now instant) {
	t.owed -= bytes
	c.owed -= bytes
	c.count += bytes
	if d := now - c.since; d >= rateOver {
		c.rate = max(float64(c.count)/d.Seconds(), c.rate*3/4)
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
	c.owed -= t.owed
	t.owed = 0
	if t.stage == crowded {
		c.waiting = slices.DeleteFunc(c.waiting, func(other *transfer) bool { return other == t })
	}
}

// next is who is to begin, and nil where nobody can: the first to have come, but those who
// have asked again before those who may be addresses that somebody made up. It is nobody
// who would give up before the file is there, which only takes it from others.
func (c *crowd) next(now instant) *transfer {
	var best *transfer
	for _, t := range c.waiting {
		if !c.late(t, now) && (best == nil || rank(t, now) < rank(best, now)) {
			best = t
		}
	}
	if best == nil || !c.fits(best.ready.wire) {
		return nil
	}
	return best
}

// rank is the place of the kind of request that t is.
func rank(t *transfer, now instant) int {
	switch {
	case now-t.arrived >= fileTimeout: // of a client that waits for longer
		return 2
	case t.repeated == t.arrived:
		return 1
	}
	return 0
}

// late says whether the client of t has given up by the time that it could have its file.
func (c *crowd) late(t *transfer, now instant) bool {
	waited := now - t.arrived
	if c.rate == 0 || waited > fileTimeout+fileTimeout/8 {
		return false
	}
	const margin = 1.25 // what a network carries is not even
	return waited.Seconds()+margin*float64(c.owed+t.ready.wire)/c.rate > fileTimeout.Seconds()
}
