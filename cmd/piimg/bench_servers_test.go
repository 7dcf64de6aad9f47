//go:build bench || clients

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/disk"
	"piimg/store/env"
)

// rival is a TFTP server that serves a folder, at port 69 of an address of its own since
// dnsmasq knows no other. It stays in the foreground.
type rival struct {
	name string
	addr string // without a port
	args func(dir, addr string) []string
}

var rivals = []rival{
	{"dnsmasq", "127.0.69.2", func(dir, addr string) []string {
		return []string{"dnsmasq", "-k", "-p", "0", "-C", "/dev/null", "-u", "root", "-x", "", "-i", "lo", "-z", "-a", addr,
			"--enable-tftp", "--tftp-root=" + dir, "--tftp-max=4000"}
	}},
	{"tftpd-hpa", "127.0.69.3", func(dir, addr string) []string {
		return []string{"in.tftpd", "-L", "-u", "root", "-a", addr + ":69", "-s", dir}
	}},
	{"atftpd", "127.0.69.4", func(dir, addr string) []string {
		return []string{"atftpd", "--daemon", "--no-fork", "--no-multicast", "--user", "root", "--group", "root", "--logfile", "/dev/null",
			"--maxthread", "4000", "--bind-address", addr, "--port", "69", dir}
	}},
}

// served is a server that runs.
type served struct {
	name string
	addr netip.AddrPort
	cmd  *exec.Cmd
	acct string // control group that counts its processor time, "" where there is none
}

func (r rival) start(b testing.TB, dir string) *served {
	b.Helper()
	args := r.args(dir, r.addr)
	if own := filepath.Join(os.Getenv("RIVALS"), r.name, "usr/sbin", args[0]); os.Getenv("RIVALS") != "" && r.name != "dnsmasq" {
		args[0] = own // two packages that cannot be installed together
	}
	s := &served{name: r.name, addr: netip.AddrPortFrom(netip.MustParseAddr(r.addr), 69), cmd: exec.Command(args[0], args[1:]...)}
	s.cmd.Stderr = os.Stderr
	s.run(b)
	for range 100 {
		if l := (load{server: s.addr, name: "ready", want: []byte("ready\n"), clients: 1, rounds: 1, blksize: 512, window: 1, limit: 200 * time.Millisecond}); l.answered() {
			return s
		}
	}
	b.Fatalf("%s does not answer: this benchmark needs root and the package of the server", r.name)
	return nil
}

// answered says whether a server serves a small file at once.
func (l load) answered() bool {
	r, err := l.run()
	time.Sleep(20 * time.Millisecond)
	return err == nil && r.failed == 0
}

func (s *served) run(b testing.TB) {
	b.Helper()
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		b.Fatalf("%s: %v: make deps installs it", s.name, err)
	}
	s.acct = fmt.Sprintf("/sys/fs/cgroup/cpuacct/piimg-bench-%d", s.cmd.Process.Pid)
	if os.Mkdir(s.acct, 0o755) != nil || os.WriteFile(s.acct+"/cgroup.procs", fmt.Append(nil, s.cmd.Process.Pid), 0o644) != nil {
		os.Remove(s.acct)
		s.acct = ""
	}
	b.Cleanup(func() {
		s.cmd.Process.Signal(syscall.SIGTERM)
		s.cmd.Wait()
		os.Remove(s.acct)
	})
}

// startPiimg puts a folder into a store and serves it over TFTP at an address, by a command
// that begins with before.
func startPiimg(b testing.TB, dir, at string, before ...string) *served {
	b.Helper()
	return runPiimg(b, dir, before, "--tftp", at)
}

// runPiimg puts a folder into a store and serves it as flags say, which include --tftp.
func runPiimg(b testing.TB, dir string, before []string, flags ...string) *served {
	b.Helper()
	work := b.TempDir()
	bin := filepath.Join(work, "piimg")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", bin, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	storeDir := filepath.Join(work, "store")
	putFolder(b, storeDir, dir)
	args := append(before, bin, "serve", "--store", storeDir, "--cache", filepath.Join(work, "cache"), "--default", "bench")
	args = append(args, flags...)
	s := &served{name: "piimg", cmd: exec.Command(args[0], args[1:]...)}
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	s.cmd.Env = append(os.Environ(), "HOME="+work, "PIIMG_CONFIG=", "XDG_CONFIG_HOME=")
	s.run(b)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if at, ok := strings.CutPrefix(lines.Text(), "serving TFTP at "); ok {
			s.addr = netip.MustParseAddrPort(at)
			go io.Copy(io.Discard, stderr)
			return s
		}
	}
	b.Fatal("piimg does not serve")
	return nil
}

// putFolder makes a folder an image that the environment bench runs.
func putFolder(b testing.TB, at, dir string) {
	b.Helper()
	ctx := context.Background()
	bucket, err := disk.Open(at)
	if err != nil {
		b.Fatal(err)
	}
	s, err := store.Init(ctx, bucket)
	if err != nil {
		b.Fatal(err)
	}
	put := func(c []byte) store.Blob {
		content := store.Bytes(c)
		if _, err := s.Blobs().Put(ctx, content); err != nil {
			b.Fatal(err)
		}
		return content.Blob()
	}
	img := store.Image{Name: "bench", Config: put([]byte("{}"))}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		img.Files = append(img.Files, store.NewFile(name, 0o644, put(text)))
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	d, err := s.PutImage(ctx, img, store.Record{Name: "bench", Actor: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := env.Promote(ctx, s, env.PromoteOptions{Env: "bench", Image: d, Actor: "bench"}); err != nil {
		b.Fatal(err)
	}
}

// cpu is what the server and its children have used: as its control group says, else
// without children that nobody has waited for, which are those of tftpd-hpa.
func (s *served) cpu(b testing.TB) time.Duration {
	b.Helper()
	if text, err := os.ReadFile(s.acct + "/cpuacct.usage"); err == nil {
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		return time.Duration(n)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
	var ticks int64
	for _, f := range fields[11:15] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	const perSecond = 100 // of every Linux that this runs on
	return time.Duration(ticks) * time.Second / perSecond
}

// private is the memory that only the server has, in bytes.
func (s *served) private() int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", s.cmd.Process.Pid))
	var sum int64
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "Private_") {
			n, _ := strconv.ParseInt(strings.Fields(line)[1], 10, 64)
			sum += n << 10
		}
	}
	return sum
}
