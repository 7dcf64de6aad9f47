//go:build bench

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// httpWork is so many connections, each of which asks for the file so often.
type httpWork struct{ connections, rounds int }

// httpRun is what a server did with it.
type httpRun struct {
	bytes     int64
	wall, cpu time.Duration
}

func (r httpRun) rate() float64  { return float64(r.bytes) / r.wall.Seconds() / 1e6 }
func (r httpRun) perGB() float64 { return r.cpu.Seconds() / (float64(r.bytes) / 1e9) }

// BenchmarkHTTP serves one file of 16 MiB as piimg and as nginx (sendfile), the servers in
// turn, and compares every byte that comes.
func BenchmarkHTTP(b *testing.B) {
	dir := b.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	content := benchPattern(16 << 20)
	for _, folder := range []string{"env/bench"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "vmlinuz"), content, 0o644); err != nil {
		b.Fatal(err)
	}
	piimg := runPiimg(b, dir, nil, "--tftp", "127.0.69.6:69", "--http", "127.0.69.6:8080")
	if err := os.Link(filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "env/bench/vmlinuz")); err != nil {
		b.Fatal(err)
	}
	servers := map[string]*served{"piimg": piimg, "nginx": startNginx(b, dir)}
	addrs := map[string]string{"piimg": "127.0.69.6:8080", "nginx": "127.0.69.5:8080"}
	for _, w := range []httpWork{{1, 40}, {16, 5}, {256, 1}} {
		b.Run(fmt.Sprintf("%d", w.connections), func(b *testing.B) {
			runs := map[string][]httpRun{}
			for b.Loop() {
				for _, name := range []string{"piimg", "nginx"} {
					before := servers[name].cpu(b)
					r, err := w.run(addrs[name], "/env/bench/vmlinuz", content)
					if err != nil {
						b.Fatalf("%s: %v", name, err)
					}
					r.cpu = servers[name].cpu(b) - before
					runs[name] = append(runs[name], r)
				}
			}
			rate := func(name string) float64 { return median(runs[name], httpRun.rate) }
			cpu := func(name string) float64 { return median(runs[name], httpRun.perGB) }
			b.ReportMetric(rate("piimg")/rate("nginx"), "x-nginx")
			b.ReportMetric(cpu("piimg")/cpu("nginx"), "x-nginx-cpu/GB")
			b.ReportMetric(rate("piimg"), "MB/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// startNginx serves a folder as people who care for speed do.
func startNginx(b *testing.B, dir string) *served {
	b.Helper()
	work := b.TempDir()
	conf := fmt.Sprintf(`daemon off; user root; worker_processes auto; pid %[1]s/pid; error_log stderr crit;
events { worker_connections 2048; }
http { sendfile on; tcp_nopush on; keepalive_requests 100000; access_log off;
 client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
 server { listen 127.0.69.5:8080; root %[2]s; } }`, work, dir)
	file := filepath.Join(work, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		b.Fatal(err)
	}
	s := &served{name: "nginx", addr: netip.MustParseAddrPort("127.0.69.5:8080"), cmd: exec.Command("nginx", "-c", file)}
	s.cmd.Stderr = os.Stderr
	s.run(b)
	for range 100 {
		if conn, err := net.Dial("tcp", s.addr.String()); err == nil {
			conn.Close()
			return s
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.Fatal("nginx does not answer: make deps installs it")
	return nil
}

// run asks over all connections at a time.
func (w httpWork) run(addr, path string, want []byte) (httpRun, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	errs := make([]error, w.connections)
	began := time.Now()
	for n := range w.connections {
		all.Go(func() { errs[n] = fetchOften(ctx, addr, path, want, w.rounds) })
	}
	all.Wait()
	r := httpRun{bytes: int64(w.connections*w.rounds) * int64(len(want)), wall: time.Since(began)}
	return r, errors.Join(errs...)
}

// fetchOften gets the file over one connection, again and again.
func fetchOften(ctx context.Context, addr, path string, want []byte, rounds int) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 256<<10)
	buf := make([]byte, 256<<10)
	for range rounds {
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", path); err != nil {
			return err
		}
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		if r.StatusCode != http.StatusOK || r.ContentLength != int64(len(want)) {
			return fmt.Errorf("%s with %d bytes", r.Status, r.ContentLength)
		}
		for at := 0; at < len(want); {
			n, err := io.ReadFull(r.Body, buf[:min(len(buf), len(want)-at)])
			if err != nil || !bytes.Equal(buf[:n], want[at:at+n]) {
				return fmt.Errorf("other bytes at %d, or none: %v", at, err)
			}
			at += n
		}
		r.Body.Close()
	}
	return nil
}
