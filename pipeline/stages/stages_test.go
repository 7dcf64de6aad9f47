package stages_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"piimg/pipeline"
	"piimg/pipeline/sources"
	"piimg/pipeline/stages"
	"piimg/recipes"
	"piimg/store"
	"piimg/store/mem"
)

// bench is a recipe of the repository in a folder of the test's own.
type bench struct {
	dir    string
	recipe *recipes.Recipe
	boards []recipes.Board
	lock   *recipes.Lock
	*pipeline.Pipeline
}

func open(t *testing.T, name string) *bench {
	t.Helper()
	b := &bench{dir: t.TempDir()}
	if err := os.CopyFS(b.dir, os.DirFS("../../recipes")); err != nil {
		t.Fatal(err)
	}
	s, err := store.Init(t.Context(), mem.New())
	if err != nil {
		t.Fatal(err)
	}
	b.Pipeline = &pipeline.Pipeline{
		Store: s, Stages: stages.All(), Fetchers: sources.All(nil),
		Cache: t.TempDir(), Work: t.TempDir(),
		Events: func(e pipeline.Event) { t.Logf("%+v", e) },
	}
	b.load(t, name)
	return b
}

func (b *bench) load(t *testing.T, name string) {
	t.Helper()
	file := filepath.Join(b.dir, name)
	var err error
	if b.recipe, err = recipes.Load(file); err != nil {
		t.Fatal(err)
	}
	b.boards = nil
	for _, name := range b.recipe.Boards {
		board, err := recipes.BoardByName(name)
		if err != nil {
			t.Fatal(err)
		}
		b.boards = append(b.boards, board)
	}
	if b.lock, err = recipes.LoadLock(recipes.LockFile(file)); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) build(ctx context.Context, t *testing.T) (store.Image, *pipeline.Result) {
	t.Helper()
	plan, err := b.Plan(ctx, b.recipe, b.boards, b.lock)
	if err != nil {
		t.Fatal(err)
	}
	made, err := plan.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	image, err := plan.Image(ctx, made)
	if err != nil {
		t.Fatal(err)
	}
	return image, made
}

// Real kernel, real firmware, real u-root: a Pi 4 finds what it asks for, a second build
// does nothing, and a changed overlay file costs its own part.
func TestQuickstart(t *testing.T) {
	b := open(t, "quickstart.toml")
	image, made := b.build(t.Context(), t)
	files := pipeline.FS(t.Context(), b.Store, image.Files)
	for _, name := range []string{
		"COPYING.linux", "LICENSE.broadcom", "bcm2711-rpi-4-b.dtb", "bcm2711-rpi-400.dtb", "bcm2711-rpi-cm4.dtb", "cmdline.txt", "config.txt",
		"fixup4.dat", "initramfs.cpio.gz", "kernel8.img", "overlays/disable-bt.dtbo", "overlays/overlay_map.dtb", "start4.elf",
	} {
		if _, err := fs.ReadFile(files, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := made.Facts["kernel.release"]; got != "6.12.47-v8" {
		t.Errorf("kernel release %q", got)
	}

	again, second := b.build(t.Context(), t)
	if len(second.Ran) > 0 || second.Wrote > 0 {
		t.Errorf("a second build ran %v and wrote %d bytes", second.Ran, second.Wrote)
	}
	if !slices.EqualFunc(image.Files, again.Files, func(a, b store.File) bool { return a.Path == b.Path && a.Digest == b.Digest }) {
		t.Error("a second build gave other files")
	}

	if err := os.WriteFile(filepath.Join(b.dir, "quickstart/overlay/etc/motd"), []byte("changed\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	changed, third := b.build(t.Context(), t)
	if !slices.Equal(third.Ran, []string{"initramfs", "bootfs"}) || third.Wrote > 4096 {
		t.Errorf("a changed overlay file ran %v and wrote %d bytes", third.Ran, third.Wrote)
	}
	before, _ := image.File("initramfs.cpio.gz")
	after, _ := changed.File("initramfs.cpio.gz")
	if before.Parts[0] != after.Parts[0] || before.Parts[1] == after.Parts[1] {
		t.Errorf("parts were %v and are %v, want the same base and another overlay", before.Parts, after.Parts)
	}
}
