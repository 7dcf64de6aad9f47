package tftp

import (
	"sync/atomic"

	"piimg/store/serve"
)

// Stats counts what a server has done since its start.
type Stats struct {
	Requests int64 // read requests of whatever kind
	Refused  int64 // of networks that are not served
	Dropped  int64 // beyond a limit; they were not answered
	Evicted  int64 // answers that nobody reacted to, ended to make room
	Missing  int64 // there is no such file
	Trouble  int64 // the front end could not serve the file
	Ended    map[serve.Result]int64

	Bytes    int64 // of DATA packets, with those that were sent again
	Repeated int64 // DATA packets that were sent again
	Timeouts int64 // ends of the patience with a client
	Running  int64 // transfers
	Waiting  int64 // requests that wait for their turn
	Unsent   int64 // packets that the system did not take
}

// counters are Stats that count.
type counters struct {
	requests, unknown, dropped, evicted, missing, trouble atomic.Int64
	ok, probe, aborted, broken                            atomic.Int64
	sent, again, timeouts, running, waiting, unsent       atomic.Int64
}

func (c *counters) ended(r serve.Result) {
	switch r {
	case serve.OK:
		c.ok.Add(1)
	case serve.Probe:
		c.probe.Add(1)
	case serve.Failed:
		c.broken.Add(1)
	default:
		c.aborted.Add(1)
	}
}

// Stats is safe for concurrent use.
func (s *Server) Stats() Stats {
	c := &s.stats
	return Stats{
		Requests: c.requests.Load(), Refused: c.unknown.Load(), Dropped: c.dropped.Load(), Evicted: c.evicted.Load(),
		Missing: c.missing.Load(), Trouble: c.trouble.Load(),
		Ended: map[serve.Result]int64{
			serve.OK: c.ok.Load(), serve.Probe: c.probe.Load(), serve.Aborted: c.aborted.Load(), serve.Failed: c.broken.Load(),
		},
		Bytes: c.sent.Load(), Repeated: c.again.Load(), Timeouts: c.timeouts.Load(),
		Running: c.running.Load(), Waiting: c.waiting.Load(), Unsent: c.unsent.Load(),
	}
}
