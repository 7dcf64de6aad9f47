package serve

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
)

// counts is what a front end counts.
type counts struct {
	transfers   *prometheus.CounterVec // by protocol and result
	bytes       *prometheus.CounterVec // by protocol
	boots       prometheus.Counter
	kernels     prometheus.Counter
	bootSeconds prometheus.Histogram
	nothing     *prometheus.CounterVec // by why
	fetches     *prometheus.CounterVec // by result
	fetched     prometheus.Counter     // bytes
	damaged     prometheus.Counter
	evicted     prometheus.Counter // bytes
	rendered    prometheus.Counter
	unmade      prometheus.Counter
	alive       prometheus.Counter
	handovers   *prometheus.CounterVec // by result
}

// newCounts makes the counters and registers them.
func newCounts(r prometheus.Registerer) *counts {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	one := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	c := &counts{
		transfers: vec("piimg_transfers_total", "Transfers and requests that have ended.", "protocol", "result"),
		bytes:     vec("piimg_transfer_bytes_total", "Bytes that clients have taken.", "protocol"),
		boots:     one("piimg_boots_total", "Boots that have begun."),
		kernels:   one("piimg_boots_completed_total", "Boots in which the kernel was delivered to its last byte."),
		nothing:   vec("piimg_boards_refused_total", "Times that a board got nothing.", "why"),
		fetches:   vec("piimg_cache_fetches_total", "Blobs asked of the store.", "result"),
		fetched:   one("piimg_cache_fetched_bytes_total", "Bytes that came from the store."),
		damaged:   one("piimg_cache_damaged_total", "Cached blobs that were not what their name says, and were put into quarantine."),
		evicted:   one("piimg_cache_evicted_bytes_total", "Bytes removed from the cache to make room."),
		rendered:  one("piimg_rendered_files_total", "Files that were made for one board."),
		unmade:    one("piimg_boots_unmade_total", "Boots whose files could not all be made of what is known of the board."),
		alive:     one("piimg_boots_alive_total", "Boots after which the board has said that it is up."),
		handovers: vec("piimg_handovers_total", "Times that a board's secret files were asked for with its token.", "result"),
		bootSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "piimg_boot_seconds", Help: "Seconds from the first request of a boot to the last byte of the kernel.",
			Buckets: []float64{1, 2.5, 5, 10, 15, 20, 30, 45, 60, 90, 120, 300},
		}),
	}
	r.MustRegister(c.bootSeconds)
	return c
}

// transfer counts the end of a transfer, or of a request that got none.
func (c *counts) transfer(e Event) {
	c.transfers.WithLabelValues(e.Protocol, string(e.Result)).Inc()
	c.bytes.WithLabelValues(e.Protocol).Add(float64(e.Bytes))
}

// Meter takes what a protocol server measures.
func (f *Front) Meter() Meter { return meter{f.registry} }

// Metrics answers with everything that is measured, in the format of Prometheus. No label
// has a value that a client chose.
func (f *Front) Metrics() http.Handler { return meter{f.registry}.handler() }

var (
	staleDesc = prometheus.NewDesc("piimg_stale_seconds",
		"Seconds since the store last said what the environment runs: what boards get may be older than its head.", []string{"env"}, nil)
	behindDesc = prometheus.NewDesc("piimg_env_behind",
		"1 where boards do not get the head of the environment, for whatever reason.", []string{"env"}, nil)
	stepDesc     = prometheus.NewDesc("piimg_env_step", "Step of the environment that boards get, 0 where they get nothing.", []string{"env"}, nil)
	boardsDesc   = prometheus.NewDesc("piimg_boards", "Boards that the front end remembers.", nil, nil)
	sessionsDesc = prometheus.NewDesc("piimg_sessions", "Boards that are booting.", nil, nil)
	cachedDesc   = prometheus.NewDesc("piimg_cache_bytes", "Bytes of images in the cache.", nil, nil)
	limitDesc    = prometheus.NewDesc("piimg_cache_limit_bytes", "Bytes that they may have, 0 where only the file system sets a limit.", nil, nil)
	faultyDesc   = prometheus.NewDesc("piimg_boards_faulty", "Boards whose files cannot all be made of what is known of them.", nil, nil)
	readyDesc    = prometheus.NewDesc("piimg_ready", "1 where /readyz says so.", nil, nil)
)

// state is the part of the metrics that is read when somebody looks.
type state struct{ front *Front }

var _ prometheus.Collector = state{}

// Describe names what Collect yields.
func (state) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{staleDesc, behindDesc, stepDesc, boardsDesc, sessionsDesc, cachedDesc, limitDesc, faultyDesc, readyDesc} {
		ch <- d
	}
}

// Collect reads the state of the front end.
func (s state) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, e := range s.front.Environments() {
		gauge(staleDesc, e.Stale.Seconds(), e.Name)
		gauge(behindDesc, flag(e.Err != nil), e.Name)
		gauge(stepDesc, float64(e.Seq), e.Name)
	}
	now, sessions := s.front.cfg.Now(), 0
	all := s.front.allStations()
	for _, st := range all {
		if st.booting(now, s.front.cfg.Idle) {
			sessions++
		}
	}
	gauge(boardsDesc, float64(len(all)))
	gauge(sessionsDesc, float64(sessions))
	gauge(cachedDesc, float64(s.front.cache.size()))
	gauge(limitDesc, float64(s.front.cache.limit))
	gauge(faultyDesc, float64(s.front.faulty()))
	gauge(readyDesc, flag(s.front.Ready() == nil))
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}
