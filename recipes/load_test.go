package recipes

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// small is the least that a recipe has to say.
const small = `name = "small"
boards = ["pi5"]
kernel = { file = "Image", cmdline = "console=tty1" }
dtb = { files = ["*.dtb"] }
`

func laySmall(t *testing.T, more map[string]string) {
	t.Helper()
	lay(t, map[string]string{"Image": "", "a.dtb": "", "b.dtb": ""})
	for name, text := range more {
		write(t, name, text)
	}
}

func mustLoad(t *testing.T, file string) *Recipe {
	t.Helper()
	r, err := Load(file)
	if err != nil {
		t.Fatal(said(err))
	}
	return r
}

var ignoreWhere = cmpopts.IgnoreUnexported(Recipe{})

func TestLoadFillsDefaultsIn(t *testing.T) {
	laySmall(t, map[string]string{"small.toml": small})
	got := mustLoad(t, "small.toml")
	want := &Recipe{
		File: "small.toml", Name: "small", Epoch: DefaultEpoch, Boards: []string{"pi5"},
		Sources: map[string]Source{},
		Kernel:  Kernel{File: Ref{Path: "Image"}, Name: "kernel8.img", Cmdline: "console=tty1"},
		DTB:     DTB{Files: []Ref{{Path: "*.dtb"}}, Overlays: []string{}, Ship: []string{}},
	}
	if diff := cmp.Diff(want, got, ignoreWhere); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
}

