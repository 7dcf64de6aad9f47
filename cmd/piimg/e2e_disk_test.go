//go:build e2e

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const diskRecipe = `
name   = "disk"
boards = ["pi4b"]
bootloader = "2024-04-15"
[sources.kernel]
module = "github.com/gokrazy/kernel.rpi@v0.0.0-20251127164438-9778ec0261de"
[sources.firmware]
module = "github.com/gokrazy/firmware@v0.0.0-20260522070551-527ce0ed43cf"
[kernel]
file    = "kernel:vmlinuz"
cmdline = "console=tty1"
[dtb]
files = ["kernel:bcm2711-rpi-4-b.dtb"]
[firmware]
from = "firmware"
[sources.efi]
path = "linux.efi"
[output]
efi = "efi:linux.efi"
`

// diskImage builds an image with Debian's kernel as its program for UEFI firmware: every
// arm64 kernel of a distribution is one.
func diskImage(t *testing.T) (s *site, dir, image string) {
	t.Helper()
	s, dir = newSite(t, installed(t)), t.TempDir()
	for name, from := range map[string]string{"linux.efi": debianKernel} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	recipe := filepath.Join(dir, "disk.toml")
	if err := os.WriteFile(recipe, []byte(diskRecipe), 0o644); err != nil {
		t.Fatal(err)
	}
	s.piimg("lock", recipe)
	return s, dir, s.piimg("build", recipe)
}

// UEFI firmware finds the partition, the file system in it and the program in that, and
// starts it.
func TestE2EFirmwareStartsFromTheDisk(t *testing.T) {
	s, dir, image := diskImage(t)
	disk := filepath.Join(dir, "sd.img")
	s.piimg("export", image, "--sdcard", disk)
	emulate(t, []string{
		"-nic", "none", "-bios", "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd",
		"-drive", "format=raw,readonly=on,if=none,id=d,file=" + disk, "-device", "virtio-blk-device,drive=d",
	}, "EFI stub: Booting Linux Kernel")
}

// A loop device is a real block device: it is written and read back, and refused while it
// is mounted, or is a partition.
func TestE2EWriteToADevice(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("loop devices take root: run make e2e as root")
	}
	s, dir, image := diskImage(t)
	backing := filepath.Join(dir, "backing")
	run := func(argv ...string) string {
		t.Helper()
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	refused := func(want string, device string) {
		t.Helper()
		cmd := exec.Command(s.bin, "write", image, device, "--yes")
		cmd.Env = s.env
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("write to %s: %v, want %q:\n%s", device, err, want, out)
		}
	}
	run("truncate", "-s", "200M", backing)
	loop := run("losetup", "--find", "--show", backing)
	t.Cleanup(func() { _ = exec.Command("losetup", "-d", loop).Run() })
	s.piimg("write", image, loop, "--yes")
	disk := filepath.Join(dir, "sd.img")
	s.piimg("export", image, "--sdcard", disk)
	want, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(loop)
	if err != nil || len(got) != 200<<20 || !bytes.Equal(got[:len(want)], want) {
		t.Errorf("the device holds something else: %v", err)
	}
	if said := run("blkid", "-p", "-o", "value", "-s", "PTTYPE", loop); said != "dos" {
		t.Errorf("blkid sees a table of type %q", said)
	}

	run("mkfs.ext4", "-q", loop)
	mount := filepath.Join(dir, "mnt")
	run("mkdir", mount)
	run("mount", loop, mount)
	refused("is mounted at "+mount, loop)
	run("umount", mount)
	run("losetup", "-d", loop)
	loop = run("losetup", "--find", "--show", "--read-only", backing)
	refused("can only be read", loop)
}
