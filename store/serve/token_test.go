package serve_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"piimg/store/serve"
)

// handing is a rack whose front end hands secret files over, with one that depends on a file
// of this host.
func handing(t *testing.T) (w *world, log interface{ String() string }, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, buf := rack(t, func(c *serve.Config) {
		c.Handover = 5 * time.Minute
		c.SecretsURL = func(netip.Addr) string { return "https://10.0.0.1:8443/report/secrets" }
		c.Networks = []serve.Network{{Prefix: netip.MustParsePrefix("10.7.0.0/16"), Secrets: true}}
		c.Files = append(c.Files, serve.OwnFile{Path: "root/key", Mode: 0o400, From: file, Secret: true})
	})
	return w, buf, file
}

// token is what the board has in its command line.
func (w *world) token(board string) string {
	w.t.Helper()
	_, token, ok := strings.Cut(strings.TrimSpace(w.fetch(board+"/cmdline.txt")), " piimg.token=")
	if !ok {
		w.t.Fatal("no token")
	}
	return token
}

// post asks the front end, over HTTPS where secure is set.
func (w *world) post(path, token string, secure bool) (int, string) {
	q := httptest.NewRequest(http.MethodPost, path, nil)
	q.RemoteAddr = client.String()
	q.TLS = nil
	if secure {
		q.TLS = &tls.ConnectionState{}
	}
	q.Header.Set("Authorization", "Bearer "+token)
	rec := httptest.NewRecorder()
	w.front.Report(false).ServeHTTP(rec, q)
	return rec.Code, rec.Body.String()
}

// A board says that it is up, with the token of its boot and no other.
func TestAlive(t *testing.T) {
	w, log, _ := handing(t)
	token := w.token("91cdf03d")
	w.fetch("91cdf03d/vmlinuz")
	for _, wrong := range []string{"", "x", "91cdf03d", "91cdf03d-", token[:len(token)-1], "00000001" + token[8:], strings.ToLower(token), w.token("0000000a")[:8] + token[8:], strings.Repeat("x", 5000)} {
		if code, text := w.post(serve.ReportPath, wrong, false); code != 403 || strings.Contains(text, token) {
			t.Errorf("%.80q: %d %s", wrong, code, text)
		}
	}
	w.restart()
	w.clock.pass(20 * time.Second)
	for range 2 {
		if code, text := w.post(serve.ReportPath, token, false); code != 200 || text != "ok\n" {
			t.Errorf("%d %s", code, text)
		}
	}
	boots := w.front.Trail("91cdf03d")
	if b := boots[len(boots)-1]; b.Milestone != serve.Alive || b.Events[len(b.Events)-1].Name != "report" {
		t.Errorf("the trail says %s: %+v", b.Milestone, b.Events)
	}
	w.wantMetrics("piimg_boots_alive_total 1")
	if !strings.Contains(log.String(), `msg="board is up" board=91cdf03d`) {
		t.Errorf("log:\n%s", log)
	}

	// The next boot does not come up, and that is seen.
	w.clock.pass(time.Hour)
	next := w.token("91cdf03d")
	w.fetch("91cdf03d/vmlinuz")
	if code, _ := w.post(serve.ReportPath, token, false); code != 403 || next == token {
		t.Errorf("the token of the boot before: %d", code)
	}
	w.clock.pass(4 * time.Minute)
	boots = w.front.Trail("91cdf03d")
	if found := boots[len(boots)-1].Diagnosis; len(found) != 1 || found[0].Row != 12 {
		t.Errorf("a board that stays silent: %+v", found)
	}
}

