package buildroot

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline"
	"piimg/pipeline/format/kconfig"
	"piimg/pipeline/stages/stagetest"
	"piimg/recipes"
)

// What needs no tree of Buildroot's: a build of a real one is "make test-buildroot".

const recipe = `
name   = "br"
boards = ["pi5"]
[sources.tree]
path = "tree"
[kernel]
file    = "kernel"
cmdline = "quiet"
[dtb]
files = ["x.dtb"]
[buildroot]
tree           = "tree"
base_defconfig = "pi_defconfig"
options        = ["BR2_INIT_NONE=y", 'BR2_TOOLCHAIN_EXTERNAL_PATH="/etc/hostname"']
external       = ["ext"]
overlays       = ["over"]
jobs           = 3
`

func files() map[string]string {
	return map[string]string{
		"kernel": "", "x.dtb": "", "tree/support/kconfig/x": "", "tree/Config.in": "", "tree/configs/pi_defconfig": "BR2_aarch64=y\n",
		"ext/external.desc": "name: MINE\n", "ext/Config.in": "", "ext/external.mk": "", "over/etc/motd": "hello\n",
	}
}

func TestPlan(t *testing.T) {
	step := stagetest.Plan(t, Stage{}, stagetest.World{Recipe: recipe, Files: files()})
	if d := cmp.Diff([]string{"ext", "over"}, step.Locals); d != "" {
		t.Errorf("locals (-want +got):\n%s", d)
	}
	if len(step.Tools) != 2 || step.Tools[1].Name != "/etc/hostname" || step.Jobs != 3 {
		t.Errorf("tools %+v, jobs %d", step.Tools, step.Jobs)
	}
	if v, err := step.Tools[1].Version(t.Context()); err != nil || !strings.HasPrefix(v, "sha256:") {
		t.Errorf("a file of the machine is %q, %v", v, err)
	}
	other := stagetest.Plan(t, Stage{}, stagetest.World{Recipe: strings.Replace(recipe, "= 3", "= 4", 1), Files: files()})
	if d := cmp.Diff(step.Params, other.Params); d != "" {
		t.Errorf("the number of jobs shapes the key: %s", d)
	}
	if step := stagetest.Plan(t, Stage{}, stagetest.World{Recipe: recipe[:strings.Index(recipe, "[buildroot]")], Files: files()}); step != nil {
		t.Errorf("without the table there is a step %+v", step)
	}
}

// laid is a workspace as open makes it, with a tree that has no make.
func laid(t *testing.T, p params, over fstest.MapFS) (*Workspace, error) {
	t.Helper()
	tree := fstest.MapFS{
		"support/kconfig/x":    {},
		"configs/pi_defconfig": {Data: []byte("BR2_aarch64=y\nBR2_TARGET_ROOTFS_EXT2=y\nBR2_ROOTFS_OVERLAY=\"board/pi/overlay\"\n")},
	}
	ext := fstest.MapFS{"external.desc": {Data: []byte("name: MINE\n")}, "configs/mine_defconfig": {Data: []byte("BR2_arm=y\n")}}
	local := func(rel string) (fs.FS, error) {
		return map[string]fs.FS{"over": over, "ext": ext}[rel], nil
	}
	w, err := open(t.Context(), p, world{tree: tree, local: local, cache: t.TempDir(), epoch: recipes.DefaultEpoch, jobs: 2, log: func(string) {}})
	if err == nil {
		t.Cleanup(func() { w.Close() })
	}
	return w, err
}

func TestExternalTree(t *testing.T) {
	over := fstest.MapFS{
		"etc/motd":    {Data: []byte("hello\n"), Mode: 0o644},
		"etc/key":     {Data: []byte("secret\n"), Mode: 0o644},
		"usr/bin/su":  {Data: []byte("su\n"), Mode: 0o755},
		"private/x":   {Mode: 0o644},
		"bin":         {Data: []byte("usr/bin"), Mode: fs.ModeSymlink | 0o777},
		".piimg-meta": {Data: []byte("etc/key 0600 12:34\nusr/bin/su 4755 -\nprivate 0700 -\ndev/console 0600 0:0 char 5 1\nrun/p 0600 0:0 fifo\n"), Mode: 0o644},
	}
	w, err := laid(t, params{Name: "br", Defconfig: "pi_defconfig", Options: []string{"# BR2_TARGET_ROOTFS_EXT2 is not set", "BR2_INIT_NONE=y"}, External: []string{"ext"}, Overlays: []string{"over"}}, over)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(w.Dir, "external", "piimg")
	for name, want := range map[string]string{
		"configs/br_defconfig": `BR2_aarch64=y
# BR2_TARGET_ROOTFS_EXT2 is not set
BR2_INIT_NONE=y
BR2_REPRODUCIBLE=y
BR2_ROOTFS_OVERLAY="board/pi/overlay $(BR2_EXTERNAL_PIIMG_PATH)/overlay"
BR2_ROOTFS_DEVICE_TABLE="system/device_table.txt $(BR2_EXTERNAL_PIIMG_PATH)/devices.txt"
`,
		"devices.txt": `/dev/console c 600 0 0 5 1 - - -
/etc/key f 600 12 34 - - - - -
/private d 700 0 0 - - - - -
/run/p p 600 0 0 - - - - -
/usr/bin/su f 4755 0 0 - - - - -
`,
		"overlay/etc/motd": "hello\n",
		"overlay/bin/su":   "su\n",
	} {
		if got, err := os.ReadFile(filepath.Join(own, name)); string(got) != want {
			t.Errorf("%s is\n%s, %v", name, got, err)
		}
	}
	if _, err := os.Stat(filepath.Join(own, "overlay", ".piimg-meta")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the meta file is part of the overlay: %v", err)
	}
	if got := strings.Join(w.Make("all"), " "); !strings.Contains(got, "BR2_EXTERNAL="+w.Dir+"/external/0:"+own) || !strings.Contains(got, "BR2_JLEVEL=2") {
		t.Errorf("make is called as %s", got)
	}
}

