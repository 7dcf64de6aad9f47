package tftp

import "time"

// pace says when a block without an answer is sent again: as late as the round trips of
// the transfer itself ask for, and never before an acknowledgement that is late can be
// there, because start4.elf can hang on a block that comes twice.
//
// It is the estimator of TCP (RFC 6298) with Karn's rule, and more careful in three
// ways: it trusts no estimate before it has seen a few round trips, it waits twice as
// long as the longest of them took, and a block that was sent again for nothing counts
// as a long one.
//
// A way that has suddenly become longer than the patience with it shows no round trips: each
// block is sent again before its acknowledgement is there. So what a block took that was sent
// again counts as a long one too, until one comes that was sent once.
//
// Where many packets get lost a board meets blocks twice whatever a server does, since it may
// be an acknowledgement that was lost; and a board that waits for too long gives the file up.
// So while a transfer shows many losses it waits for twice the longest of its latest round
// trips only, and for a quarter of the floor at least, or all of it once a block was sent
// again for nothing.
type pace struct {
	first time.Duration // before there are enough round trips
	floor time.Duration
	top   time.Duration // of the back-off

	smooth, jitter time.Duration
	least, worst   time.Duration
	latest, before time.Duration // the longest of the latest round trips, and of those before them
	unsure         time.Duration // what the last block took, where it was sent again
	trips          int
	tries          int  // since the last block that was acknowledged
	losses, older  int  // blocks whose repetition was answered in the time that a round trip takes, among the latest and before
	hasty          bool // a block was sent again for nothing
}

const (
	trusted = 4  // round trips that make an estimate
	epoch   = 32 // round trips that are the latest ones
	bad     = 4  // losses among the latest round trips and those before them that make a network a bad one

	// After so long a client may have sent an acknowledgement again by itself, because it
	// was lost (the firmware does after 2 s): how long that took says nothing of the way.
	ownAccord = time.Second
)

// trip takes note of a round trip of a block that was sent once.
func (p *pace) trip(d time.Duration) {
	p.tries = 0
	if d >= ownAccord {
		return
	}
	if p.trips == 0 {
		p.smooth, p.jitter, p.least = d, d/2, d
	} else {
		p.least = min(p.least, d)
		p.jitter += ((p.smooth - d).Abs() - p.jitter) / 4
		p.smooth += (d - p.smooth) / 8
	}
	if p.trips%epoch == 0 {
		p.before, p.latest = p.latest, 0
		p.older, p.losses = p.losses, 0
	}
	p.trips++
	p.unsure = 0
	p.worst, p.latest = max(p.worst, d), max(p.latest, d)
}

// answered takes note of an acknowledgement that came so long after a block was sent
// again, and for the first time. Which of the two it belongs to is not known, but where
// it came in less than half of the shortest round trip, it was on its way already; and
// where it took as long as others do, it may have been the answer.
func (p *pace) answered(again, first time.Duration) {
	p.tries = 0
	if first >= ownAccord && again < p.least {
		return
	}
	p.unsure = min(first, ownAccord)
	switch {
	case p.trips == 0:
	case again < p.least/2:
		p.worst, p.latest, p.hasty = max(p.worst, first), max(p.latest, first), true
	case again <= p.usual():
		p.losses++
	}
}

// doubt takes note that the last block which was sent again was acknowledged twice: the
// first acknowledgement may have been on the way, and what seemed to be losses were none.
func (p *pace) doubt() { p.losses, p.older = 0, 0 }

// usual is what a round trip takes at most, but for a few.
func (p *pace) usual() time.Duration { return p.smooth + 4*p.jitter }

// patience is how long the last block is waited for.
func (p *pace) patience() time.Duration {
	d := max(p.first, 2*p.unsure)
	if p.trips >= trusted {
		floor, longest := p.floor, p.worst
		if p.losses+p.older >= bad {
			longest = max(p.latest, p.before)
			if !p.hasty {
				floor /= 4
			}
		}
		d = max(floor, p.usual(), 2*longest, 2*p.unsure)
	}
	if p.tries == 0 {
		return d
	}
	// A way that is interrupted for some seconds is not given up early.
	return max(d, min(max(d, p.floor/2)<<p.tries, p.top))
}
