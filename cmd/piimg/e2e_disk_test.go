//go:build e2e

package main

import (
	"os"
	"path/filepath"
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
