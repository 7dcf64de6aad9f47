package tftp

import (
	"sync/atomic"

	"piimg/store/serve"
)

// Measure shows what the server counts.
func (s *Server) Measure(m serve.Meter) {
	c := &s.stats
	for name, v := range map[string]struct {
		help string
		n    *atomic.Int64
	}{
		"piimg_tftp_requests_total":         {"Read requests of whatever kind.", &c.requests},
		"piimg_tftp_unknown_networks_total": {"Requests from networks that are not served.", &c.unknown},
		"piimg_tftp_dropped_total":          {"Requests beyond a limit, which were not answered.", &c.dropped},
		"piimg_tftp_evicted_total":          {"Answers that nobody reacted to, ended to make room.", &c.evicted},
		"piimg_tftp_sent_bytes_total":       {"Bytes of DATA packets, with those that were sent again.", &c.sent},
		"piimg_tftp_repeated_packets_total": {"DATA packets that were sent again.", &c.again},
		"piimg_tftp_timeouts_total":         {"Ends of the patience with a client.", &c.timeouts},
		"piimg_tftp_unsent_packets_total":   {"Packets that the system did not take.", &c.unsent},
	} {
		m.Counter(name, v.help, func() float64 { return float64(v.n.Load()) })
	}
	m.Gauge("piimg_tftp_transfers", "Transfers that run.", func() float64 { return float64(c.running.Load()) })
	m.Gauge("piimg_tftp_waiting", "Requests that wait for their turn.", func() float64 { return float64(c.waiting.Load()) })
}
