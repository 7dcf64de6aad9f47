package tftp

import "container/heap"

// timers orders transfers by their deadlines. A deadline that moves on, as one does with
// every acknowledgement, costs nothing: a transfer keeps its place until that is due.
type timers struct{ all timerHeap }

type timer struct {
	t  *transfer
	at instant
}

// set takes over the deadline of t.
func (q *timers) set(t *transfer) {
	switch {
	case t.heap < 0 && t.deadline != never:
		heap.Push(&q.all, timer{t, t.deadline})
	case t.heap >= 0 && t.deadline < q.all[t.heap].at:
		q.all[t.heap].at = t.deadline
		heap.Fix(&q.all, t.heap)
	}
}

// due takes a transfer out whose deadline is over, and is nil where there is none.
func (q *timers) due(now instant) *transfer {
	for len(q.all) > 0 && q.all[0].at <= now {
		t := q.all[0].t
		if t.deadline <= now {
			heap.Pop(&q.all)
			return t
		}
		q.all[0].at = t.deadline
		heap.Fix(&q.all, 0)
	}
	return nil
}

// next is when to look again; it may be too early.
func (q *timers) next() instant {
	if len(q.all) == 0 {
		return never
	}
	return q.all[0].at
}

func (q *timers) remove(t *transfer) {
	if t.heap >= 0 {
		heap.Remove(&q.all, t.heap)
	}
}

// timerHeap is a heap of container/heap.
type timerHeap []timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].t.heap, h[j].t.heap = i, j
}

// Push is for container/heap.
func (h *timerHeap) Push(x any) {
	t := x.(timer)
	t.t.heap = len(*h)
	*h = append(*h, t)
}

// Pop is for container/heap.
func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = timer{}
	*h = (*h)[:last]
	t.t.heap = -1
	return t
}
