package serve

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Meter takes the measurements of those who serve the files of a front end, for its
// /metrics. Names start with piimg_ and the protocol, as Prometheus has them:
// piimg_tftp_retransmissions_total. Labels are pairs of a name and a value; values come
// from a short list that is fixed in the program, never from a client. Each name with the
// same labels is asked for once, and measurements of one name have the same label names.
type Meter interface {
	// Counter is a number that only grows.
	Counter(name, help string, labels ...string) Counter
	// Gauge is a number that read says when somebody looks. It is called concurrently.
	Gauge(name, help string, read func() float64, labels ...string)
}

// Counter grows. It is safe for concurrent use.
type Counter interface{ Add(n float64) }

// NoMeter is a Meter that forgets everything.
type NoMeter struct{}

var _ Meter = NoMeter{}

// Counter is one that nobody reads.
func (NoMeter) Counter(string, string, ...string) Counter { return noCounter{} }

// Gauge is one that nobody reads.
func (NoMeter) Gauge(string, string, func() float64, ...string) {}

type noCounter struct{}

func (noCounter) Add(float64) {}

// meter is the Meter of a front end, over a registry of its own.
type meter struct{ registry *prometheus.Registry }

func (m meter) Counter(name, help string, labels ...string) Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: pairs(labels)})
	m.registry.MustRegister(c)
	return c
}

func (m meter) Gauge(name, help string, read func() float64, labels ...string) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: pairs(labels)}, read))
}

func pairs(labels []string) prometheus.Labels {
	all := prometheus.Labels{}
	for n := 0; n+1 < len(labels); n += 2 {
		all[labels[n]] = labels[n+1]
	}
	return all
}

// handler answers with everything that was measured, in the format of Prometheus.
func (m meter) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}
