//go:build clients

package main

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// lab is a network namespace with a bridge at 10.77.0.1 and a tap device for a guest.
type lab struct {
	t    *testing.T
	name string
}

func newLab(t *testing.T) lab {
	t.Helper()
	l := lab{t, fmt.Sprintf("piimg%d", os.Getpid())}
	l.must("ip", "netns", "add", l.name)
	t.Cleanup(func() { exec.Command("ip", "netns", "del", l.name).Run() })
	for _, args := range []string{
		"link set lo up", "tuntap add tap0 mode tap", "link add br0 type bridge", "link set tap0 master br0",
		"addr add 10.77.0.1/24 dev br0", "link set br0 up", "link set tap0 up",
	} {
		l.must(append([]string{"ip", "netns", "exec", l.name, "ip"}, strings.Fields(args)...)...)
	}
	return l
}

func (l lab) must(args ...string) {
	l.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		l.t.Fatalf("%s: %v (this test needs root)\n%s", strings.Join(args, " "), err, out)
	}
}

// start runs a command in the namespace until the test ends.
func (l lab) start(out io.Writer, in io.Reader, args ...string) {
	l.t.Helper()
	cmd := exec.Command("ip", append([]string{"netns", "exec", l.name}, args...)...)
	cmd.Stdout, cmd.Stderr, cmd.Stdin = out, out, in
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

// machine starts a guest with firmware, and returns its console.
func (l lab) machine(firmware string) *serial {
	l.t.Helper()
	c := newSerial(l.t)
	l.start(c, c.keys, "qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-m", "1024", "-nographic", "-no-reboot", "-bios", firmware,
		"-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=n0,mac=52:54:00:00:00:44,romfile=",
		"-device", "virtio-rng-pci")
	return c
}

// serial is a serial line: what it says, and a way to type.
type serial struct {
	t      *testing.T
	keys   io.Reader
	typing io.Writer
	said   chan []byte
	text   bytes.Buffer
}

func newSerial(t *testing.T) *serial {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return &serial{t: t, keys: r, typing: w, said: make(chan []byte, 1024)}
}

func (c *serial) Write(b []byte) (int, error) {
	c.said <- bytes.Clone(b)
	return len(b), nil
}

// qemuPatience is how long an emulated machine may take for its next word.
const qemuPatience = 8 * time.Minute

// want waits until the console has said what, and forgets everything up to it.
func (c *serial) want(what string) string {
	c.t.Helper()
	end := time.After(qemuPatience)
	for {
		if before, after, ok := bytes.Cut(c.text.Bytes(), []byte(what)); ok {
			found := string(before)
			rest := bytes.Clone(after)
			c.text.Reset()
			c.text.Write(rest)
			return found
		}
		select {
		case b := <-c.said:
			c.text.Write(b)
		case <-end:
			c.t.Fatalf("the console has not said %q in %s:\n%s", what, qemuPatience, &c.text)
		}
	}
}

func (c *serial) say(line string) { fmt.Fprintln(c.typing, line) }

// press hits a key again and again: a countdown may be over before a busy machine has read
// of it.
func (c *serial) press(enough <-chan struct{}) {
	for {
		c.say("")
		select {
		case <-enough:
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// clientsFolder is what the guests fetch: a kernel that EFI can start, and a file of whose
// every block something is known.
func clientsFolder(t *testing.T) (dir string, kernel []byte) {
	t.Helper()
	kernel, err := os.ReadFile("/usr/lib/debian-installer/images/12/arm64/text/debian-installer/arm64/linux")
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "linux.efi"), kernel, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, kernel
}

// TestUBoot fetches a kernel with U-Boot, one block at a time and in windows, and lets it
// compute the check sum.
func TestUBoot(t *testing.T) {
	l := newLab(t)
	dir, kernel := clientsFolder(t)
	startPiimg(t, dir, "10.77.0.1:69", "ip", "netns", "exec", l.name)
	c := l.machine(filepath.Join(os.Getenv("RIVALS"), "u-boot-qemu/usr/lib/u-boot/qemu_arm64/u-boot.bin"))
	prompted := make(chan struct{})
	go c.press(prompted)
	c.want("=>")
	close(prompted)
	for _, settings := range []string{"", "setenv tftpblocksize 1468", "setenv tftpblocksize 1468; setenv tftpwindowsize 16"} {
		c.say("setenv ipaddr 10.77.0.2; setenv serverip 10.77.0.1; setenv autoload no; " + settings)
		c.want("=>")
		c.say("tftpboot 0x41000000 env/bench/linux.efi")
		c.want(fmt.Sprintf("Bytes transferred = %d", len(kernel)))
		c.want("=>")
		c.say("crc32 0x41000000 0x${filesize}")
		c.want(fmt.Sprintf("==> %08x", crc32.ChecksumIEEE(kernel)))
	}
	c.say("tftpboot 0x41000000 env/bench/nothing")
	c.want("file not found")
}

// TestEDK2 boots a kernel over PXE with EDK2, which checks the file before it starts it.
func TestEDK2(t *testing.T) {
	l := newLab(t)
	dir, _ := clientsFolder(t)
	startPiimg(t, dir, "10.77.0.1:69", "ip", "netns", "exec", l.name)
	l.dhcp("env/bench/linux.efi")
	c := l.machine("/usr/share/qemu-efi-aarch64/QEMU_EFI.fd")
	c.want("NBP file downloaded successfully")
	c.want("EFI stub: Booting Linux Kernel")
}

// TestIPXE boots iPXE over PXE, and lets that fetch a script and a kernel over TFTP.
func TestIPXE(t *testing.T) {
	l := newLab(t)
	dir, kernel := clientsFolder(t)
	ipxe, err := os.ReadFile(filepath.Join(os.Getenv("RIVALS"), "ipxe/usr/lib/ipxe/ipxe-arm64.efi"))
	if err != nil {
		t.Fatal(err)
	}
	script := "#!ipxe\nimgfetch --name k tftp://10.77.0.1/env/bench/linux.efi && imgstat k && echo fetched it || echo no\nsleep 60\n"
	for name, content := range map[string][]byte{"ipxe.efi": ipxe, "boot.ipxe": []byte(script)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	startPiimg(t, dir, "10.77.0.1:69", "ip", "netns", "exec", l.name)
	l.dhcp("env/bench/ipxe.efi", "--dhcp-match=set:ipxe,175", "--dhcp-boot=tag:ipxe,env/bench/boot.ipxe,,10.77.0.1")
	c := l.machine("/usr/share/qemu-efi-aarch64/QEMU_EFI.fd")
	c.want("iPXE initialising devices")
	c.want(fmt.Sprintf("%d bytes", len(kernel)))
	c.want("fetched it")
}

// dhcp tells guests to boot file from piimg, and what more says.
func (l lab) dhcp(file string, more ...string) {
	args := []string{"dnsmasq", "-k", "-p", "0", "-C", "/dev/null", "-u", "root", "-x", "", "-i", "br0", "-z",
		"--dhcp-range=10.77.0.10,10.77.0.20,5m", "--dhcp-leasefile=/dev/null", "--dhcp-boot=" + file + ",,10.77.0.1"}
	l.start(io.Discard, nil, append(args, more...)...)
}
