package tftp_test

import (
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"piimg/store/serve/servetest"
)

// TestMeasure: what the server counts is among the metrics of the front end, and each metric
// has its line in the README.
func TestMeasure(t *testing.T) {
	body := servetest.Pattern(5000)
	front, _ := servetest.NewFront(t, map[string][]byte{"vmlinuz": body})
	s := listen(t, unhurried, front)
	s.Measure(front.Meter())
	if err := fetch(s, "vmlinuz", body); err != nil {
		t.Fatal(err)
	}
	r := newRaw(t, s.Addr())
	r.request(opRRQ, servetest.BoardID+"/recovery.elf")
	r.want(opERROR, 1)

	seen := ""
	servetest.Await(t, "an end of the waiting", func() bool { // it is counted once the answer is out
		rec := httptest.NewRecorder()
		front.Metrics().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
		seen = rec.Body.String()
		return strings.Contains(seen, "\npiimg_tftp_waiting 0\n")
	})
	for _, want := range []string{
		"piimg_tftp_requests_total 2", "piimg_tftp_unknown_networks_total 0", "piimg_tftp_dropped_total 0", "piimg_tftp_evicted_total 0",
		"piimg_tftp_repeated_packets_total 0", "piimg_tftp_timeouts_total 0", "piimg_tftp_unsent_packets_total 0",
		"piimg_tftp_sent_bytes_total 5016", // four blocks
	} {
		if !strings.Contains(seen, "\n"+want+"\n") {
			t.Errorf("there is no %q in\n%s", want, seen)
		}
	}
	if problems, err := promlint.New(strings.NewReader(seen)).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("metrics as Prometheus wants them: %v %v", problems, err)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`# TYPE (piimg_\w+)`).FindAllStringSubmatch(seen, -1) {
		if !strings.Contains(string(readme), m[1]) {
			t.Errorf("the README does not name %s", m[1])
		}
	}
}
