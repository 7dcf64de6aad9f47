package recipes

import (
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExtendsMergesTablesAndReplacesLists(t *testing.T) {
	laySmall(t, map[string]string{
		"base.toml": small + `
[sources.kernel]
module = "example.org/kernel@v1.2.3"
[config]
arm_boost = 1
dtparam = ["a", "b"]
gpio = "4=op"
[config."pi3+"]
gpu_mem = 16
[initramfs]
base = "Image"
[[initramfs.file]]
path = "one"
content = "1"
`,
		"small.toml": `
extends = "base.toml"
name = "derived"
boards = ["pi5", "pi500"]
[sources.kernel]
path = "Image"
[kernel]
cmdline = "quiet"
[dtb]
"files+" = ["a.dtb"]
[config]
enable_uart = 1
arm_boost = 0
dtparam = ["c"]
"gpio+" = ["5=op"]
[config."pi3+"]
gpu_mem = 32
[[initramfs."file+"]]
path = "two"
content = "2"
`})
	r := mustLoad(t, "small.toml")
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"name", r.Name, "derived"},
		{"boards", r.Boards, []string{"pi5", "pi500"}},
		{"a source is replaced as a whole", r.Sources["kernel"], Source{Path: "Image"}},
		{"a table is merged", r.Kernel, Kernel{File: Ref{Path: "Image"}, Name: "kernel8.img", Cmdline: "quiet"}},
		{"+ appends", r.DTB.Files, []Ref{{Path: "*.dtb"}, {Path: "a.dtb"}}},
		{"config", r.Config, []Section{
			{"", []Setting{{"arm_boost", "0"}, {"dtparam", "c"}, {"gpio", "4=op"}, {"gpio", "5=op"}, {"enable_uart", "1"}}},
			{"pi3+", []Setting{{"gpu_mem", "32"}}},
		}},
		{"+ appends tables", r.Initramfs.Files, []File{
			{Path: "one", Mode: 0o644, Content: "1", Key: "initramfs.file[0]"},
			{Path: "two", Mode: 0o644, Content: "2", Key: "initramfs.file[1]"},
		}},
		{"place of an inherited element", r.Pos("initramfs.file[0].path").String(), "base.toml:17"},
		{"place of an appended element", r.Pos("initramfs.file[1].path").String(), "small.toml:19"},
		{"place of a merged key", r.Pos("kernel.file").String(), "base.toml:3"},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestExtendsAppliesABaseOnce has two recipes extend one base, which appends.
func TestExtendsAppliesABaseOnce(t *testing.T) {
	laySmall(t, map[string]string{
		"base.toml":  small + "[config]\n\"dtparam+\" = [\"base\"]\n",
		"left.toml":  "extends = \"base.toml\"\n[config]\n\"dtparam+\" = [\"left\"]\n",
		"right.toml": "extends = [\"base.toml\"]\n[config]\n\"dtparam+\" = [\"right\"]\n",
		"small.toml": "extends = [\"left.toml\", \"right.toml\"]\n",
	})
	got := mustLoad(t, "small.toml").Config
	want := []Section{{"", []Setting{{"dtparam", "base"}, {"dtparam", "left"}, {"dtparam", "right"}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Config (-want +got):\n%s", diff)
	}
}

// TestExtendsThreeLevels has paths in folders: each is relative to the file that says it,
// and to the recipe once it is loaded.
func TestExtendsThreeLevels(t *testing.T) {
	laySmall(t, map[string]string{
		"common/base.toml":       small + "[initramfs]\nbase = \"root.cpio\"\noverlays = [\"overlay\"]\n",
		"common/Image":           "",
		"common/a.dtb":           "",
		"common/root.cpio":       "",
		"common/overlay/a":       "",
		"common/lab/lab.toml":    "extends = \"../base.toml\"\n[initramfs]\n\"overlays+\" = [\"overlay\", \"../overlay2\"]\n",
		"common/lab/overlay/b":   "",
		"common/overlay2/c":      "",
		"small.toml":             "extends = \"common/lab/lab.toml\"\n[initramfs]\n\"overlays+\" = [\"own\"]\n",
		"own/d":                  "",
		"common/overlay2/x/y/zz": "",
	})
	r := mustLoad(t, "small.toml")
	want := []string{"common/overlay", "common/lab/overlay", "common/overlay2", "own"}
	if diff := cmp.Diff(want, r.Initramfs.Overlays); diff != "" {
		t.Errorf("Overlays (-want +got):\n%s", diff)
	}
	if got, want := r.DTB.Files[0].Path, "common/*.dtb"; got != want {
		t.Errorf("DTB.Files[0] = %s; want %s", got, want)
	}
	for _, p := range r.Initramfs.Overlays {
		if _, err := os.Stat(r.Path(p)); err != nil {
			t.Error(err)
		}
	}
}

// filterList is the hint with all filters, which grows with the boards.
var filterList = regexp.MustCompile(`hint: known filters: .*\n`)

func TestMistakesInExtendedRecipes(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"circle", map[string]string{
			"small.toml": "name = \"x\"\nextends = \"a.toml\"\n",
			"a.toml":     "\n\nextends = [\n  \"b/b.toml\",\n]\n",
			"b/b.toml":   "extends = \"../a.toml\"\n",
		}, `b/b.toml:1: extends: goes round in a circle: small.toml > a.toml > b/b.toml > a.toml
  hint: take one of these extends out
`},
		{"missing, two levels up", map[string]string{
			"small.toml": "extends = \"in/a.toml\"\n",
			"in/a.toml":  "extends = \"b.toml\"\n",
		}, `in/a.toml:1: extends: "in/b.toml" does not exist
  hint: paths are relative to the file that says them, here in/a.toml
`},
		{"outside of the recipe's folder", map[string]string{
			"small.toml": "extends = \"in/a.toml\"\n",
			"in/a.toml":  "extends = \"../../b.toml\"\n",
		}, `in/a.toml:1: extends: path "../../b.toml" leaves the folder of the recipe
  hint: keep everything that a recipe uses in its folder, or declare a module or a url
`},
		{"syntax", map[string]string{
			"small.toml": "extends = \"a.toml\"\n",
			"a.toml":     "name = \"x\"\nboards = pi5\n",
		}, `a.toml:2: boards: expected value but found "pi" instead
  hint: put texts into quotes: "…"
`},
		{"inherited mistakes, by file and line", map[string]string{
			"small.toml": "extends = [\"base.toml\", \"more.toml\"]\nepoch = 1\n",
			"base.toml":  small + "[config]\nenable_uart = true\n[initramfs]\nbase = \"Image\"\n[[initramfs.file]]\npath = \"a\"\ncontent = \"\"\n",
			"more.toml":  "[config]\narm_bost = { a = 1 }\n[[initramfs.\"file+\"]]\npath = \"/b\"\ncontent = \"\"\n",
		}, `base.toml:6: config.enable_uart: config.txt has no booleans
  hint: write 1
more.toml:2: config.arm_bost: filter "arm_bost" is not known
  hint: FILTERS
more.toml:4: initramfs."file+"[0].path: path "/b" starts with a slash
  hint: write "b"
small.toml:2: epoch: 1 is not between 315532800 and 4294967295
  hint: times in an image start in 1980, where FAT's clock starts
`},
		{"a value over a table", map[string]string{
			"small.toml": "extends = \"base.toml\"\nkernel = \"Image\"\n",
			"base.toml":  small,
		}, `small.toml:2: kernel: must be a table, not a string
  hint: write [kernel] on a line of its own, and its keys below
`},
		{"a table over a value", map[string]string{
			"small.toml": "extends = \"base.toml\"\n[dtb]\nfiles = [\"a.dtb\"]\n",
			"base.toml":  "name = \"x\"\nboards = [\"pi5\"]\ndtb = \"a.dtb\"\n[kernel]\nfile = \"Image\"\ncmdline = \"x\"\n",
		}, `base.toml:3: dtb: must be a table, not a string
  hint: write [dtb] on a line of its own, and its keys below
`},
		{"appending to a value", map[string]string{
			"small.toml": "extends = \"base.toml\"\n\"boards+\" = [\"pi5\"]\n",
			"base.toml":  "boards = \"pi5\"\nname = \"x\"\ndtb = {files = [\"a.dtb\"]}\n[kernel]\nfile = \"Image\"\ncmdline = \"x\"\n",
		}, `base.toml:1: boards: must be a list, not a string
  hint: write ["pi5"]
`},
		{"required key that no file has", map[string]string{
			"small.toml": "extends = \"base.toml\"\n",
			"base.toml":  "boards = [\"pi5\"]\nname = \"x\"\ndtb = {files = [\"a.dtb\"]}\n[kernel]\ncmdline = \"x\"\n",
		}, `base.toml:4: kernel.file: is missing
  hint: add file = "kernel:vmlinuz"
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			laySmall(t, c.files)
			_, err := Load("small.toml")
			got := filterList.ReplaceAllString(said(err), "hint: FILTERS\n")
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("Load (-want +got):\n%s", diff)
			}
		})
	}
}
