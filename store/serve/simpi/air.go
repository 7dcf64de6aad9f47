package simpi

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

// Network is what happens to a board's packets on their way, in both directions. The zero
// value is a network without faults.
type Network struct {
	Loss      float64       // share of the packets that get lost, 0 to 1
	Duplicate float64       // share that comes twice
	Reorder   float64       // share that comes late, behind what was sent after it
	Delay     time.Duration // of each packet, one way
}

func (n Network) check() error {
	for what, share := range map[string]float64{"loss": n.Loss, "duplicates": n.Duplicate, "reordering": n.Reorder} {
		if !(share >= 0 && share < 1) {
			return fmt.Errorf("%s of %v is not between 0 and 1", what, share)
		}
	}
	if n.Delay < 0 {
		return fmt.Errorf("delay %s is negative", n.Delay)
	}
	return nil
}

// air is the Network of one board, for the goroutine that boots it.
type air struct {
	Network
	rng *rand.Rand
}

func newAir(b Board) *air {
	if b.Network == (Network{}) {
		return nil
	}
	return &air{b.Network, rand.New(rand.NewPCG(b.Seed^0xa1b2, uint64(b.Serial)))}
}

// late is how long a packet that was overtaken lies about.
func (a *air) late() time.Duration { return 3*a.Delay + 5*time.Millisecond }

func (a *air) happens(share float64) bool { return share > 0 && a.rng.Float64() < share }

// arrival is a packet that has come in, and when the board sees it.
type arrival struct {
	data []byte
	from netip.AddrPort
	at   time.Time
}

// arrivals are packets on their way to a transfer, in the order in which it sees them.
type arrivals []arrival

// put adds what came in at now, as the network passes it on.
func (q *arrivals) put(a *air, now time.Time, data []byte, from netip.AddrPort) {
	if a.happens(a.Loss) {
		return
	}
	copies := 1
	if a.happens(a.Duplicate) {
		copies = 2
	}
	at := now.Add(a.Delay)
	if a.happens(a.Reorder) {
		at = at.Add(a.late())
	}
	for range copies {
		n := len(*q)
		for n > 0 && (*q)[n-1].at.After(at) {
			n--
		}
		*q = append(*q, arrival{})
		copy((*q)[n+1:], (*q)[n:])
		(*q)[n] = arrival{append([]byte(nil), data...), from, at}
	}
}

// due is the first packet if it has arrived at now.
func (q *arrivals) due(now time.Time) (arrival, bool) {
	if len(*q) == 0 || (*q)[0].at.After(now) {
		return arrival{}, false
	}
	first := (*q)[0]
	*q = (*q)[1:]
	return first, true
}

// next is when the first packet arrives, and end where there is none before that.
func (q arrivals) next(end time.Time) time.Time {
	if len(q) > 0 && q[0].at.Before(end) {
		return q[0].at
	}
	return end
}
