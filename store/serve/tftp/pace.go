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
type pace struct {
	first time.Duration // before there are enough round trips
	floor time.Duration
	top   time.Duration // of the back-off

	smooth, jitter time.Duration
	least, worst   time.Duration
	trips          int
	tries          int // since the last block that was acknowledged
}

// trusted is how many round trips make an estimate.
const trusted = 4

// trip takes note of a round trip of a block that was sent once.
func (p *pace) trip(d time.Duration) {
	p.tries = 0
	p.worst = max(p.worst, d)
	if p.trips == 0 {
		p.smooth, p.jitter, p.least = d, d/2, d
	} else {
		p.least = min(p.least, d)
		p.jitter += ((p.smooth - d).Abs() - p.jitter) / 4
		p.smooth += (d - p.smooth) / 8
	}
	p.trips++
}

// answered takes note of an acknowledgement that came so long after a block was sent
// again, and for the first time. Which of the two it belongs to is not known, but where
// it came in less than half of the shortest round trip, it was on its way already.
func (p *pace) answered(again, first time.Duration) {
	p.tries = 0
	if p.trips > 0 && again < p.least/2 {
		p.worst = max(p.worst, first)
	}
}

// patience is how long the last block is waited for.
func (p *pace) patience() time.Duration {
	d := p.first
	if p.trips >= trusted {
		d = max(p.floor, p.smooth+4*p.jitter, 2*p.worst)
	}
	return max(d, min(d<<p.tries, p.top))
}
