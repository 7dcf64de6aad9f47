package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The recipe of these benchmarks has a real kernel and firmware and no userland, so that
// the first build takes seconds. What is measured afterwards does not depend on it.
const benchRecipe = `
name       = "bench"
boards     = ["pi4b", "pi400", "cm4"]
bootloader = "2022-10-03"
[sources.kernel]
module = "github.com/gokrazy/kernel.rpi@v0.0.0-20251127164438-9778ec0261de"
[sources.firmware]
module = "github.com/gokrazy/firmware@v0.0.0-20260522070551-527ce0ed43cf"
[kernel]
file    = "kernel:vmlinuz"
cmdline = "console=tty1"
[dtb]
files    = ["kernel:bcm2711-rpi-4-b.dtb", "kernel:bcm2711-rpi-400.dtb", "kernel:bcm2711-rpi-cm4.dtb"]
overlays = ["disable-bt"]
[firmware]
from    = "firmware"
`

// benchSite is a folder with a built image; run runs the program as a new process.
func benchSite(b *testing.B) (run func(args ...string)) {
	b.Helper()
	dir := b.TempDir()
	bin, recipe := filepath.Join(dir, "piimg"), filepath.Join(dir, "recipe.toml")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", bin, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	if err := os.WriteFile(recipe, []byte(benchRecipe), 0o644); err != nil {
		b.Fatal(err)
	}
	run = func(args ...string) {
		cmd := exec.Command(bin, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PIIMG_STORE="+filepath.Join(dir, "store"))
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("piimg %v: %v\n%s", args, err, out)
		}
	}
	run("lock", "recipe.toml")
	run("build", "recipe.toml")
	return run
}

// A build with nothing changed, as a whole process.
func BenchmarkBuildUnchanged(b *testing.B) {
	run := benchSite(b)
	for b.Loop() {
		run("build", "recipe.toml")
	}
}

// The help text, as a whole process: what every command costs at least.
func BenchmarkHelp(b *testing.B) {
	run := benchSite(b)
	for b.Loop() {
		run("--help")
	}
}
