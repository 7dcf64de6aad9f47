package bootimg_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/bootsig"
	"piimg/pipeline/format/fat"
	"piimg/pipeline/stages/bootfs"
	"piimg/pipeline/stages/bootimg"
	"piimg/pipeline/stages/firmware"
	"piimg/pipeline/stages/stagetest"
)

func world(output string) stagetest.World {
	return stagetest.World{
		Recipe: `
name   = "t"
boards = ["pi4b", "pi5"]
[kernel]
file    = "kernel"
cmdline = "quiet"
[dtb]
files = ["x.dtb"]
[firmware]
from = "fw"
[sources.fw]
path = "fw"
[output]
` + output,
		Files: map[string]string{"kernel": "", "x.dtb": "", "fw/start4.elf": "s", "fw/fixup4.dat": "f", "fw/LICENCE.broadcom": "l", "fw/copyright": "c"},
	}
}

func TestRamdisk(t *testing.T) {
	w := world("boot_img = true\n")
	stagetest.Plan(t, bootimg.Stage{}, w)
	fsys, files := stagetest.Run(t, w, firmware.Stage{}, bootfs.Stage{}, bootimg.Stage{})
	var names []string
	for _, f := range files {
		names = append(names, f.Path)
	}
	if d := cmp.Diff([]string{"LICENCE.broadcom", "boot.img", "boot.sig", "config.txt", "copyright", "fixup4.dat", "start4.elf"}, names); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if got := stagetest.Read(t, fsys, "config.txt"); !strings.Contains(got, "\nboot_ramdisk=1\n") {
		t.Errorf("config.txt is\n%s", got)
	}
	image := stagetest.Read(t, fsys, "boot.img")
	inside, err := fat.Open(strings.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := fs.ReadFile(inside, "config.txt"); !bytes.Contains(b, []byte("kernel=kernel8.img")) || inside.LastCluster() {
		t.Errorf("config.txt inside is\n%s, %v; last cluster %v", b, err, inside.LastCluster())
	}
	sig, err := bootsig.Parse(stagetest.Read(t, fsys, "boot.sig"))
	if err != nil || sig.RSA != nil || sig.Time != 315532800 {
		t.Errorf("boot.sig is %+v, %v", sig, err)
	}
	file := filepath.Join(t.TempDir(), "boot.img")
	if err := os.WriteFile(file, []byte(image), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sha256sum", file).Output()
	if err != nil || !strings.HasPrefix(stagetest.Read(t, fsys, "boot.sig"), string(out[:64])+"\n") {
		t.Errorf("sha256sum says %s, %v", out, err)
	}
}

func TestNoRamdiskWhereNoneIsWanted(t *testing.T) {
	if step := stagetest.Plan(t, bootimg.Stage{}, world("")); step != nil {
		t.Errorf("step %+v", step)
	}
}

func TestNobodySigns(t *testing.T) {
	w := world("boot_img = true\nboot_key = \"key.pem\"\n")
	w.Files["key.pem"] = "no key"
	if err := stagetest.Fails(t, w, firmware.Stage{}, bootfs.Stage{}, bootimg.Stage{}); !strings.Contains(err.Error(), "output.boot_key: key.pem: no PEM block") {
		t.Errorf("error %v", err)
	}
}
