//go:build storm

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/disk"
	"piimg/store/serve/simpi"
)

// program is a piimg serve of its own, as it looks to an operator.
type program struct {
	t          *testing.T
	pid        string
	tftp, http netip.AddrPort
	most       atomic.Int64 // bytes of private memory so far
}

// startProgram serves the environment prod of a store until the test ends.
func startProgram(t *testing.T, dir string) *program {
	t.Helper()
	cmd := exec.Command("piimg", "serve", "--store", dir, "--cache", t.TempDir(), "--default", "prod", "--tftp", "127.0.69.1:0", "--http", "127.0.69.1:0")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "PIIMG_CONFIG=", "XDG_CONFIG_HOME=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("piimg serve: %v", err)
		}
	})
	p := &program{t: t, pid: strconv.Itoa(cmd.Process.Pid)}
	lines := bufio.NewScanner(stderr)
	for (!p.tftp.IsValid() || !p.http.IsValid()) && lines.Scan() {
		if at, ok := strings.CutPrefix(lines.Text(), "serving TFTP at "); ok {
			p.tftp = netip.MustParseAddrPort(at)
		}
		if at, ok := strings.CutPrefix(lines.Text(), "serving HTTP at "); ok {
			p.http = netip.MustParseAddrPort(at)
		}
	}
	if !p.tftp.IsValid() || !p.http.IsValid() {
		t.Fatal("piimg serve does not say where it serves")
	}
	go io.Copy(io.Discard, stderr)
	return p
}

// metric is the value that /metrics has of name.
func (p *program) metric(name string) int64 {
	p.t.Helper()
	answer, err := http.Get(fmt.Sprintf("http://%s/metrics", p.http))
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				p.t.Fatal(err)
			}
			return int64(n)
		}
	}
	p.t.Fatalf("no metric %s", name)
	return 0
}

// private is the memory of the program that no file is behind, in bytes.
func (p *program) private() int64 {
	p.t.Helper()
	text, err := os.ReadFile("/proc/" + p.pid + "/status")
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			if err != nil {
				p.t.Fatal(err)
			}
			if n <<= 10; n > p.most.Load() {
				p.most.Store(n)
			}
			return n
		}
	}
	p.t.Fatal("no RssAnon")
	return 0
}

// watch looks at the memory until ctx ends.
func (p *program) watch(ctx context.Context) {
	for ctx.Err() == nil {
		p.private()
		time.Sleep(200 * time.Millisecond)
	}
}

// wantBack waits until the program has no more descriptors and goroutines than before.
func (p *program) wantBack(files, goroutines int64) {
	p.t.Helper()
	var f, g int64
	for range 240 { // a client whose last packet was lost is sent it again 7 times, after 5 s each at most
		http.DefaultClient.CloseIdleConnections()
		if f, g = p.metric("process_open_fds"), p.metric("go_goroutines"); f <= files && g <= goroutines {
			return
		}
		time.Sleep(250 * time.Millisecond)
	}
	p.t.Errorf("%d descriptors and %d goroutines, %d and %d before", f, g, files, goroutines)
}

// TestStormProgram lets 500 boards boot six times from a piimg serve of its own, through 1 %
// of loss in each direction, packets that come twice, and 5 ms of delay, while the
// environment is promoted and rolled back every second. All boot, with files of one image
// each; descriptors and goroutines are as many afterwards as before. Memory that no file is
// behind grows until the last four boots of each board are known, then no more, and stays
// below 64 MiB.
func TestStormProgram(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	const boards, rounds, most = 500, 6, 64 << 20
	dir := filepath.Join(t.TempDir(), "store")
	bucket, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Init(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	images := []*store.Image{putSmallImage(t, s, "one"), putSmallImage(t, s, "two")}
	promoteTo(t, s, images[0])
	p := startProgram(t, dir)
	way := newBadWay(t, badness{loss: 10, double: 10, delay: 5 * time.Millisecond}, p.tftp)
	files, goroutines, began := p.metric("process_open_fds"), p.metric("go_goroutines"), p.private()

	calm, still := context.WithCancel(t.Context())
	var beside sync.WaitGroup
	beside.Go(func() {
		switchBackAndForth(calm, t, s, func(context.Context) error { return nil }, images)
	})
	beside.Go(func() { p.watch(calm) })
	var private []int64
	for round := range rounds {
		storm := simpi.Storm{Boards: rowOfBoards(t, boards), Spread: 5 * time.Second, Seed: uint64(round)}
		seen := map[string]int{}
		storm.After = func(r *simpi.Report) { seen[imageOf(t, r, images)]++ }
		f, err := storm.Run(t.Context(), way.addr())
		if err != nil {
			t.Fatal(err)
		}
		private = append(private, p.private())
		t.Logf("round %d: %.0f boots a minute, half in %s, 99 %% in %s, by image %v; %.1f MB of private memory", round+1,
			f.PerMinute, f.BootP50, f.BootP99, seen, float64(private[round])/1e6)
		if f.Booted != boards || seen[""] > 0 {
			t.Errorf("%d of %d boards have booted, by image %v: %+v", f.Booted, boards, seen, f.Problems)
		}
	}
	p.wantBack(files, goroutines)
	still()
	beside.Wait()
	t.Logf("%.1f MB of private memory before, %.1f MB at most; %d packets were lost, %+v", float64(began)/1e6, float64(p.most.Load())/1e6, way.lost(t), way.counts())
	if last := private[rounds-1]; p.most.Load() > most || last > private[rounds-2]*5/4 {
		t.Errorf("private memory after each round: %d bytes, want %d at most, and no growth in the end", private, most)
	}
}

// TestStormHeavyLoss: over a network that loses 5 % of the packets in each direction, 100
// boards that are switched on together get a start4.elf of true size and a small kernel,
// each file within the 30 s that a board gives it. It needs a machine that is idle else.
func TestStormHeavyLoss(t *testing.T) {
	if inNamespace(t) {
		bootThroughHeavyLoss(t, bytes.Repeat([]byte("0123456789abcde\n"), 2_305_632/16))
	}
}