// Secret files are handed over once, over HTTPS, in time, to who has the token of the boot.
func TestHandOver(t *testing.T) {
	w, log, file := handing(t)
	line := w.fetch("91cdf03d/cmdline.txt")
	if !strings.Contains(line, " piimg.secrets=https://10.0.0.1:8443/report/secrets piimg.token=91cdf03d-") {
		t.Fatalf("cmdline.txt: %q", line)
	}
	token := w.token("91cdf03d")
	if code, text := w.post(serve.SecretsPath, token, false); code != 404 {
		t.Errorf("over HTTP: %d %s", code, text)
	}
	if code, text := w.post(serve.SecretsPath, token+"x", true); code != 403 {
		t.Errorf("with another token: %d %s", code, text)
	}
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	if code, text := w.post(serve.SecretsPath, token, true); code != 503 || strings.Contains(text, file) {
		t.Errorf("while a file is missing: %d %s", code, text)
	}
	if err := os.Rename(file+".away", file); err != nil {
		t.Fatal(err)
	}
	w.restart()

	var mu sync.Mutex
	codes, handed := map[int]int{}, ""
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			code, text := w.post(serve.SecretsPath, token, true)
			mu.Lock()
			defer mu.Unlock()
			if codes[code]++; code == 200 {
				handed = text
			}
		})
	}
	wg.Wait()
	if codes[200] != 1 || codes[410] != 19 {
		t.Errorf("20 at once: %v", codes)
	}
	into := t.TempDir()
	unpack := exec.Command("cpio", "-idm", "--quiet", "-D", into)
	unpack.Stdin = strings.NewReader(handed)
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	for name, want := range map[string]string{"etc/ssh/host_key": "-rw------- canary-of-91cdf03d", "root/key": "-r-------- canary"} {
		path := filepath.Join(into, name)
		body, err := os.ReadFile(path)
		info, err2 := os.Stat(path)
		if err != nil || err2 != nil || info.Mode().String()+" "+string(body) != want {
			t.Errorf("%s: %v, %v, want %s", name, err, err2, want)
		}
	}
	if strings.Contains(handed, "lobby") || strings.Contains(handed, "hostname") {
		t.Error("files that are no secret were handed over")
	}
	w.restart()
	if code, _ := w.post(serve.SecretsPath, token, true); code != 410 {
		t.Errorf("again, after a restart: %d", code)
	}
	w.clock.pass(time.Minute)
	late := w.token("91cdf03d")
	w.clock.pass(6 * time.Minute)
	if code, _ := w.post(serve.SecretsPath, late, true); code != 410 {
		t.Errorf("too late: %d", code)
	}
	for _, secret := range []string{token, "canary"} {
		if strings.Contains(log.String(), secret) || strings.Contains(w.scrape(), secret) {
			t.Errorf("%s is in the log or in a metric:\n%s", secret, log)
		}
	}
	if !strings.Contains(log.String(), `msg="secret files are handed over" board=91cdf03d client=10.1.2.3:49152 result=ok`) {
		t.Errorf("log:\n%s", log)
	}
	events := 0
	for _, e := range w.front.Trail("91cdf03d")[0].Events {
		if e.Name == "report/secrets" {
			events++
		}
	}
	if events < 20 {
		t.Errorf("the trail has %d of the requests", events)
	}
}

// Nothing is handed over that came with the initramfs, and nothing where that is off.
func TestNothingToHandOver(t *testing.T) {
	w, _, _ := handing(t)
	f, err := w.openFrom(netip.MustParseAddrPort("10.7.0.1:99"), "0000000c/cmdline.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	line := make([]byte, f.Size)
	if _, err := f.ReadAt(line, 0); err != nil || strings.Contains(string(line), "piimg.secrets") {
		t.Fatalf("%q, %v", line, err)
	}
	_, token, _ := strings.Cut(strings.TrimSpace(string(line)), " piimg.token=")
	if code, _ := w.post(serve.SecretsPath, token, true); code != 404 {
		t.Errorf("where secrets are sent: %d", code)
	}
	off, _ := rack(t)
	if code, _ := off.post(serve.SecretsPath, off.token("91cdf03d"), true); code != 404 {
		t.Errorf("where nothing is handed over: %d", code)
	}
}
