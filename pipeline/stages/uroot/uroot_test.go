package uroot_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"piimg/pipeline/stages/stagetest"
	"piimg/pipeline/stages/uroot"
)

// A real build is part of the tests of the list of stages: it takes a minute.

func world(initramfs string) stagetest.World {
	return stagetest.World{
		Recipe: `
name   = "t"
boards = ["pi5"]
[kernel]
file    = "kernel"
cmdline = "quiet"
[dtb]
files = ["x.dtb"]
[sources.u]
path = "u"
[uroot]
from     = "u"
commands = ["core/ls", "core/init", "core/gosh", "core/nope"]
` + initramfs,
		Files: map[string]string{"kernel": "", "x.dtb": "", "base": "", "u/cmds/core/ls/ls.go": "", "u/cmds/core/init/i.go": "", "u/cmds/core/gosh/g.go": "", "u/cmds/core/nope/n.go": ""},
	}
}

func TestContract(t *testing.T) {
	step := stagetest.Plan(t, uroot.Stage{}, world("[initramfs]\nbase = \"uroot\"\n"))
	params, err := json.Marshal(step.Params)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(params), `"commands":["core/gosh","core/init","core/ls","core/nope"]`) {
		t.Errorf("the order of the commands is part of the key: %s", params)
	}
	if len(step.Tools) != 2 || step.Tools[0].Name != "go" {
		t.Errorf("tools %+v", step.Tools)
	}
}

func TestNoBuildForAnotherBase(t *testing.T) {
	if step := stagetest.Plan(t, uroot.Stage{}, world("[initramfs]\nbase = \"base\"\n")); step != nil {
		t.Errorf("step %+v", step)
	}
}

func TestMissingCommandIsNamed(t *testing.T) {
	w := world("[initramfs]\nbase = \"uroot\"\n")
	w.Recipe = strings.Replace(w.Recipe, `path = "u"`, `path = "bare"`, 1)
	w.Files["bare/cmds/core/init/i.go"] = ""
	err := stagetest.Fails(t, w, uroot.Stage{})
	if !strings.Contains(err.Error(), "source u has no command core/gosh") {
		t.Errorf("error %v", err)
	}
}

func TestToolIsTheGoThatBuilds(t *testing.T) {
	step := stagetest.Plan(t, uroot.Stage{}, world("[initramfs]\nbase = \"uroot\"\n"))
	got, err := step.Tools[0].Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "version")
	cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "GOTOOLCHAIN=local")
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), " "+got+" ") {
		t.Errorf("version %q, go version says %q, %v", got, out, err)
	}
}
