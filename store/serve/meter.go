package serve

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Meter shows the measurements of those who serve the files of a front end at its /metrics.
// Names start with piimg_ and the protocol, as Prometheus has them:
// piimg_tftp_repeated_packets_total. Labels are pairs of a name and a value; values come
// from a short list that is fixed in the program, never from a client. Each name with the
// same labels is shown once, and measurements of one name have the same label names. read is
// called whenever somebody looks, concurrently.
type Meter interface {
	// Counter is a number that only grows.
	Counter(name, help string, read func() float64, labels ...string)
	// Gauge is a number that goes up and down.
	Gauge(name, help string, read func() float64, labels ...string)
}

// meter is the Meter of a front end, over a registry of its own.
type meter struct{ registry *prometheus.Registry }

func (m meter) Counter(name, help string, read func() float64, labels ...string) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: pairs(labels)}, read))
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
