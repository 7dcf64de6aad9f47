package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"piimg/store/s3/s3test"
)

// Row 44, with a real process and a real server: a promotion from another store is killed in the
// middle of the kernel. Nothing of it is to be seen, and run again it sends what is missing of
// the kernel, and the step last.
func TestFaultRow44KilledCopy(t *testing.T) {
	w := newWireSite(t)
	recipe, target, factory := filepath.Join(w.dir, "recipe.toml"), os.Getenv("PIIMG_STORE"), filepath.Join(w.dir, "factory")
	w.overlay(t, 1, 1000)
	w.run(t, "lock", recipe)
	image, _ := w.run(t, "--store", factory, "build", recipe)
	w.run(t, "--store", factory, "promote", image, "staging")
	w.run(t, "store", "init")

	stuck, once := make(chan struct{}), sync.Once{}
	w.proxy.Inject(func(r *http.Request) bool { return r.URL.Query().Get("partNumber") == "2" }, -1,
		func(rw http.ResponseWriter, r *http.Request, forward func() (*http.Response, error)) {
			once.Do(func() { close(stuck) })
			s3test.Hang(rw, r, forward)
		})
	promote := []string{"--store", target, "promote", "staging", "prod", "--from-store", factory}
	cmd := exec.Command("piimg", promote...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-stuck
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	w.proxy.Heal()

	if seen, _ := w.run(t, "ls"); strings.Contains(seen, "sha256:") {
		t.Errorf("half a copy is to be seen: %s", seen)
	}
	step, m := w.run(t, promote...)
	if want := "prod@1 " + image; step != want {
		t.Errorf("promote = %s, want %s", step, want)
	}
	var written []string
	for _, r := range m.requests {
		if strings.HasPrefix(r, "PUT ") && !strings.Contains(r, "/leases/") {
			written = append(written, r)
		}
	}
	if last := written[len(written)-1]; !strings.Contains(last, "/envs/prod/log/0000000001.json") {
		t.Errorf("written last: %s", last)
	}
	parts := slices.DeleteFunc(slices.Clone(written), func(r string) bool { return !strings.Contains(r, "partNumber=") })
	if len(parts) != 2 || m.bodies > 36<<20 { // of the 46 MB that the kernel has
		t.Errorf("run again it moved %d bytes: %s", m.bodies, strings.Join(written, "\n"))
	}
	if text, _ := w.run(t, "fsck", "--read-data"); strings.Contains(text, "wrong") {
		t.Error(text)
	}
}
