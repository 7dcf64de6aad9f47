package tftp

import (
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

// repetition is a block that is sent again, and acknowledged so long after that.
func (p *pace) repetition(answered time.Duration) {
	waited := p.patience()
	p.tries++
	p.answered(answered, waited+answered)
}

// TestPace: patience is the floor at least and never forgets a long round trip, until
// packets get lost; then it goes by the latest ones, until something was sent for nothing.
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

	p.repetition(ms)
	want("the first loss", 160*ms)
	p.repetition(ms)
	want("the second loss", 25*ms)
	p.tries = 3
	want("three times in vain", 400*ms)
	p.trip(40 * ms)
	if d := p.patience(); d < 80*ms {
		t.Errorf("a long round trip: patience %s, want twice as long at least", d)
	}
	p.tripsOf(2*epoch, ms)
	want("that was a while ago", 25*ms)

	p.repetition(ms / 4)
	if d := p.patience(); d < 50*ms {
		t.Errorf("a block was sent for nothing: patience %s, want twice what it took at least", d)
	}
	p.tripsOf(2*epoch, ms)
	want("a block was sent for nothing", 100*ms)
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
