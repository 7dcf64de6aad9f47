//go:build e2e

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"piimg/pipeline/format/fdt/gomodtest"
	"piimg/store"
	"piimg/store/s3/s3test"
)

// installed is the program under test.
func installed(t *testing.T) string {
	t.Helper()
	bin := os.Getenv("PIIMG")
	if bin == "" {
		t.Fatal("PIIMG is not set: run make e2e")
	}
	return bin
}

// site is a place with a home and a store of its own.
type site struct {
	t   *testing.T
	bin string
	dir string
	env []string
}

func newSite(t *testing.T, bin string, env ...string) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t: t, bin: bin, dir: dir}
	s.env = append(os.Environ(), moduleSettings(t)...)
	s.env = append(s.env, "HOME="+dir, "XDG_DATA_HOME=", "XDG_CACHE_HOME=", "XDG_CONFIG_HOME=", "PIIMG_CONFIG=", "PIIMG_STORE="+filepath.Join(dir, "store"))
	s.env = append(s.env, env...)
	return s
}

// piimg runs a command and returns what it prints as its result.
func (s *site) piimg(args ...string) string {
	s.t.Helper()
	cmd := exec.Command(s.bin, args...)
	cmd.Env = s.env
	var diag bytes.Buffer
	cmd.Stderr = &diag
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("piimg %s: %v\n%s%s", strings.Join(args, " "), err, out, diag.String())
	}
	s.t.Logf("$ piimg %s\n%s%s", strings.Join(args, " "), diag.String(), out)
	return strings.TrimSpace(string(out))
}

// serve runs piimg serve until the test ends and returns its addresses.
func (s *site) serve(args ...string) (tftp, http string) {
	s.t.Helper()
	tftp, http = s3test.FreeAddress(s.t, "udp"), s3test.FreeAddress(s.t, "tcp")
	cmd := exec.Command(s.bin, append([]string{"serve", "--tftp", tftp, "--http", http}, args...)...)
	cmd.Env = s.env
	pipe, err := cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "serving HTTP") {
			go func() { _, _ = io.Copy(io.Discard, pipe) }()
			return tftp, http
		}
	}
	s.t.Fatal("piimg serve ended before it served")
	return "", ""
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("get %s: %s, %v", url, resp.Status, err)
	}
	return b
}

// clients are TFTP clients of other people: the command that gets path from host and
// port and writes it to file.
var clients = map[string]func(host, port, path, file string) []string{
	"tftp-hpa": func(host, port, path, file string) []string {
		return []string{"tftp", "-m", "binary", host, port, "-c", "get", host + ":" + path, file}
	},
	"atftp": func(host, port, path, file string) []string {
		return []string{"atftp", "--get", "-r", path, "-l", file, "--option", "blksize 1468", "--option", "tsize 0", host, port}
	},
	"curl": func(host, port, path, file string) []string {
		return []string{"curl", "-sS", "--tftp-blksize", "1468", "-o", file, "tftp://" + host + ":" + port + "/" + path}
	},
}

// The road from the recipe to a booted system, with real input all the way.
func TestE2EQuickstart(t *testing.T) {
	s := newSite(t, installed(t))
	image := s.piimg("build", "../../recipes/quickstart.toml")
	if again := s.piimg("build", "../../recipes/quickstart.toml"); again != image {
		t.Errorf("a second build gave %s", again)
	}
	s.piimg("lint", "../../recipes/quickstart.toml")
	s.piimg("promote", image, "dev", "--reason", "first")
	tftp, web := s.serve("--default", "dev")
	s.piimg("simulate", "--server", tftp, "--image", "dev", "--style", "C", "--model", "cm4")

	dir := t.TempDir()
	files := map[string]string{}
	for _, name := range []string{"kernel8.img", "initramfs.cpio.gz", "config.txt"} {
		want := get(t, fmt.Sprintf("http://%s/by-digest/%s/%s", web, image, name))
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		files[name] = path
		for client, command := range clients {
			fetchWith(t, client, command, tftp, "/by-digest/"+image+"/"+name, want)
		}
	}
	boot(t, files["kernel8.img"], files["initramfs.cpio.gz"], "NAME=pi4-quickstart", "piimg: userland is up", shellAnswer)
}

