//go:build e2e

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A real Buildroot, for "make test-buildroot": PIIMG_BUILDROOT_TREE is its tree, a folder or
// a repository, and PIIMG_BUILDROOT_DL, where it is set, a download folder with busybox.

// brSite is a site with recipes for that tree.
type brSite struct {
	*site
	recipes string // folder
	host    string // with toolchain/ and ext/
	source  string // what the recipe's tree is
}

func newBrSite(t *testing.T) *brSite {
	t.Helper()
	tree := os.Getenv("PIIMG_BUILDROOT_TREE")
	if tree == "" {
		t.Fatal("PIIMG_BUILDROOT_TREE is not set: run make test-buildroot PIIMG_BUILDROOT_TREE=…")
	}
	b := &brSite{site: newSite(t, installed(t)), recipes: t.TempDir(), host: t.TempDir()}
	if dl := os.Getenv("PIIMG_BUILDROOT_DL"); dl != "" {
		b.env = append(b.env, "BR2_DL_DIR="+dl)
	}
	if out, err := exec.Command("sh", "testdata/buildroot/host.sh", b.host).CombinedOutput(); err != nil {
		t.Fatalf("host.sh: %v: it takes the packages gcc-aarch64-linux-gnu g++-aarch64-linux-gnu libc6-dev-arm64-cross fakeroot patchelf\n%s", err, out)
	}
	b.cp(filepath.Join(b.host, "ext"), "ext")
	if exec.Command("git", "-C", tree, "rev-parse", "HEAD").Run() == nil {
		b.source = fmt.Sprintf("git = %q\nrev = \"HEAD\"", "file://"+tree)
	} else {
		b.cp(tree, "tree")
		b.source = `path = "tree"`
	}
	return b
}

func (b *brSite) cp(from, to string) {
	b.t.Helper()
	if out, err := exec.Command("cp", "-a", from, filepath.Join(b.recipes, to)).CombinedOutput(); err != nil {
		b.t.Fatalf("%v: %s", err, out)
	}
}

func (b *brSite) write(name, text string, mode os.FileMode) string {
	b.t.Helper()
	file := filepath.Join(b.recipes, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		b.t.Fatal(err)
	}
	return file
}

// toolchain are the options that name the compiler of host.sh.
func (b *brSite) toolchain() string {
	return fmt.Sprintf(`
    "BR2_TOOLCHAIN_EXTERNAL=y", "BR2_TOOLCHAIN_EXTERNAL_CUSTOM=y", 'BR2_TOOLCHAIN_EXTERNAL_PATH="%s/toolchain"',
    'BR2_TOOLCHAIN_EXTERNAL_CUSTOM_PREFIX="aarch64-linux-gnu"', "BR2_TOOLCHAIN_EXTERNAL_GCC_12=y",
    "BR2_TOOLCHAIN_EXTERNAL_HEADERS_6_1=y", "BR2_TOOLCHAIN_EXTERNAL_CUSTOM_GLIBC=y", "BR2_TOOLCHAIN_EXTERNAL_CXX=y",
    "BR2_TOOLCHAIN_EXTERNAL_OPENMP=y", "# BR2_TOOLCHAIN_EXTERNAL_INET_RPC is not set",
    'BR2_PACKAGE_OVERRIDE_FILE="$(BR2_EXTERNAL_HOSTTOOLS_PATH)/local.mk"',
`, b.host)
}

// muslToolchain are the options that name the compiler of musl.sh, which this makes.
func (b *brSite) muslToolchain() string {
	b.t.Helper()
	out, err := exec.Command("sh", "testdata/buildroot/musl.sh", b.host).CombinedOutput()
	if err != nil {
		b.t.Fatalf("musl.sh: %v\n%s", err, out)
	}
	b.t.Logf("musl.sh\n%s", out)
	b.cp(filepath.Join(b.host, "ext"), ".") // over what is there
	return fmt.Sprintf(`
    "BR2_TOOLCHAIN_EXTERNAL=y", "BR2_TOOLCHAIN_EXTERNAL_CUSTOM=y", 'BR2_TOOLCHAIN_EXTERNAL_PATH="%s/musl"',
    'BR2_TOOLCHAIN_EXTERNAL_CUSTOM_PREFIX="aarch64-linux-musl"', "BR2_TOOLCHAIN_EXTERNAL_GCC_12=y",
    "BR2_TOOLCHAIN_EXTERNAL_HEADERS_6_1=y", "BR2_TOOLCHAIN_EXTERNAL_CUSTOM_MUSL=y",
    'BR2_PACKAGE_OVERRIDE_FILE="$(BR2_EXTERNAL_HOSTTOOLS_PATH)/local.mk"',
`, b.host)
}

