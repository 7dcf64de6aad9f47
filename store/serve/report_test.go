package serve_test

import (
	"encoding/json"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"piimg/store/serve"
)

// Front ends tell what they have seen, those boards too that only an earlier process saw, and
// nothing that is a secret of a board.
func TestReport(t *testing.T) {
	w, _ := rack(t, func(c *serve.Config) {
		c.Fleet = listing{c.Fleet.(*fleet)}
		c.Networks = []serve.Network{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Secrets: true}}
	})
	w.fleet.assign("91cdf03d", serve.Assignment{Also: []string{"e4-5f-01-09-02-f7"}, Vars: map[string]string{"site": "canary-site"}})
	w.again()
	ask := func(method, path string) (int, []serve.Boot, string) {
		t.Helper()
		rec := httptest.NewRecorder()
		w.front.Report(true).ServeHTTP(rec, httptest.NewRequest(method, serve.BoardsPath+path, nil))
		var boots []serve.Boot
		if err := json.Unmarshal(rec.Body.Bytes(), &boots); err != nil && rec.Code == 200 && method == "GET" {
			t.Errorf("%s: %v in %s", path, err, rec.Body)
		}
		return rec.Code, boots, rec.Body.String()
	}
	if code, boots, text := ask("GET", ""); code != 200 || len(boots) != 0 || text != "[]" {
		t.Errorf("before anybody came: %d %s", code, text)
	}
	line := w.fetch("91cdf03d/cmdline.txt")
	w.fetch("91cdf03d/initramfs.gz")
	w.fetch("0000000a/config.txt")
	w.restart()
	w.again()
	w.fetch("0000000b/fixup4.dat")
	w.clock.pass(time.Minute)
	_, token, _ := strings.Cut(strings.TrimSpace(line), "piimg.token=")
	for _, path := range []string{"", "/", "/91cdf03d", "/E4-5F-01-09-02-F7", "/e4-5f-01-09-02-f7", "/0000000b"} {
		code, boots, text := ask("GET", path)
		if code != 200 || strings.Contains(text, token) || strings.Contains(text, "canary") {
			t.Errorf("%s: %d %s", path, code, text)
		}
		switch {
		case strings.Trim(path, "/") == "":
			if len(boots) != 3 || len(boots[0].Events) != 0 {
				t.Errorf("all boards: %s", text)
			}
		case len(boots) != 1 || len(boots[0].Events) == 0:
			t.Errorf("%s: %s", path, text)
		case boots[0].Board == "0000000b" && (len(boots[0].Diagnosis) != 1 || boots[0].Diagnosis[0].Row != 16):
			t.Errorf("what is wrong is not said: %s", text)
		}
		if code, _, text := ask("HEAD", path); code != 200 || text != "" {
			t.Errorf("HEAD %s: %d %s", path, code, text)
		}
	}
	for _, path := range []string{"/00000001", "/x", "/91cdf03d/", "/../91cdf03d", "/91cdf03d.json"} {
		if code, _, text := ask("GET", path); code != 404 || text != `{"error":"not found"}` {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
	// What is not shared is not the answer of one that has seen nothing.
	rec := httptest.NewRecorder()
	w.front.Report(false).ServeHTTP(rec, httptest.NewRequest("GET", serve.BoardsPath, nil))
	if kind := rec.Header().Get("Content-Type"); rec.Code != 404 || kind == "application/json" {
		t.Errorf("not shared: %d as %s", rec.Code, kind)
	}
}
