package serve_test

import (
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/serve"
)

// view is the image named d as the front end of w has it.
func (w *world) view(d store.Digest) serve.View {
	w.t.Helper()
	img, err := w.store.Image(w.t.Context(), d)
	if err != nil {
		w.t.Fatal(err)
	}
	v, err := serve.NewView(img, w.cfg, func(f store.File) (io.ReadCloser, error) { return w.store.OpenFile(w.t.Context(), f) })
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// What is said beforehand of a board's command line is what the front end makes of it, to the
// last byte: with where its secret files are handed over, too.
func TestViewIsWhatBoardsGet(t *testing.T) {
	const most = 2047
	w, _ := rack(t, func(c *serve.Config) {
		c.Handover = time.Minute
		c.SecretsURL = func(netip.Addr) string { return "https://10.0.0.1:8443" + serve.SecretsPath }
	})
	d := w.promoteFiles("dev", map[string]string{"cmdline.txt": "x{{.pad}}", "vmlinuz": "kernel"})
	v := w.view(d)
	visit := func(board string, pad int) serve.Visit {
		a := serve.Assignment{Vars: map[string]string{"pad": strings.Repeat("y", pad)}}
		w.fleet.assign(board, a)
		return serve.Visit{Board: board, Decision: w.cfg.Decide(a, client.Addr()), Addr: client.Addr()}
	}
	line := v.Text("cmdline.txt", visit("00000000", 0), strings.Repeat("A", 26))
	if !strings.Contains(line, " piimg.secrets=https://10.0.0.1:8443/report/secrets ") {
		t.Fatalf("nothing is said of where the secrets are: %q", line)
	}
	pad := most - len(strings.TrimSpace(line))
	if wrong := v.Check(visit("00000001", pad)); wrong != nil {
		t.Errorf("a line of %d bytes: %v", most, wrong)
	}
	if got := len(strings.TrimSpace(w.fetch("00000001/cmdline.txt"))); got != most {
		t.Errorf("the board gets a line of %d bytes, %d were foreseen", got, most)
	}
	if wrong := v.Check(visit("00000002", pad+1)); wrong == nil {
		t.Error("a line that is too long is said to be well")
	}
	w.wantTrouble("00000002/cmdline.txt")
}

// A fault is one fault, whatever is in its text.
func TestFaultsAreCounted(t *testing.T) {
	w, _ := rack(t, func(c *serve.Config) {
		c.Files = []serve.OwnFile{{Path: "etc/x", From: "/none/a\nb"}}
	})
	d := w.promoteFiles("dev", map[string]string{
		"config.txt": "initramfs initramfs.gz\n", "initramfs.gz": string(archive(t, "etc")), "cmdline.txt": "{{.nothing}}",
	})
	if wrong := w.view(d).Check(serve.Visit{Board: "00000001", Addr: client.Addr()}); len(wrong) != 2 {
		t.Errorf("%d faults, want one of cmdline.txt and one of etc/x: %q", len(wrong), wrong)
	}
	w.wantTrouble("00000001/initramfs.gz")
	if warning := w.front.Trail("00000001")[0].Warning; strings.Count(warning, "; ") != 1 || strings.Contains(warning, "\n") {
		t.Errorf("the trail says %q, want two faults in a line", warning)
	}
}