// least writes a recipe for the least that boots: Buildroot compiles nothing but a few
// programs for the host; what runs is Debian's busybox, in an overlay.
func (b *brSite) least(name string, more ...string) string {
	return b.write(name+".toml", fmt.Sprintf(`
name   = %q
boards = ["pi4b"]
[sources.tree]
%s
[sources.kernel]
module = "github.com/gokrazy/kernel.rpi@v0.0.0-20251127164438-9778ec0261de"
[sources.firmware]
module = "github.com/gokrazy/firmware@v0.0.0-20260522070551-527ce0ed43cf"
[sources.busybox]
deb = "busybox-static:arm64"
[kernel]
file    = "kernel:vmlinuz"
cmdline = "console=ttyAMA0"
[dtb]
files = ["kernel:bcm2711-rpi-4-b.dtb"]
[firmware]
from = "firmware"
[buildroot]
tree     = "tree"
external = ["ext"]
overlays = ["overlay"]
options  = [
    "BR2_aarch64=y", "BR2_cortex_a72=y", %s
    "BR2_INIT_NONE=y", "BR2_SYSTEM_BIN_SH_NONE=y", "# BR2_PACKAGE_IFUPDOWN_SCRIPTS is not set", "# BR2_PACKAGE_BUSYBOX is not set",
    "BR2_TARGET_ROOTFS_CPIO=y", "BR2_TARGET_ROOTFS_CPIO_GZIP=y", "# BR2_TARGET_ROOTFS_TAR is not set",
    %s
]
[initramfs]
base = "buildroot"
[[initramfs.file]]
path = "bin/busybox"
mode = "0755"
from = "busybox:bin/busybox"
[[initramfs.file]]
path = "etc/motd"
content = "on top\n"
`, name, b.source, b.toolchain(), strings.Join(more, ", ")), 0o644)
}

