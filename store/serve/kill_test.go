package serve_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/serve"
)

const (
	killEnv  = "PIIMG_KILL_AT"
	cacheEnv = "PIIMG_KILL_CACHE"

	killVersions = 6
	killImages   = 3 // that there is room for
)

// TestKilledFrontEnd kills a front end with SIGKILL while it fetches images, cuts over, makes
// room and serves boards, at places all over. What is left is started again without a store
// and with one: boards get the last good head, whole, and never an older one.
func TestKilledFrontEnd(t *testing.T) {
	if dir := os.Getenv(cacheEnv); dir != "" {
		at, err := strconv.ParseInt(os.Getenv(killEnv), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		dieServing(t, dir, at)
		return
	}
	all, _ := runToDeath(t, t.TempDir(), 0)
	const places = 40
	for n := range int64(places) {
		at := 1 + n*(all-1)/places
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			dir := t.TempDir()
			_, head := runToDeath(t, dir, at)
			startAgain(t, dir, head)
		})
	}
}

// runToDeath runs the child, which dies at the step numbered at; 0 lets it live. It returns
// how many steps a child that lived has taken, and the last head that it has reported.
func runToDeath(t *testing.T, dir string, at int64) (steps, head int64) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledFrontEnd$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", killEnv, at), cacheEnv+"="+dir, "TMPDIR="+t.TempDir()) // who is killed removes nothing
	out, err := cmd.Output()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); at > 0 && (!ok || status.Signal() != syscall.SIGKILL) || at == 0 && err != nil {
		t.Fatalf("child ended with %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		fmt.Sscanf(line, "head %d\n", &head)
		fmt.Sscanf(line, "steps %d\n", &steps)
	}
	return steps, head
}

// stepper counts what a front end does that shows: looks at the clock, questions for content,
// pieces of it. At each, time goes on.
type stepper struct {
	serve.Source
	n, at atomic.Int64
}

func (s *stepper) step() int64 {
	n := s.n.Add(1)
	if n == s.at.Load() {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
	return n
}

func (s *stepper) now() time.Time { return noon.Add(time.Duration(s.step()) * time.Second) }

func (s *stepper) Open(ctx context.Context, b store.Blob) (io.ReadCloser, error) {
	s.step()
	r, err := s.Source.Open(ctx, b)
	return struct {
		io.Reader
		io.Closer
	}{stepping{r, s}, r}, err
}

// stepping reads little by little.
type stepping struct {
	io.Reader
	s *stepper
}

func (r stepping) Read(p []byte) (int, error) {
	r.s.step()
	return r.Reader.Read(p[:min(len(p), 1000)])
}

// dieServing is the child: it takes one head after the other, and boots a board from each.
func dieServing(t *testing.T, dir string, at int64) {
	s := &stepper{}
	w := newWorld(t, func(c *serve.Config) {
		s.Source, c.Source = c.Source, s
		c.Dir, c.Now, c.Plain = dir, s.now, false
		c.Files = []serve.OwnFile{{Path: "etc/hostname", Content: "{{.hostname}}"}}
	})
	w.front.Close()
	w.cfg.CacheSize = killRoom(w)
	w.start()
	s.at.Store(s.n.Load() + at*min(at, 1)) // from here on
	first := s.n.Load()
	for v := range killVersions {
		w.promote("dev", fmt.Sprintf("v%d", v+1))
		fmt.Println("head", v+1)
		for _, name := range []string{"start4.elf", "config.txt", "fixup4.dat", "cmdline.txt", "vmlinuz"} {
			if _, err := w.get(fmt.Sprintf("000000%02x/%s", v, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	fmt.Println("steps", s.n.Load()-first)
}

// killRoom is room for some images, in bytes.
func killRoom(w *world) int64 {
	img, err := w.store.Image(w.t.Context(), w.image("v1", pi4Files...))
	if err != nil {
		w.t.Fatal(err)
	}
	var n int64
	for _, b := range img.Blobs() {
		n += b.Size
	}
	return killImages * (n + 8<<10) // and manifests
}

// startAgain starts a front end in what a killed one has left, which had reported a head.
func startAgain(t *testing.T, dir string, reported int64) {
	source := &flakySource{}
	w := newWorld(t, func(c *serve.Config) {
		source.Source, c.Source = c.Source, source
		c.Dir = dir
	})
	w.clock.pass(30 * 24 * time.Hour)
	for v := range killVersions {
		w.fleet.promote("dev", w.image(fmt.Sprintf("v%d", v+1), pi4Files...))
	}
	w.fleet.goDown(errors.New("away"))
	source.fail(errors.New("away"))
	w.cfg.CacheSize = killRoom(w)
	w.restart()
	whole := func(version string) {
		for _, name := range pi4Files {
			w.want("env/dev/"+name, version)
		}
	}
	seq := w.front.Environments()[0].Seq
	if seq < reported || seq > reported+1 {
		t.Errorf("boards get step %d, and had got %d", seq, reported)
	}
	if seq > 0 {
		whole(fmt.Sprintf("v%d", seq))
	}
	for _, d := range []string{"blobs/sha256", "envs", "boards", "trail"} {
		if left, err := filepath.Glob(filepath.Join(dir, d, ".tmp-*")); err != nil || len(left) > 0 {
			t.Errorf("left over: %v, %v", left, err)
		}
	}
	w.fleet.goDown(nil)
	source.fail(nil)
	w.refresh()
	w.clock.pass(time.Hour)
	whole(fmt.Sprintf("v%d", killVersions))
	if got := w.cacheSize(); got > w.cfg.CacheSize {
		t.Errorf("the cache has %d bytes, the limit is %d", got, w.cfg.CacheSize)
	}
}
