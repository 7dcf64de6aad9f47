package bootfs_test

import (
	"testing"

	"piimg/pipeline/stages/bootfs"
	"piimg/pipeline/stages/stagetest"
)

var world = stagetest.World{
	Recipe: `
name   = "t"
boards = ["pi4b", "pi5"]
[kernel]
file    = "kernel"
name    = "vmlinuz"
cmdline = "console=tty1 quiet"
[dtb]
files    = ["x.dtb"]
overlays = ["disable-bt", "vc4-kms-v3d,cma-128"]
overlays_from = "overlays"
[firmware]
from = "fw"
[sources.fw]
path = "fw"
[initramfs]
base = "base"
[config]
enable_uart = 1
dtparam = ["audio=on", "i2c=on"]
[config.pi5]
usb_max_current_enable = 1
[config."gpio4=1"]
uart_2ndstage = 1
`,
	Files: map[string]string{"kernel": "", "x.dtb": "", "fw/f": "", "base": "", "overlays/a.dtbo": ""},
}

const config = `# Written by piimg. Change the recipe, not this file.
arm_64bit=1
kernel=vmlinuz
initramfs initramfs.cpio.gz followkernel
dtoverlay=disable-bt
dtoverlay=vc4-kms-v3d,cma-128
enable_uart=1
dtparam=audio=on
dtparam=i2c=on
[pi5]
usb_max_current_enable=1
[all]
[gpio4=1]
uart_2ndstage=1
[all]
`

func TestFiles(t *testing.T) {
	stagetest.Plan(t, bootfs.Stage{}, world)
	fsys, files := stagetest.Run(t, world, bootfs.Stage{})
	if got := stagetest.Read(t, fsys, "config.txt"); got != config {
		t.Errorf("config.txt is\n%s", got)
	}
	if got := stagetest.Read(t, fsys, "cmdline.txt"); got != "console=tty1 quiet\n" {
		t.Errorf("cmdline.txt is %q", got)
	}
	if len(files) != 2 {
		t.Errorf("without other stages there are %d files", len(files))
	}
}