const leastInit = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc && /bin/busybox mount -t proc proc /proc
echo "piimg: $(/bin/busybox cat /etc/note) $(/bin/busybox cat /etc/motd) $(/bin/busybox stat -c %a /etc/key)"
exec /bin/busybox sh
`

// start runs piimg build and returns it with the lines of its log.
func (b *brSite) start(recipe string) (*exec.Cmd, *bufio.Scanner) {
	b.t.Helper()
	cmd := exec.Command(b.bin, "build", "--offline", "--verbose", recipe)
	cmd.Env = b.env
	pipe, err := cmd.StderrPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	return cmd, bufio.NewScanner(pipe)
}

// until reads lines up to one that has text in it.
func until(t *testing.T, lines *bufio.Scanner, text string) {
	t.Helper()
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			return
		}
	}
	t.Fatalf("the build never said %q", text)
}

// refused is what piimg says when it does not build.
func (b *brSite) refused(args ...string) string {
	b.t.Helper()
	cmd := exec.Command(b.bin, args...)
	cmd.Env = b.env
	out, err := cmd.CombinedOutput()
	if err == nil {
		b.t.Fatalf("piimg %s did not fail:\n%s", strings.Join(args, " "), out)
	}
	return string(out)
}

func (b *brSite) bootFiles(image string) (kernel, initrd string) {
	b.t.Helper()
	b.piimg("promote", image, "dev")
	_, web := b.serve("--default", "dev")
	for name, file := range map[string]*string{"kernel8.img": &kernel, "initramfs.cpio.gz": &initrd} {
		*file = b.write("boot/"+name, string(get(b.t, fmt.Sprintf("http://%s/by-digest/%s/%s", web, image, name))), 0o644)
	}
	return kernel, initrd
}

func TestBuildrootLeast(t *testing.T) {
	b := newBrSite(t)
	b.write("overlay/init", leastInit, 0o755)
	b.write("overlay/etc/note", "first", 0o644)
	b.write("overlay/etc/key", "secret", 0o644)
	b.write("overlay/.piimg-meta", "etc/key 0600 -\n", 0o644)
	recipe := b.least("least")
	b.piimg("lock", recipe)
	start := time.Now()
	first := b.piimg("build", "--offline", recipe)
	t.Logf("built in %s", time.Since(start).Round(time.Second))
	kernel, initrd := b.bootFiles(first)
	boot(t, kernel, initrd, "piimg: first on top 600")

	if again := b.piimg("build", "--offline", "--json", recipe); !strings.Contains(again, `"ran": []`) && !strings.Contains(again, `"ran": null`) {
		t.Errorf("an unchanged recipe ran something: %s", again)
	}

	b.write("overlay/etc/note", "second", 0o644)
	b.write("overlay/etc/extra", "extra", 0o644)
	start = time.Now()
	second := b.piimg("build", "--offline", recipe)
	t.Logf("built with another overlay in %s", time.Since(start).Round(time.Second))
	if got := b.piimg("initramfs", "cat", second, "etc/extra"); got != "extra" {
		t.Errorf("a new file of the overlay is %q", got)
	}
	b.write("overlay/etc/note", "first", 0o644)
	if err := os.Remove(filepath.Join(b.recipes, "overlay/etc/extra")); err != nil {
		t.Fatal(err)
	}
	// The store knows the result of the first build: ask Buildroot all the same, from the
	// beginning, and compare.
	if third := b.piimg("build", "--offline", "--check", recipe); third != first || second == first {
		t.Errorf("the first image is %s, with a changed overlay %s, back again %s", first, second, third)
	}
}

// A build that is told to end, or killed, leaves nothing that the next one could mistake.
func TestBuildrootInterrupted(t *testing.T) {
	b := newBrSite(t)
	b.write("overlay/init", leastInit, 0o755)
	for _, how := range []struct {
		signal syscall.Signal
		at     string
	}{{syscall.SIGINT, "host-makedevs: build"}, {syscall.SIGKILL, "toolchain-external-custom: install-staging"}, {syscall.SIGTERM, "finalizing target directory"}} {
		name := "cut" + fmt.Sprint(int(how.signal))
		recipe := b.least(name, fmt.Sprintf(`'BR2_TARGET_LDFLAGS="-Wl,--build-id=none -L/%s"'`, name)) // an output folder of its own
		b.piimg("lock", recipe)
		cmd, lines := b.start(recipe)
		until(t, lines, how.at)
		if err := cmd.Process.Signal(how.signal); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, readerOf(lines))
		if err := cmd.Wait(); err == nil {
			t.Fatal("the build was done before it was ended")
		}
		after := b.piimg("build", "--offline", recipe)
		if whole := b.piimg("build", "--offline", "--check", recipe); whole != after {
			t.Errorf("after %s at %s: %s, from the beginning %s", how.signal, how.at, after, whole)
		}
	}
}

// readerOf gives what a scanner has left, line by line.
func readerOf(lines *bufio.Scanner) io.Reader {
	var rest bytes.Buffer
	for lines.Scan() {
		fmt.Fprintln(&rest, lines.Text())
	}
	return &rest
}

func TestBuildrootErrors(t *testing.T) {
	b := newBrSite(t)
	b.write("overlay/init", leastInit, 0o755)
	for name, tt := range map[string]struct {
		options []string
		want    []string
	}{
		"dropped": {[]string{`"BR2_PACKAGE_SYSTEMD_TMPFILES=y"`, `"BR2_PACKAGE_SYSTEMD_NETWORKD=y"`}, []string{
			"buildroot.options: Buildroot does not take 2 of the settings",
			"BR2_PACKAGE_SYSTEMD_TMPFILES=y was dropped: no Config.in defines it",
			"BR2_PACKAGE_SYSTEMD_NETWORKD=y was dropped: it depends on BR2_PACKAGE_SYSTEMD (package/systemd/Config.in:",
		}},
		"legacy":     {[]string{`"BR2_PACKAGE_HOSTAPD_DRIVER_HOSTAP=y"`}, []string{"BR2_PACKAGE_HOSTAPD_DRIVER_HOSTAP=y is legacy: "}},
		"no script":  {[]string{`'BR2_ROOTFS_POST_BUILD_SCRIPT="board/none.sh"'`}, []string{"BR2_ROOTFS_POST_BUILD_SCRIPT: board/none.sh does not exist"}},
		"no network": {[]string{`"BR2_PACKAGE_ZLIB=y"`}, []string{"Buildroot failed, libzlib-", ": downloaded", "its last words:", "piimg: hint: fill the download folder"}},
	} {
		recipe := b.least(strings.ReplaceAll(name, " ", "-"), tt.options...)
		b.piimg("lock", recipe)
		said := b.refused("build", "--offline", recipe)
		t.Logf("%s", said)
		for _, want := range tt.want {
			if !strings.Contains(said, want) {
				t.Errorf("%s: never said %q", name, want)
			}
		}
	}
}

// The recipes that ship: Buildroot takes every setting of theirs.
func TestBuildrootShippedRecipes(t *testing.T) {
	b := newBrSite(t)
	for _, name := range []string{"pi4-buildroot", "pi4-buildroot-small"} {
		b.cp(filepath.Join("../../recipes", name), name)
		recipe := b.ship(name, "")
		b.piimg("lock", recipe)
		cmd := exec.Command(b.bin, "buildroot", "savedefconfig", recipe)
		cmd.Env = b.env
		var said bytes.Buffer
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err != nil || said.Len() > 0 || !strings.Contains(string(out), `"BR2_TARGET_ROOTFS_CPIO=y",`) {
			t.Errorf("%s: %v: %s\n%s", name, err, said.String(), out)
		}
	}
}

// ship writes a shipped recipe with the tree of the test, and, where toolchain says so,
// with the compiler of host.sh.
func (b *brSite) ship(name, toolchain string) string {
	b.t.Helper()
	text, err := os.ReadFile("../../recipes/" + name + ".toml")
	if err != nil {
		b.t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(text), "git = \"https://gitlab.com")
	_, after, ok := strings.Cut(rest, "# 2026.08-rc1\n")
	if !ok {
		b.t.Fatalf("%s.toml is not as the test thinks", name)
	}
	recipe := before + b.source + "\n" + after
	if toolchain != "" {
		lines := strings.SplitAfter(recipe, "\n")
		recipe = ""
		for _, l := range lines {
			switch {
			case strings.Contains(l, "BOOTLIN_AARCH64"):
				recipe += toolchain
			case strings.Contains(l, "BR2_TOOLCHAIN_EXTERNAL"):
			case strings.HasPrefix(l, "tree "):
				recipe += l + "external = [\"ext\"]\n"
			default:
				recipe += l
			}
		}
	}
	return b.write(name+".toml", recipe, 0o644)
}

// The small recipe, compiled with each C library: busybox from source, and booted.
func TestBuildrootSmall(t *testing.T) {
	if os.Getenv("PIIMG_BUILDROOT_DL") == "" {
		fmt.Println("not run: the small recipe (PIIMG_BUILDROOT_DL names no folder with busybox)")
		return
	}
	for libc, toolchain := range map[string]func(*brSite) string{"musl": (*brSite).muslToolchain, "glibc": (*brSite).toolchain} {
		t.Run(libc, func(t *testing.T) {
			b := newBrSite(t)
			b.cp("../../recipes/pi4-buildroot-small", "pi4-buildroot-small")
			recipe := b.ship("pi4-buildroot-small", toolchain(b))
			b.piimg("lock", recipe)
			start := time.Now()
			image := b.piimg("build", "--offline", recipe)
			t.Logf("built in %s", time.Since(start).Round(time.Second))
			if findings := b.piimg("lint", "--json", recipe); findings != "null" {
				t.Errorf("the linter found %s", findings)
			}
			loader := map[string]string{"musl": "lib/ld-musl-aarch64.so.1", "glibc": "lib/ld-linux-aarch64.so.1"}[libc]
			if listing := b.piimg("initramfs", "ls", image); !strings.Contains(listing, loader) {
				t.Errorf("the system has no %s", loader)
			}
			kernel, initrd := b.bootFiles(image)
			boot(t, kernel, initrd, "piimg: 6.12.47-v8 is up")
		})
	}
}
