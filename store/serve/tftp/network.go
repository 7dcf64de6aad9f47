package tftp

import (
	"net/netip"
	"time"
)

// Network is a part of the address space and what it may use of the server.
type Network struct {
	Prefix netip.Prefix
	Rate   int64 // bytes of DATA packets a second to all of its clients; 0 has no limit
}

// network is a Network and its transfers that wait until it may send again.
type network struct {
	Network
	bucket bucket
	crowd  crowd
	ready  []*transfer // in the order of their turns
}

func newNetworks(configured []Network, promise int64) []*network {
	if len(configured) == 0 {
		configured = []Network{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}, {Prefix: netip.MustParsePrefix("::/0")}}
	}
	var all []*network
	for _, n := range configured {
		n.Prefix = n.Prefix.Masked()
		// A twentieth of a second's worth at once keeps the rate even, and eight large
		// blocks keep a slow network going.
		burst := max(n.Rate/20, 8*1472)
		all = append(all, &network{Network: n, bucket: bucket{rate: n.Rate, burst: burst, left: burst}, crowd: newCrowd(promise, n.Rate)})
	}
	return all
}

// networkOf is the smallest network that addr is in, and nil where it is in none.
func networkOf(all []*network, addr netip.Addr) *network {
	var found *network
	for _, n := range all {
		if n.Prefix.Contains(addr) && (found == nil || n.Prefix.Bits() > found.Prefix.Bits()) {
			found = n
		}
	}
	return found
}

// bucket holds what may be used at once, and fills up with time.
type bucket struct {
	rate  int64 // a second
	burst int64
	left  int64
	at    instant
}

// fill adds what has come since the last time.
func (b *bucket) fill(now instant) {
	if more := int64(float64(b.rate) * (now - b.at).Seconds()); more > 0 || b.left == b.burst {
		b.left, b.at = min(b.left+more, b.burst), now
	}
}

// when is the time at which something is left again.
func (b *bucket) when() instant {
	if b.left > 0 {
		return b.at
	}
	return b.at + instant(float64(1-b.left)/float64(b.rate)*float64(time.Second)) + time.Microsecond
}

// loan bounds what clients that may not exist are sent beyond what they have sent
// themselves: the first block for those that ask without options, such as the boot ROM
// of a Pi 3. What a client acknowledges is paid back, so that real ones never exhaust it.
type loan struct{ bucket }

// The loan is enough for the first blocks of 500 boards that start together, and grows by
// ten of them a second.
const (
	loanMost = 500 * (defaultBlock + headerLen)
	loanRate = 10 * (defaultBlock + headerLen)
)

func newLoan() *loan { return &loan{bucket{rate: loanRate, burst: loanMost, left: loanMost}} }

// take lends n bytes, and says whether there were as many.
func (l *loan) take(n int, now instant) bool {
	l.fill(now)
	if n > 0 && l.left < int64(n) {
		return false
	}
	l.left -= int64(max(n, 0))
	return true
}

func (l *loan) giveBack(n int) { l.left = min(l.left+int64(n), l.burst) }