// Debian's kernel with Debian's firmware and busybox, as the archive has them today: it
// builds, the linter finds nothing, and QEMU boots it far enough that the network driver
// of that machine, a module, has an address.
func TestE2EDebian(t *testing.T) {
	s := newSite(t, installed(t))
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../recipes")); err != nil {
		t.Fatal(err)
	}
	recipe := filepath.Join(dir, "pi4-debian.toml")
	s.piimg("lock", recipe)
	lock, err := os.ReadFile(filepath.Join(dir, "pi4-debian.lock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("pinned:\n%s", lock)
	image := s.piimg("build", "--offline", recipe)
	if findings := s.piimg("lint", "--json", recipe); findings != "[]" && findings != "null" {
		t.Errorf("the linter found %s", findings)
	}
	s.mixFirmware(image)
	s.piimg("promote", image, "dev")
	_, web := s.serve("--default", "dev")
	files := map[string]string{}
	for _, name := range []string{"kernel8.img", "initramfs.cpio.gz"} {
		files[name] = filepath.Join(dir, name)
		if err := os.WriteFile(files[name], get(t, fmt.Sprintf("http://%s/by-digest/%s/%s", web, image, name)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	bootWith(t, files["kernel8.img"], files["initramfs.cpio.gz"],
		[]string{"-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,romfile="}, "runs pi4-debian", "piimg: eth0 has 10.0.2.15")
}

// mixFirmware wants the linter to find a fixup file of another release beside the image's start
// file.
func (s *site) mixFirmware(image string) {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), "mixed")
	s.piimg("export", image, "--dir", dir)
	other, err := os.ReadFile(filepath.Join(gomodtest.Dir(s.t, gomodtest.Firmware), "fixup4.dat"))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "fixup4.dat"), other, 0o644); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(s.bin, "lint", "--board", "pi4b", dir)
	cmd.Env = s.env
	out, err := cmd.Output()
	if want := "P04 error fixup4.dat: is for a start4.elf of 2305632 bytes, and this one has "; err == nil || !strings.HasPrefix(string(out), want) {
		s.t.Errorf("lint of mixed firmware: %v, want %q:\n%s", err, want, out)
	}
	s.t.Logf("%s", out)
}

func fetchWith(t *testing.T, client string, command func(host, port, path, file string) []string, server, path string, want []byte) {
	t.Helper()
	host, port, _ := strings.Cut(server, ":")
	file := filepath.Join(t.TempDir(), "got")
	argv := command(host, port, path, file)
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Errorf("%s: %v: %s", client, err, out)
		return
	}
	got, err := os.ReadFile(file)
	if err != nil || store.Sum(got) != store.Sum(want) {
		t.Errorf("%s got %d bytes of %s over TFTP, HTTP gave %d others: %v", client, len(got), path, len(want), err)
	}
}

// boot starts kernel and initramfs in QEMU, which emulates a virtual board with the
// processor of a Pi 4, and waits for lines on the serial console.
func boot(t *testing.T, kernel, initrd string, want ...string) {
	t.Helper()
	bootWith(t, kernel, initrd, []string{"-nic", "none"}, want...)
}

// bootWith is boot with a network card.
func bootWith(t *testing.T, kernel, initrd string, nic []string, want ...string) {
	t.Helper()
	emulate(t, append(nic, "-smp", "2", "-kernel", kernel, "-initrd", initrd, "-append", "console=ttyAMA0 panic=-1"), want...)
}

// emulate runs QEMU and waits for lines on the serial console.
func emulate(t *testing.T, args []string, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-aarch64", append(args, "-M", "virt", "-cpu", "cortex-a72", "-m", "1024", "-nographic", "-no-reboot")...)
	keyboard, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	console, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait()
	}()
	var seen strings.Builder
	for lines := bufio.NewScanner(console); lines.Scan(); {
		fmt.Fprintln(&seen, lines.Text())
		if strings.Contains(lines.Text(), want[0]) {
			t.Logf("%s after %s", want[0], time.Since(start).Round(time.Millisecond))
			if want = want[1:]; len(want) == 0 {
				return
			}
			if want[0] == shellAnswer {
				go ask(ctx, keyboard)
			}
		}
	}
	t.Fatalf("the console never said %q:\n%s", want[0], seen.String())
}

// shellAnswer is what a shell on the console makes of what ask types.
const shellAnswer = "the shell answers 42"

// ask types a line every second until ctx ends: whoever reads the console may only just
// have begun to. What is typed before the kernel has the console is never read.
func ask(ctx context.Context, keyboard io.Writer) {
	for ctx.Err() == nil {
		io.WriteString(keyboard, "echo the shell answers $((6*7))\r")
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// The same digest from another clone, in a folder with a blank, by another user, in
// another language, time zone and umask, with nothing in the caches of the go command
// but modules.
func TestE2ESameDigestElsewhere(t *testing.T) {
	here := newSite(t, installed(t))
	want := here.piimg("build", "../../recipes/quickstart.toml")

	clone := filepath.Join(t.TempDir(), "an other place")
	top, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	script := `umask 077
git clone --quiet "$TOP" "$CLONE" && cd "$CLONE" && make --silent build &&
exec .build/piimg build recipes/quickstart.toml`
	cmd := exec.Command("sh", "-c", script)
	there := newSite(t, "", "TOP="+top, "CLONE="+clone, "USER=bob", "LOGNAME=bob",
		"LC_ALL=tr_TR.UTF-8", "LANG=tr_TR.UTF-8", "TZ=Asia/Kathmandu", "HOSTNAME=elsewhere", "GOCACHE="+t.TempDir())
	cmd.Env = there.env
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != want {
		t.Errorf("built here: %s, elsewhere: %s", want, got)
	}
}