// A tarball of the tree, as it is published, is as good as the tree.
func TestTreeInATarball(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"buildroot-1/support/kconfig/x", "buildroot-1/configs/pi_defconfig"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("BR2_aarch64=y\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"-cJf", "b.tar.xz"}, {"-czf", "b.tar.gz"}, {"-cf", "b.tar"}} {
		if out, err := exec.Command("tar", "-C", dir, args[0], filepath.Join(dir, args[1]), "buildroot-1").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		one := pipeline.OneFile{Dir: os.DirFS(dir), Name: args[1]}
		w, err := open(t.Context(), params{Name: "br", Defconfig: "pi_defconfig"}, world{tree: one, cache: t.TempDir(), log: func(string) {}})
		if err != nil {
			t.Fatalf("%s: %v", args[1], err)
		}
		if _, err := os.Stat(filepath.Join(w.Tree, "configs/pi_defconfig")); err != nil {
			t.Errorf("%s: %v", args[1], err)
		}
		w.Close()
	}
}

// What shapes compiled code has an output folder of its own; what is laid over the result
// has not.
func TestWhatASettingCosts(t *testing.T) {
	of := func(options []string, overlays ...string) string {
		t.Helper()
		w, err := laid(t, params{Name: "br", Options: options, Overlays: overlays}, fstest.MapFS{"f": {}})
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Base(w.Dir)
	}
	first := of([]string{"BR2_aarch64=y", `BR2_TARGET_GENERIC_HOSTNAME="a"`})
	if got := of([]string{`BR2_TARGET_GENERIC_HOSTNAME="b"`, "BR2_aarch64=y"}, "over"); got != first {
		t.Error("another host name, order and overlay make another output folder")
	}
	if got := of([]string{"BR2_aarch64=y", `BR2_TARGET_GENERIC_HOSTNAME="a"`, "BR2_PACKAGE_TMUX=y"}); got == first {
		t.Error("one more package goes into the same output folder")
	}
}

