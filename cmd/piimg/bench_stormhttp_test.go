//go:build bench

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"text/tabwriter"
	"time"

	"piimg/store/serve/simpi"
)

// BenchmarkStormHTTP boots the same boards over HTTP from piimg and from nginx (sendfile),
// and prints what piimg bench storm --http reports.
func BenchmarkStormHTTP(b *testing.B) {
	dir := b.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	image := benchPattern(16 << 20)
	writeBoth(b, dir, "boot.img", image)
	writeBoth(b, dir, "boot.sig", fmt.Appendf(nil, "%x\nts: 315532800\n", sha256.Sum256(image)))
	servers := []*served{
		runPiimg(b, filepath.Join(dir, "env/bench"), nil, "--tftp", "127.0.69.6:69", "--http", "127.0.69.6:8080"), startNginx(b, dir),
	}
	addrs := []string{"127.0.69.6:8080", "127.0.69.5:8080"}
	out := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(out, "\nBOARDS\tSERVER\tBOOTED\tFAILED\tBOOTS/MIN\tP50\tP99\tCPU S")
	for b.Loop() {
		for _, boards := range []int{64, 256} {
			for n, s := range servers {
				before := s.cpu(b)
				f := stormHTTP(b, boards, fmt.Sprintf("http://%s/env/bench", addrs[n]))
				fmt.Fprintf(out, "%d\t%s\t%d\t%d\t%.0f\t%s\t%s\t%.2f\n", boards, s.name, f.Booted, f.Failed, f.PerMinute,
					f.BootP50.Round(time.Millisecond), f.BootP99.Round(time.Millisecond), (s.cpu(b) - before).Seconds())
			}
		}
	}
	out.Flush()
}

func stormHTTP(b *testing.B, boards int, url string) *simpi.Figures {
	b.Helper()
	o := stormOptions{
		boards: boards, models: []string{"pi4b"}, styles: []string{"A"}, serial: "10000000", prefix: "serial", local: "127.5.0.1",
		loss: "0", duplicate: "0", reorder: "0", spread: time.Second, seed: 1, timeout: simpi.DefaultFileTimeout, http: url,
	}
	storm, err := o.storm()
	if err != nil {
		b.Fatal(err)
	}
	f, err := o.run(context.Background(), storm)
	if err != nil {
		b.Fatal(err)
	}
	return f
}
