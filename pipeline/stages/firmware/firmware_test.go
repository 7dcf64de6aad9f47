package firmware_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/stages/firmware"
	"piimg/pipeline/stages/stagetest"
	"piimg/store"
)

func world(boards, firmware string, files ...string) stagetest.World {
	w := stagetest.World{
		Recipe: "name = \"t\"\nboards = [" + boards + "]\n" + firmware + `
[sources.fw]
path = "fw"
[kernel]
file    = "kernel"
cmdline = "quiet"
[dtb]
files = ["x.dtb"]
`,
		Files: map[string]string{"kernel": "", "x.dtb": ""},
	}
	for _, f := range files {
		w.Files["fw/"+f] = f
	}
	return w
}

var all = []string{"start4.elf", "fixup4.dat", "start.elf", "fixup.dat", "start4x.elf", "fixup4x.dat", "bootcode.bin", "LICENSE.broadcom", "README.md"}

func paths(files []store.File) []string {
	var names []string
	for _, f := range files {
		names = append(names, f.Path)
	}
	return names
}

func TestBoardsGetWhatTheyLoad(t *testing.T) {
	for _, tt := range []struct {
		boards, firmware string
		want             []string
	}{
		{`"pi4b", "cm4"`, `firmware = { from = "fw" }`, []string{"LICENSE.broadcom", "fixup4.dat", "start4.elf"}},
		{`"pi3b"`, `firmware = { from = "fw" }`, []string{"LICENSE.broadcom", "bootcode.bin", "fixup.dat", "start.elf"}},
		{`"pi4b"`, `firmware = { from = "fw", files = ["*4x.*"] }`, []string{"LICENSE.broadcom", "fixup4x.dat", "start4x.elf"}},
	} {
		w := world(tt.boards, tt.firmware, all...)
		stagetest.Plan(t, firmware.Stage{}, w)
		_, files := stagetest.Run(t, w, firmware.Stage{})
		if d := cmp.Diff(tt.want, paths(files)); d != "" {
			t.Errorf("%s %s (-want +got):\n%s", tt.boards, tt.firmware, d)
		}
	}
}

func TestBoardsWithoutFirmwareHaveNoStep(t *testing.T) {
	if step := stagetest.Plan(t, firmware.Stage{}, world(`"pi5"`, "", "x")); step != nil {
		t.Errorf("step %+v", step)
	}
}

func TestMissingFileIsNamed(t *testing.T) {
	err := stagetest.Fails(t, world(`"pi4b"`, `firmware = { from = "fw" }`, "start4.elf", "fixup.dat"), firmware.Stage{})
	if !strings.Contains(err.Error(), "fw:fixup4.dat: file does not exist; there are fixup.dat") {
		t.Errorf("error %v", err)
	}
}