// Whatever a killed build has left running keeps the next one waiting.
func TestTheLockIsInherited(t *testing.T) {
	w, err := laid(t, params{Name: "br", Options: []string{"BR2_aarch64=y"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	orphan := exec.Command("cat")
	in, err := orphan.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	lock := func() error {
		f, err := os.Open(filepath.Join(w.Dir, "lock"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err := lock(); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("while a child lives: %v", err)
	}
	in.Close()
	if err := orphan.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := lock(); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func TestRefusedBeforeMake(t *testing.T) {
	for name, tt := range map[string]struct {
		params params
		over   fstest.MapFS
		key    string
		want   string
	}{
		"no such base":      {params{Defconfig: "no_defconfig"}, nil, "buildroot.base_defconfig", "has configs/no_defconfig"},
		"lost by rsync":     {params{Overlays: []string{"over"}}, fstest.MapFS{"etc/.git/config": {}}, "buildroot.overlays[0]", "etc/.git is left out of every overlay"},
		"backup file":       {params{Overlays: []string{"over"}}, fstest.MapFS{"etc/motd~": {}}, "buildroot.overlays[0]", "etc/motd~ is left out"},
		"mode with a blank": {params{Overlays: []string{"over"}}, fstest.MapFS{"a b": {}, ".piimg-meta": {Data: []byte(`a\040b 0600 -`)}}, "buildroot.overlays[0]", "a blank in its name"},
		"no such toolchain": {params{Options: []string{`BR2_TOOLCHAIN_EXTERNAL_PATH="/nowhere/at/all"`}}, nil, "", "/nowhere/at/all: no such file"},
	} {
		tt.params.Name = "br"
		_, err := laid(t, tt.params, tt.over)
		if err == nil || !strings.Contains(err.Error(), tt.want) || keyOf(err) != tt.key {
			t.Errorf("%s: %v of key %q, want %q of %q", name, err, keyOf(err), tt.want, tt.key)
		}
	}
	if _, err := open(t.Context(), params{Name: "br"}, world{tree: fstest.MapFS{"README": {}}, cache: t.TempDir()}); keyOf(err) != "buildroot.tree" {
		t.Errorf("another tree: %v", err)
	}
	if _, err := open(t.Context(), params{Name: "br"}, world{cache: "/tmp/an other place"}); err == nil || !strings.Contains(err.Error(), "cannot work in") {
		t.Errorf("a blank in the path: %v", err)
	}
}

func TestPathsAreLookedForBeforehand(t *testing.T) {
	w, err := laid(t, params{Name: "br", External: []string{"ext"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = w.preflight(kconfig.Parse(`BR2_ROOTFS_OVERLAY="$(BR2_EXTERNAL_MINE_PATH)/nowhere configs $(SOMETHING)/else"
BR2_ROOTFS_POST_BUILD_SCRIPT="board/none.sh"
BR2_GLOBAL_PATCH_DIR="$(BR2_EXTERNAL_MINE_PATH)/configs"
`))
	want := "BR2_ROOTFS_OVERLAY: $(BR2_EXTERNAL_MINE_PATH)/nowhere does not exist; BR2_ROOTFS_POST_BUILD_SCRIPT: board/none.sh does not exist"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if err := w.preflight(kconfig.Parse("BR2_LINUX_KERNEL_CUSTOM_TARBALL=y\nBR2_LINUX_KERNEL_CUSTOM_TARBALL_LOCATION=\"\"\n")); err == nil {
		t.Error("a kernel from nowhere is fine")
	}
}

func TestShortestOptions(t *testing.T) {
	w := &Workspace{}
	base := kconfig.Lines("BR2_aarch64=y\nBR2_A=y\nBR2_B=y\nBR2_GONE=y\nBR2_S=\"x\"\n")
	saved := kconfig.Lines("BR2_aarch64=y\nBR2_A=y\nBR2_NEW=y\nBR2_REPRODUCIBLE=y\nBR2_S=\"y\"\n" +
		"BR2_ROOTFS_OVERLAY=\"board/o $(BR2_EXTERNAL_PIIMG_PATH)/overlay\"\n" +
		"BR2_ROOTFS_DEVICE_TABLE=\"system/device_table.txt $(BR2_EXTERNAL_PIIMG_PATH)/devices.txt\"\n")
	now := kconfig.Parse("BR2_aarch64=y\nBR2_A=y\n# BR2_B is not set\nBR2_NEW=y\nBR2_S=\"y\"\n")
	want := []string{"BR2_NEW=y", `BR2_S="y"`, `BR2_ROOTFS_OVERLAY="board/o"`, "# BR2_B is not set"}
	if d := cmp.Diff(want, w.difference(base, saved, now)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// The licence of a kernel that Buildroot has compiled lies with its source, wherever that is.
func TestKernelSource(t *testing.T) {
	w := &Workspace{Output: t.TempDir()}
	source := filepath.Join(w.Output, "build/linux-custom")
	if err := os.MkdirAll(source, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, packages := range []string{`{}`, `{"linux":{"stamp_dir":"build/linux-custom"}}`, `{"linux":{"stamp_dir":"../../etc"}}`} {
		w.packages = nil
		if err := json.Unmarshal([]byte(packages), &w.packages); err != nil {
			t.Fatal(err)
		}
		if dir, ok := w.kernelSource(); ok {
			t.Errorf("%s: a licence lies in %s", packages, dir)
		}
	}
	if err := os.WriteFile(filepath.Join(source, "COPYING"), []byte("GPL-2.0"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.packages = map[string]pkgInfo{"linux": {StampDir: "build/linux-custom"}}
	if dir, ok := w.kernelSource(); !ok || dir != source {
		t.Errorf("kernelSource() = %s, %t; want %s", dir, ok, source)
	}
}

// COPYING of today's kernels only names the texts that are to go along; that of older ones has
// them.
func TestJoinLicence(t *testing.T) {
	source := fstest.MapFS{"COPYING": {Data: []byte("all of it\n")}}
	joined := func() string {
		var b strings.Builder
		if err := joinLicence(&b, source); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if got, want := joined(), "all of it\n"; got != want {
		t.Errorf("an old kernel's licence is %q; want %q", got, want)
	}
	source["LICENSES/preferred/GPL-2.0"] = &fstest.MapFile{Data: []byte("the GPL\n")}
	source["LICENSES/exceptions/Linux-syscall-note"] = &fstest.MapFile{Data: []byte("a note\n")}
	want := "all of it\n\n---- LICENSES/preferred/GPL-2.0\n\nthe GPL\n\n---- LICENSES/exceptions/Linux-syscall-note\n\na note\n"
	if got := joined(); got != want {
		t.Errorf("the licence is %q; want %q", got, want)
	}
	if err := joinLicence(&strings.Builder{}, fstest.MapFS{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("joinLicence of nothing = %v; want that COPYING is not there", err)
	}
}
