package tftp

import (
	"fmt"
	"testing"
	"time"
)

const ms = time.Millisecond

// tripsOf are n round trips of d each.
func (p *pace) tripsOf(n int, d time.Duration) {
	for range n {
		p.trip(d)
	}
}

// lossesOf are n blocks that got lost, and one between them that did not.
func (p *pace) lossesOf(n int) {
	for range n {
		p.repetition(ms)
		p.trip(ms)
	}
}

// repetition is a block that is sent again, and acknowledged so long after that.
func (p *pace) repetition(answered time.Duration) {
	waited := p.patience()
	p.tries++
	p.answered(answered, waited+answered)
}

// TestPace: patience is the floor at least and never forgets a long round trip, until many
// packets get lost; then it goes by the latest ones, until something was sent for nothing.
// After a block that was sent again it is longer until one was not.
func TestPace(t *testing.T) {
	p := &pace{first: time.Second, floor: 100 * ms, top: 5 * time.Second}
	want := func(what string, d time.Duration) {
		t.Helper()
		if got := p.patience(); got != d {
			t.Errorf("%s: patience %s, want %s", what, got, d)
		}
	}
	want("nothing is known", time.Second)
	p.tripsOf(3, ms)
	want("little is known", time.Second)
	p.tripsOf(100, ms)
	want("fast round trips", 100*ms)
	p.trip(80 * ms)
	p.tripsOf(500, ms)
	want("one was long, a long time ago", 160*ms)

	for n := range bad - 1 {
		p.repetition(ms)
		want("just after a loss", 322*ms)
		p.trip(ms)
		want(fmt.Sprintf("%d losses", n+1), 160*ms)
	}
	p.repetition(ms)
	p.trip(ms)
	want("many losses", 25*ms)
	p.tries = 3
	want("three times in vain", 400*ms)
	p.trip(40 * ms)
	if d := p.patience(); d < 80*ms {
		t.Errorf("a long round trip: patience %s, want twice as long at least", d)
	}
	p.tripsOf(2*epoch, ms)
	want("the losses were a while ago", 160*ms)
	p.lossesOf(bad)
	want("losses again", 25*ms)
	p.doubt()
	want("they were none", 160*ms)

	p.lossesOf(bad)
	p.repetition(ms / 4)
	if d := p.patience(); d < 50*ms {
		t.Errorf("a block was sent for nothing: patience %s, want twice what it took at least", d)
	}
	p.tripsOf(2*epoch, ms)
	p.lossesOf(bad)
	want("a block was sent for nothing", 100*ms)
}

// TestPaceOfALongerWay: answers that come after the patience is over show no round trips, and
// make it longer all the same.
func TestPaceOfALongerWay(t *testing.T) {
	p := &pace{first: time.Second, floor: 100 * ms, top: 5 * time.Second}
	p.tripsOf(100, ms)
	for _, way := range []time.Duration{150 * ms, 400 * ms, 900 * ms} {
		p.repetition(way - p.patience())
		if d := p.patience(); d < way {
			t.Errorf("after one answer that took %s patience is %s", way, d)
		}
		p.trip(way)
	}
}

// TestPaceOfSlowAnswers: an acknowledgement that is neither early nor as fast as others
// shows no loss; a client that rests now and then is not taken for a bad network.
func TestPaceOfSlowAnswers(t *testing.T) {
	p := &pace{first: time.Second, floor: 100 * ms, top: 5 * time.Second}
	p.tripsOf(100, ms)
	for range 10 {
		p.repetition(30 * ms)
	}
	if d := p.patience(); d < p.floor {
		t.Errorf("patience %s, want the floor at least", d)
	}
}

// TestPaceOfAskingAgain: an acknowledgement that comes as late as a client that asks again
// says nothing about round trips, neither that of a block that was sent once nor that of
// one that was just sent again.
func TestPaceOfAskingAgain(t *testing.T) {
	p := &pace{first: time.Second, floor: 100 * ms, top: 5 * time.Second}
	p.tripsOf(100, ms)
	p.trip(2003 * ms)
	p.tries++
	p.answered(ms/4, 2003*ms)
	if d := p.patience(); d != p.floor {
		t.Errorf("patience %s, want the floor", d)
	}
}