func TestLoadReadsEveryKey(t *testing.T) {
	lab(t)
	got := mustLoad(t, "pi4.toml")
	want := &Recipe{
		File: "pi4.toml", Name: "pi4-lab", Epoch: 1700000000, Boards: []string{"pi4b"}, Bootloader: "2024-04-15",
		Sources: map[string]Source{
			"kernel":   {Module: "github.com/gokrazy/kernel.rpi@v0.0.0-20251127164438-9778ec0261de"},
			"firmware": {URL: "https://example.org/firmware.tar.gz", SHA256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
			"tree":     {Path: "tree"},
			"archive":  {Path: "rootfs.cpio.gz"},
			"uroot":    {Module: "github.com/u-root/u-root@v0.16.0"},
		},
		Kernel: Kernel{File: Ref{"kernel", "vmlinuz"}, Name: "vmlinuz", Cmdline: "console=ttyAMA0,115200 console=tty1"},
		DTB: DTB{
			Files:    []Ref{{"kernel", "*.dtb"}, {"", "dtb/*.dtb"}},
			Overlays: []string{"disable-bt"}, OverlaysFrom: Ref{"tree", "overlays"}, Ship: []string{"*.dtbo"},
		},
		Firmware: Firmware{"firmware", []string{"start4.elf", "fixup4.dat"}},
		Config: []Section{
			{"", []Setting{{"enable_uart", "1"}, {"dtparam", "audio=off"}, {"dtparam", "i2c_arm=on"}}},
			{"pi4", []Setting{{"arm_boost", "1"}}},
			{"board-type=0x11", []Setting{{"gpu_mem", "16"}}},
		},
		Initramfs: &Initramfs{
			Name: "initramfs.cpio.zst", Base: Ref{Path: "uroot"}, Mode: "append", Compression: "zstd", Level: "auto", Overlays: []string{"overlay"},
			Files: []File{
				{Path: "etc/hostname", Mode: 0o644, Content: "pi\n", Key: "initramfs.file[0]"},
				{Path: "etc/issue", Mode: 0o600, UID: 1, GID: 2, Template: "{{.Name}} {{.Recipe}} {{.Epoch}}", Key: "initramfs.file[1]"},
				{Path: "bin/su", Mode: 0o4755, From: Ref{Path: "files/su"}, Key: "initramfs.file[2]"},
			},
			Symlinks: []Symlink{{"etc/mtab", "/proc/mounts", "initramfs.symlink[0]"}},
			Nodes:    []Node{{Path: "dev/console", Type: "char", Major: 5, Minor: 1, Mode: 0o600, Key: "initramfs.node[0]"}},
			Modules:  &Modules{From: "kernel", Path: "lib/modules/6*", Select: []string{"bluetooth", "hci-uart", "kernel/drivers/media/usb"}},
		},
		URoot: &URoot{"uroot", []string{"core/init", "core/gosh", "core/ls"}, "init", "gosh"},
	}
	if diff := cmp.Diff(want, got, ignoreWhere); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
}

func TestPos(t *testing.T) {
	lab(t)
	r := mustLoad(t, "pi4.toml")
	for key, want := range map[string]string{
		"name":                                 "pi4.toml:1",
		"dtb.files[1]":                         "pi4.toml:30",
		`config."board-type=0x11".gpu_mem`:     "pi4.toml:48",
		r.Initramfs.Files[1].Key + ".template": "pi4.toml:64",
		"uroot.shell":                          "pi4.toml:1", // a default
	} {
		if got := r.Pos(key).String(); got != want {
			t.Errorf("Pos(%s) = %s; want %s", key, got, want)
		}
	}
}

func TestPathIsBesideTheRecipe(t *testing.T) {
	laySmall(t, map[string]string{"in/small.toml": small, "in/Image": "", "in/a.dtb": ""})
	r := mustLoad(t, "./in/small.toml")
	if got, want := r.Path(r.Kernel.File.Path), filepath.Join("in", "Image"); got != want {
		t.Errorf("Path = %s; want %s", got, want)
	}
}

func TestEpochOfTheCaller(t *testing.T) {
	laySmall(t, map[string]string{"small.toml": small + "# epoch\n"})
	epoch := int64(1800000000)
	r, err := LoadOptions{Epoch: &epoch}.Load("small.toml")
	if err != nil || r.Epoch != epoch {
		t.Errorf("Load = epoch %d, %v; want %d", r.Epoch, err, epoch)
	}
	epoch = 0
	_, err = LoadOptions{Epoch: &epoch}.Load("small.toml")
	want := "small.toml: epoch: SOURCE_DATE_EPOCH: 0 is not between 315532800 and 4294967295\n  hint: times in an image start in 1980, where FAT's clock starts\n"
	if got := said(err); got != want {
		t.Errorf("Load = %q; want %q", got, want)
	}
}

func TestNoFile(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, file := range []string{"none.toml", "no/folder.toml"} {
		_, err := Load(file)
		if !errors.Is(err, fs.ErrNotExist) || said(err) != file+": does not exist\n" {
			t.Errorf("Load(%s) = %v; want fs.ErrNotExist", file, err)
		}
	}
	if err := os.Mkdir("dir.toml", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Load("dir.toml"); said(err) != "dir.toml: is not a file\n" {
		t.Errorf("Load of a folder = %v", err)
	}
}

// TestCanonical loads one recipe in several forms, from several folders.
func TestCanonical(t *testing.T) {
	good := lab(t)
	want := canonical(t, "pi4.toml")
	forms := map[string]string{
		"carriage returns": strings.ReplaceAll(good, "\n", "\r\n"),
		"comments":         strings.ReplaceAll(good, "\n[", "\n# [name]\n\n["),
		"inline": strings.Replace(good, "[sources.tree]\npath = \"tree\"\n", "", 1) +
			"\n[sources]\ntree = { path = \"./tree\" }\n",
		"dotted": strings.Replace(good, "[config.pi4]\narm_boost = 1\n", "[config.\"pi4\"]\n'arm_boost' = \"1\"\n", 1),
		"modes":  strings.NewReplacer("0o600", `"600"`, `"4755"`, "0o4755").Replace(good),
		"dates":  strings.Replace(good, `"2024-04-15"`, "2024-04-15", 1),
	}
	for name, text := range forms {
		write(t, "pi4.toml", text)
		if diff := cmp.Diff(want, canonical(t, "pi4.toml")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	write(t, "pi4.toml", good)
	elsewhere := filepath.Join(t.TempDir(), "checkout")
	if err := os.Rename(must(t)(os.Getwd()), elsewhere); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, canonical(t, filepath.Join(elsewhere, "pi4.toml"))); diff != "" {
		t.Errorf("elsewhere (-want +got):\n%s", diff)
	}
}

func must(t *testing.T) func(string, error) string {
	return func(s string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func canonical(t *testing.T, file string) string {
	t.Helper()
	b, err := mustLoad(t, file).Canonical()
	return must(t)(string(b), err)
}

// TestCanonicalBytes holds the form still: other bytes rebuild every image.
func TestCanonicalBytes(t *testing.T) {
	laySmall(t, map[string]string{"small.toml": small + "[config]\ndtparam = \"x=<&>\"\n"})
	want := `{"name":"small","epoch":315532800,"boards":["pi5"],` +
		`"kernel":{"file":"Image","name":"kernel8.img","cmdline":"console=tty1"},` +
		`"dtb":{"files":["*.dtb"],"overlays":[],"overlays_from":"","ship":[]},` +
		`"firmware":{"from":""},"config":[{"filter":"","lines":[{"key":"dtparam","value":"x=<&>"}]}]}`
	if diff := cmp.Diff(want, canonical(t, "small.toml")); diff != "" {
		t.Errorf("Canonical (-want +got):\n%s", diff)
	}
}

func TestShowIsARecipe(t *testing.T) {
	lab(t)
	want := canonical(t, "pi4.toml")
	var b bytes.Buffer
	if err := mustLoad(t, "pi4.toml").Show(&b); err != nil {
		t.Fatal(err)
	}
	write(t, "shown.toml", b.String())
	if diff := cmp.Diff(want, canonical(t, "shown.toml")); diff != "" {
		t.Errorf("recipe of %s\n(-want +got):\n%s", b.String(), diff)
	}
}

func TestShowSaysWhere(t *testing.T) {
	laySmall(t, map[string]string{
		"base.toml":  small + "[config]\nenable_uart = 1\ndtparam = [\"a\"]\n",
		"small.toml": "extends = \"base.toml\"\nname = \"tiny\"\n[config]\n\"dtparam+\" = [\"b=\\\"\\\\\"]\n",
	})
	var b bytes.Buffer
	if err := mustLoad(t, "small.toml").Show(&b); err != nil {
		t.Fatal(err)
	}
	want := `name = "tiny"  # small.toml:2
epoch = 315532800
boards = ["pi5"]  # base.toml:2

[kernel]
file = "Image"  # base.toml:3
name = "kernel8.img"
cmdline = "console=tty1"  # base.toml:3

[dtb]
files = ["*.dtb"]  # base.toml:4
overlays = []

[config]
enable_uart = 1  # base.toml:6
dtparam = [
  "a",       # base.toml:7
  "b=\"\\",  # small.toml:4
]
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("Show (-want +got):\n%s", diff)
	}
}

func TestBoards(t *testing.T) {
	boards, err := Boards()
	if err != nil {
		t.Fatal(said(err))
	}
	if !slices.IsSortedFunc(boards, func(a, b Board) int { return strings.Compare(a.Model, b.Model) }) {
		t.Error("Boards are not sorted")
	}
	for _, want := range boards {
		got, err := BoardByName(want.Model)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("BoardByName(%s): %v\n%s", want.Model, err, diff)
		}
		if len(want.Kernels) == 0 || len(want.DTBs) == 0 || want.Type == 0 {
			t.Errorf("board %s says too little: %+v", want.Model, want)
		}
	}
}

func TestBoardMistakes(t *testing.T) {
	const good = `name = "a"
title = "A"
filters = ["pi4"]
type = 0x11
platform = "bcm2711"
starts = ["start4.elf"]
fixups = ["fixup4.dat"]
kernels = ["kernel8.img"]
dtbs = ["a.dtb"]
`
	for _, c := range []struct{ name, old, new, want string }{
		{"platform", "bcm2711", "bcm2837", "boards/a.toml:5: platform: unknown value \"bcm2837\"\n  hint: did you mean \"bcm2835\"?\n"},
		{"name of the file", `"a"`, `"b"`, "boards/a.toml:1: name: \"b\" is not the name of the file\n  hint: rename the file to b.toml\n"},
		{"fixups", `["fixup4.dat"]`, "[]", "boards/a.toml:7: fixups: 0 fixups for 1 starts\n  hint: name the fixup of each of starts, in the same order\n"},
		{"boolean", "type = 0x11", "type = 0x11\neeprom = 1", "boards/a.toml:5: eeprom: must be a boolean, not an integer\n  hint: write true or false\n"},
		{"unknown key", "dtbs =", "dtb =", "boards/a.toml:9: dtb: unknown key\n  hint: did you mean \"dtbs\"?\n"},
		{"syntax", "type = 0x11", "type = 0xZZ", "boards/a.toml:4: type: not a hexadecimal number: '0xZ'\n"},
	} {
		_, err := readBoards(fstest.MapFS{"boards/a.toml": {Data: []byte(strings.Replace(good, c.old, c.new, 1))}})
		if diff := cmp.Diff(c.want, said(err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	if boards, err := readBoards(fstest.MapFS{"boards/a.toml": {Data: []byte(good)}}); err != nil || len(boards) != 1 {
		t.Errorf("readBoards = %v, %v", boards, err)
	}
}

// TestErrors has a list of mistakes behave as an error does.
func TestErrors(t *testing.T) {
	laySmall(t, map[string]string{"small.toml": strings.Replace(small, "Image", "Bild", 1) + "[firmware]\n"})
	_, err := Load("small.toml")
	want := "small.toml:3: kernel.file: \"Bild\" does not exist\nsmall.toml:5: firmware.from: is missing"
	if err == nil || err.Error() != want {
		t.Errorf("Load = %v; want %s", err, want)
	}
	var first *Error
	if !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &first) || first.Line != 3 {
		t.Errorf("Load = %v; want fs.ErrNotExist, and line 3 first", err)
	}
	if got := Mistakes(errors.New("other")); got != nil {
		t.Errorf("Mistakes of another error = %v", got)
	}
}

func TestUnknownBoard(t *testing.T) {
	_, err := BoardByName("pi4")
	var hint interface{ Hint() string }
	if !errors.As(err, &hint) || !errors.Is(err, fs.ErrNotExist) || hint.Hint() != `did you mean "pi4b"?` {
		t.Errorf("BoardByName(pi4) = %v; want a hint", err)
	}
}

func TestLoadReadsEdits(t *testing.T) {
	laySmall(t, map[string]string{"base.cpio": "", "small.toml": small + `
[initramfs]
base = "base.cpio"
level = "fast"
recompress = true
normalize = true
remove = ["usr/share/doc/**", "**/*.pyc"]
[[initramfs.dir]]
path = "var/tmp"
mode = "1777"
[[initramfs.file]]
path = "var/tmp/f"
content = ""
[[initramfs.rename]]
from = "sbin/init.real"
to = "sbin/init"
[[initramfs.chmod]]
path = "usr/bin/*"
mode = "0700"
[[initramfs.chown]]
path = "home/pi/**"
owner = "1000:1001"
[[initramfs.node]]
path = "run/initctl"
type = "fifo"
[initramfs.limits]
ratio = 900
size = 1073741824
`})
	got := mustLoad(t, "small.toml")
	want := &Initramfs{
		Name: "initramfs.cpio.gz", Base: Ref{Path: "base.cpio"}, Mode: "auto", Compression: "gzip", Level: "fast",
		Recompress: true, Normalize: true, Overlays: []string{}, Remove: []string{"usr/share/doc/**", "**/*.pyc"},
		Dirs:    []Dir{{"var/tmp", 0o1777, 0, 0, "initramfs.dir[0]"}},
		Files:   []File{{Path: "var/tmp/f", Mode: 0o644, Key: "initramfs.file[0]"}},
		Nodes:   []Node{{Path: "run/initctl", Type: "fifo", Mode: 0o600, Key: "initramfs.node[0]"}},
		Renames: []Rename{{"sbin/init.real", "sbin/init", "initramfs.rename[0]"}},
		Chmods:  []Chmod{{"usr/bin/*", 0o700, "initramfs.chmod[0]"}},
		Chowns:  []Chown{{"home/pi/**", 1000, 1001, "initramfs.chown[0]"}},
		Limits:  Limits{Ratio: 900, Size: 1 << 30},
	}
	if diff := cmp.Diff(want, got.Initramfs); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
	var b bytes.Buffer
	if err := got.Show(&b); err != nil {
		t.Fatal(err)
	}
	write(t, "shown.toml", b.String())
	again := mustLoad(t, "shown.toml")
	if diff := cmp.Diff(got.Initramfs, again.Initramfs); diff != "" {
		t.Errorf("Show loses something (-want +got):\n%s", diff)
	}
}

// TestIgnoredRules: tables of rules merge, a later reason replaces an earlier one, Show prints
// all of it, and a table without rules is as none.
func TestIgnoredRules(t *testing.T) {
	laySmall(t, map[string]string{
		"base.toml":  small + "[lint]\nignore = { P04 = \"ours\", P14 = \" not ours \" }\n",
		"small.toml": "extends = \"base.toml\"\n[lint.ignore]\nP04 = \"measured\"\nP26 = \"on paper\"\n",
		"none.toml":  small + "[lint]\n[lint.ignore]\n",
	})
	got := mustLoad(t, "small.toml")
	want := map[string]string{"P04": "measured", "P14": "not ours", "P26": "on paper"}
	if diff := cmp.Diff(want, got.Ignored()); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
	if p := got.Pos("lint.ignore.P04").String(); p != "small.toml:3" {
		t.Errorf("P04 is at %s", p)
	}
	var b bytes.Buffer
	if err := got.Show(&b); err != nil {
		t.Fatal(err)
	}
	write(t, "shown.toml", b.String())
	if diff := cmp.Diff(canonical(t, "small.toml"), canonical(t, "shown.toml")); diff != "" {
		t.Errorf("Show loses something (-want +got):\n%s", diff)
	}
	if text := canonical(t, "none.toml"); strings.Contains(text, "lint") {
		t.Errorf("a table without rules is %s", text)
	}
}

// TestOutput loads what is said of a card, as text and as Show prints it.
func TestOutput(t *testing.T) {
	laySmall(t, map[string]string{"small.toml": small + "[output]\nsdcard_img = true\nsdcard_size = \"2048M\"\nsdcard_label = \"LAB_1\"\n"})
	got := mustLoad(t, "small.toml")
	if diff := cmp.Diff(&Output{SDCardImg: true, SDCardSize: 2 << 30, SDCardLabel: "LAB_1"}, got.Output); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
	var b bytes.Buffer
	if err := got.Show(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "sdcard_size = \"2G\"") {
		t.Errorf("Show prints\n%s", &b)
	}
	write(t, "shown.toml", b.String())
	if diff := cmp.Diff(got.Output, mustLoad(t, "shown.toml").Output); diff != "" {
		t.Errorf("Show loses something (-want +got):\n%s", diff)
	}
}
