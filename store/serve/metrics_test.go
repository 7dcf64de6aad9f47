package serve_test

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// scrape is what /metrics says now.
func (w *world) scrape() string {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.front.Metrics().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != 200 {
		w.t.Fatalf("metrics: %d %s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}

func (w *world) wantMetrics(lines ...string) {
	w.t.Helper()
	got := w.scrape()
	for _, line := range lines {
		if !strings.Contains(got, line+"\n") {
			w.t.Errorf("metrics lack %q:\n%s", line, got)
		}
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	w.front.Meter().Counter("piimg_tftp_retransmissions_total", "Blocks sent again.", func() float64 { return 3 }, "why", "timeout")
	w.front.Meter().Gauge("piimg_tftp_waiting", "Requests that wait.", func() float64 { return 7 })
	w.promote("dev", "v1")
	w.want("91cdf03d/config.txt", "v1")
	w.clock.pass(4 * time.Second)
	w.want("91cdf03d/vmlinuz", "v1")
	w.wantMissing("91cdf03d/recovery.elf")
	w.wantMetrics(
		`piimg_tftp_retransmissions_total{why="timeout"} 3`,
		`piimg_tftp_waiting 7`,
		`piimg_transfers_total{protocol="tftp",result="ok"} 2`,
		`piimg_transfers_total{protocol="tftp",result="missing"} 1`,
		`piimg_boots_total 1`,
		`piimg_boots_completed_total 1`,
		`piimg_boot_seconds_sum 4`,
		`piimg_env_step{env="dev"} 1`,
		`piimg_sessions 1`,
		`piimg_ready 1`,
		`piimg_cache_fetches_total{result="ok"} 12`,
	)
	if problems, err := promlint.New(strings.NewReader(w.scrape())).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("metrics as Prometheus wants them: %v %v", problems, err)
	}
}

// TestStaleSeconds counts for how long the store has not said what is current, over a
// restart of the front end.
func TestStaleSeconds(t *testing.T) {
	w := newWorld(t)
	w.promote("dev", "v1")
	w.clock.pass(2 * time.Second)
	w.refresh()
	w.wantMetrics(`piimg_stale_seconds{env="dev"} 0`, `piimg_env_behind{env="dev"} 0`)

	w.fleet.goDown(errors.New("connection refused"))
	w.clock.pass(time.Hour)
	if err := w.front.Refresh(t.Context()); err == nil {
		t.Error("refresh without a store: no error")
	}
	w.wantMetrics(`piimg_stale_seconds{env="dev"} 3600`, `piimg_env_behind{env="dev"} 1`)
	w.restart()
	w.clock.pass(time.Minute)
	w.wantMetrics(`piimg_stale_seconds{env="dev"} 3660`)

	w.fleet.goDown(nil)
	w.refresh()
	w.wantMetrics(`piimg_stale_seconds{env="dev"} 0`, `piimg_env_behind{env="dev"} 0`)
}

// A Meter of one name with two sets of labels is one metric.
func TestMeterLabels(t *testing.T) {
	w := newWorld(t)
	m := w.front.Meter()
	m.Counter("piimg_tftp_errors_total", "Errors sent.", func() float64 { return 1 }, "code", "0")
	m.Counter("piimg_tftp_errors_total", "Errors sent.", func() float64 { return 2 }, "code", "1")
	w.wantMetrics(`piimg_tftp_errors_total{code="0"} 1`, `piimg_tftp_errors_total{code="1"} 2`)
}
