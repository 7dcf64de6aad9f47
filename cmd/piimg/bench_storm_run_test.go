//go:build bench

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"text/tabwriter"
	"time"

	"piimg/store/serve/simpi"
)

// stormWork is a storm for all servers.
type stormWork struct {
	boards int
	loss   float64
	delay  time.Duration
}

var stormWorks = []stormWork{{64, 0, 0}, {64, 0.01, time.Millisecond}, {64, 0.05, time.Millisecond}}

func (w stormWork) String() string {
	return fmt.Sprintf("%d boards, %.0f %% loss, %s", w.boards, w.loss*100, w.delay)
}

// BenchmarkStorm boots the same boards with the same faults from piimg, dnsmasq, tftpd-hpa
// and atftpd, and prints what piimg bench storm reports. All boards ask below one folder.
func BenchmarkStorm(b *testing.B) {
	dir := b.TempDir()
	for name, size := range map[string]int{
		"start4.elf": 2_305_632, "fixup4.dat": 5_499, "bcm2711-rpi-4-b.dtb": 56_000, "kernel8.img": 2_000_000, "cmdline.txt": 60, "ready": 0,
	} {
		content := benchPattern(size)
		if name == "ready" {
			content = []byte("ready\n")
		}
		writeBoth(b, dir, name, content)
	}
	writeBoth(b, dir, "config.txt", []byte("arm_64bit=1\nkernel=kernel8.img\n"))
	if err := os.Chmod(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	servers := []*served{startPiimg(b, filepath.Join(dir, "env/bench"), "127.0.69.1:69")}
	for _, r := range rivals {
		servers = append(servers, r.start(b, dir))
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(out, "\nSTORM\tSERVER\tBOOTED\tFAILED\tBOOTS/MIN\tP50\tP99\tCAME TWICE\tASKED AGAIN\tCPU S")
	for b.Loop() {
		for _, w := range stormWorks {
			out.Flush()
			for _, s := range servers {
				before := s.cpu(b)
				f := w.on(b, s)
				fmt.Fprintf(out, "%s\t%s\t%d\t%d\t%.0f\t%s\t%s\t%d\t%d\t%.2f\n", w, s.name, f.Booted, f.Failed, f.PerMinute,
					f.BootP50.Round(time.Millisecond), f.BootP99.Round(time.Millisecond), f.Repeated, f.Asked, (s.cpu(b) - before).Seconds())
			}
		}
	}
	out.Flush()
}

func writeBoth(b *testing.B, dir, name string, content []byte) {
	b.Helper()
	for _, folder := range []string{"", "env/bench"} {
		path := filepath.Join(dir, folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

func (w stormWork) on(b *testing.B, s *served) *simpi.Figures {
	b.Helper()
	o := stormOptions{
		boards: w.boards, models: []string{"pi4b"}, styles: []string{"A", "B", "C"}, serial: "10000000", prefix: "env/bench/", local: "127.5.0.1",
		loss: fmt.Sprint(w.loss), duplicate: "0", reorder: "0", delay: w.delay, spread: time.Second, seed: 1,
		timeout: simpi.DefaultFileTimeout, resend: simpi.DefaultResendEvery,
	}
	storm, err := o.storm()
	if err != nil {
		b.Fatal(err)
	}
	f, err := storm.Run(context.Background(), s.addr)
	if err != nil {
		b.Fatal(err)
	}
	return f
}
