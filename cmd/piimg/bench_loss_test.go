//go:build bench

package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"text/tabwriter"
	"time"
)

// lossRun is what a server has brought through a bad network.
type lossRun struct {
	loaded
	counted
	lost int64
}

func (r lossRun) rate() float64 { return float64(r.bytes) / r.wall.Seconds() / 1e6 }

// BenchmarkLoss fetches 1 MB with 16 clients from piimg and from dnsmasq, in one network
// namespace, through 1 % of loss in each direction and 1 ms of delay. The clients compare
// every byte, and acknowledge again what comes again. The relay counts what a server sends
// again while the first one or its acknowledgement is on the way: a board may hang on that.
// Then curl fetches it through 5 % of loss, in 100 s at most.
func BenchmarkLoss(b *testing.B) {
	if !inNamespace(b) {
		return
	}
	dir := b.TempDir()
	content := benchPattern(smallFile)
	for name, c := range map[string][]byte{"small": content, "ready": []byte("ready\n")} {
		writeBoth(b, dir, name, c)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	servers := []*served{startPiimg(b, filepath.Join(dir, "env/bench"), "127.0.69.1:69"), rivals[0].start(b, dir)}
	runs := map[string][]lossRun{}
	for b.Loop() {
		for _, s := range servers {
			runs[s.name] = append(runs[s.name], fetchThroughLoss(b, s.addr, content))
		}
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	defer out.Flush()
	fmt.Fprintln(out, "\nSERVER\tMB/S\tPIIMG IS\tLOST\tSENT AGAIN\tNEEDLESS\tCAME TWICE\tASKED AGAIN\tFAILED")
	ours := median(runs["piimg"], lossRun.rate)
	for _, s := range servers {
		rate := median(runs[s.name], lossRun.rate)
		var sum lossRun
		for _, r := range runs[s.name] {
			sum.lost, sum.again, sum.needless = sum.lost+r.lost, sum.again+r.again, sum.needless+r.needless
			sum.repeated, sum.asked, sum.failed = sum.repeated+r.repeated, sum.asked+r.asked, sum.failed+r.failed
		}
		fmt.Fprintf(out, "%s\t%.2f\t%.1fx\t%d\t%d\t%d\t%d\t%d\t%d\n", s.name, rate, ours/rate, sum.lost, sum.again, sum.needless, sum.repeated, sum.asked, sum.failed)
	}
	for _, s := range servers {
		fmt.Fprintf(out, "curl, 5 %% of loss: %s\t%s\n", s.name, curlThroughLoss(b, s.addr, content))
	}
	b.ReportMetric(ours/median(runs["dnsmasq"], lossRun.rate), "x-dnsmasq")
	b.ReportMetric(0, "ns/op")
}

func fetchThroughLoss(b *testing.B, server netip.AddrPort, content []byte) lossRun {
	b.Helper()
	way := newBadWay(b, badness{loss: 10, delay: time.Millisecond}, server)
	defer way.end(b)
	l := load{server: way.addr(), name: "env/bench/small", want: content, clients: 16, rounds: 1, blksize: 1468, window: 1, limit: 5 * time.Minute}
	r, err := l.run()
	if err != nil {
		b.Fatal(err)
	}
	if r.failed > 0 {
		b.Logf("%d failed: %v", r.failed, r.why)
	}
	return lossRun{r, way.counts(), way.lost(b)}
}

// curlThroughLoss says how long curl took, or how far it came.
func curlThroughLoss(b *testing.B, server netip.AddrPort, content []byte) string {
	b.Helper()
	way := newBadWay(b, badness{loss: 50, delay: time.Millisecond}, server)
	defer way.end(b)
	file := filepath.Join(b.TempDir(), "got")
	began := time.Now()
	err := exec.Command("curl", "-s", "--max-time", "100", "--tftp-blksize", "1468", "-o", file, fmt.Sprintf("tftp://%s//env/bench/small", way.addr())).Run()
	got, _ := os.ReadFile(file)
	if err != nil {
		return fmt.Sprintf("%d of %d bytes, %v", len(got), len(content), err)
	}
	if !bytes.Equal(got, content) {
		b.Errorf("curl got %d bytes, and not the right ones", len(got))
	}
	return time.Since(began).Round(100 * time.Millisecond).String()
}
