package serve

import (
	"net/netip"
	"sync"
)

// Quota counts what clients hold, such as requests that wait, and bounds it for each of
// them and for all. It is safe for concurrent use.
type Quota struct {
	each, all int

	mu    sync.Mutex
	total int
	held  map[netip.Addr]int
}

// NewQuota returns a Quota of so much for each client and for all of them.
func NewQuota(each, all int) *Quota {
	return &Quota{each: each, all: all, held: map[netip.Addr]int{}}
}

// Enter gives client one more, and says whether there was one left.
func (q *Quota) Enter(client netip.Addr) bool {
	client = plainAddr(client)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.total >= q.all || q.held[client] >= q.each {
		return false
	}
	q.total++
	q.held[client]++
	return true
}

// Leave takes back what Enter has given.
func (q *Quota) Leave(client netip.Addr) {
	client = plainAddr(client)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total--
	if q.held[client]--; q.held[client] == 0 {
		delete(q.held, client)
	}
}
