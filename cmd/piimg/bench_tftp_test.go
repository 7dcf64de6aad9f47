//go:build bench

package main

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"text/tabwriter"
	"time"
)

// tftpWork is a load for all servers.
type tftpWork struct {
	clients, rounds int
	file            string
	blksize, window int
}

var tftpWorks = []tftpWork{
	{1, 4, "large", 512, 1},
	{1, 8, "large", 1024, 1},
	{1, 12, "large", 1468, 1},
	{16, 2, "large", 1468, 1},
	{64, 4, "small", 1468, 1},
	{256, 1, "small", 1468, 1},
	{1, 16, "large", 1468, 4},
	{1, 24, "large", 1468, 16},
	{1, 24, "large", 1468, 64},
	{16, 3, "large", 1468, 16},
	{64, 6, "small", 1468, 16},
	{256, 2, "small", 1468, 16},
}

const (
	largeFile = 8<<20 + 7
	smallFile = 1<<20 + 7
)

func (w tftpWork) String() string {
	return fmt.Sprintf("%d clients, blksize %d, windowsize %d", w.clients, w.blksize, w.window)
}

// tftpRun is what one server made of one load.
type tftpRun struct {
	loaded
	cpu     time.Duration
	private int64
}

func (r tftpRun) rate() float64  { return float64(r.bytes) / r.wall.Seconds() / 1e6 }
func (r tftpRun) perGB() float64 { return r.cpu.Seconds() / (float64(r.bytes) / 1e9) }

// BenchmarkTFTP fetches the same files from piimg, dnsmasq, tftpd-hpa and atftpd in turn,
// compares every byte, and prints medians with ratios. Servers without windowsize are
// measured without it in those rows.
func BenchmarkTFTP(b *testing.B) {
	dir := b.TempDir()
	content := map[string][]byte{"large": benchPattern(largeFile), "small": benchPattern(smallFile), "ready": []byte("ready\n")}
	for name, c := range content {
		writeBoth(b, dir, name, c)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	servers := []*served{startPiimg(b, filepath.Join(dir, "env/bench"), "127.0.69.1:69")}
	for _, r := range rivals {
		servers = append(servers, r.start(b, dir))
	}
	runs := map[tftpWork]map[string][]tftpRun{}
	for _, w := range tftpWorks {
		b.Run(w.String(), func(b *testing.B) {
			runs[w] = map[string][]tftpRun{}
			for b.Loop() {
				for _, s := range servers {
					runs[w][s.name] = append(runs[w][s.name], w.on(b, s, content[w.file]))
				}
			}
		})
	}
	printTFTP(servers, runs)
}

// benchPattern is n bytes in which no two blocks are the same.
func benchPattern(n int) []byte {
	b := make([]byte, 0, n+8)
	for word := uint64(0); len(b) < n; word++ {
		b = binary.LittleEndian.AppendUint64(b, word*0x9e3779b97f4a7c15)
	}
	return b[:n]
}

func (w tftpWork) on(b *testing.B, s *served, content []byte) tftpRun {
	b.Helper()
	var r tftpRun
	window := w.window
	if s.name == "dnsmasq" || s.name == "tftpd-hpa" {
		window = 1 // they do not acknowledge the option
	}
	ticks := 0
	l := load{server: s.addr, name: "env/bench/" + w.file, want: content, clients: w.clients, rounds: w.rounds, blksize: w.blksize, window: window, limit: 30 * time.Second, threads: clientThreads(b),
		tick: func() {
			if ticks++; ticks%5 == 1 {
				r.private = max(r.private, s.private())
			}
		}}
	before := s.cpu(b)
	var err error
	if r.loaded, err = l.run(); err != nil {
		b.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // children end
	r.cpu = s.cpu(b) - before
	if r.failed > 0 {
		b.Logf("%s, %s: %d of %d failed: %v", s.name, w, r.failed, w.clients*w.rounds, r.why)
	}
	return r
}

// clientThreads is how many threads share the clients: $THREADS, or one, which leaves the
// other processors to the server.
func clientThreads(b *testing.B) int {
	b.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv("THREADS"), "1"))
	if err != nil || n < 1 {
		b.Fatalf("THREADS=%s: want a number of threads", os.Getenv("THREADS"))
	}
	return n
}

// middle is the run with the median of what by measures.
func middle(runs []tftpRun, by func(tftpRun) float64) tftpRun {
	sorted := slices.SortedFunc(slices.Values(runs), func(x, y tftpRun) int { return cmp.Compare(by(x), by(y)) })
	return sorted[len(sorted)/2]
}

func printTFTP(servers []*served, runs map[tftpWork]map[string][]tftpRun) {
	out := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	defer out.Flush()
	fmt.Fprintln(out, "\nWORK\tSERVER\tMB/S\tPIIMG IS\tCPU S/GB\tPIIMG HAS\tREPEATED\tFAILED\tPRIVATE MB")
	for _, w := range tftpWorks {
		ours := runs[w]["piimg"]
		if len(ours) == 0 {
			continue // not asked for
		}
		rate, perGB := middle(ours, tftpRun.rate).rate(), middle(ours, tftpRun.perGB).perGB()
		for _, s := range servers {
			all := runs[w][s.name]
			m, c := middle(all, tftpRun.rate), middle(all, tftpRun.perGB)
			repeated, failed, private := 0, 0, int64(0)
			for _, r := range all {
				repeated, failed, private = repeated+r.repeated, failed+r.failed, max(private, r.private)
			}
			fmt.Fprintf(out, "%s\t%s\t%.1f\t%.2fx\t%.2f\t%.2fx\t%d\t%d\t%.1f\n", w, s.name, m.rate(), rate/m.rate(), c.perGB(), perGB/c.perGB(),
				repeated, failed, float64(private)/1e6)
		}
	}
}
