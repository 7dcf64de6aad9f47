//go:build e2e

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/initrd/repack"
	"piimg/pipeline/format/newc"
)

// piKernel is the kernel of recipes/quickstart.toml: Raspberry Pi's own.
func piKernel(t *testing.T) string {
	t.Helper()
	recipe, err := os.ReadFile("../../recipes/quickstart.toml")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`github.com/gokrazy/kernel\.rpi@[^"]+`).Find(recipe)
	out, err := exec.Command("go", "mod", "download", "-json", string(m)).Output()
	if err != nil {
		t.Fatalf("go mod download %s: %v", m, err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(module.Dir, "vmlinuz")
}

// debianKernel is the one of the package debian-installer-12-netboot-arm64.
const debianKernel = "/usr/lib/debian-installer/images/12/arm64/text/debian-installer/arm64/linux"

// kernelInit builds the first process.
func kernelInit(t *testing.T) []byte {
	t.Helper()
	return firstProcess(t, "./testdata/kernelinit")
}

// firstProcess builds a program for a kernel.
func firstProcess(t *testing.T, program string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "init")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, program)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// console boots kernel with an initramfs and returns all that it prints until the first
// process turns the machine off.
func console(t *testing.T, kernel string, image []byte, marker string) string {
	t.Helper()
	return machine(t, kernel, image, "console=ttyAMA0 panic=-1 quiet marker="+marker, "-nic", "none")
}

// machine is console with a command line and with more arguments for QEMU.
func machine(t *testing.T, kernel string, image []byte, line string, more ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(file, image, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	start := time.Now()
	args := append([]string{"-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "512",
		"-nographic", "-no-reboot", "-kernel", kernel, "-initrd", file, "-append", line}, more...)
	out, err := exec.CommandContext(ctx, "qemu-system-aarch64", args...).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("END <nil>")) {
		t.Fatalf("boot: %v\n%s", err, out)
	}
	t.Logf("booted and off after %s", time.Since(start).Round(time.Millisecond))
	return strings.ReplaceAll(string(out), "\r\n", "\n")
}

// unpacked is what a kernel has in its root file system, by path; names of one inode name
// the first of them.
func unpacked(t *testing.T, console string) map[string]string {
	t.Helper()
	files, first := map[string]string{}, map[int64]string{}
	for line := range strings.Lines(console) {
		_, line, ok := strings.Cut(line, "FILE ")
		if !ok {
			continue
		}
		var mode uint32
		var owner, number, sum, name, target string
		var links, ino, mtime, size int64
		if _, err := fmt.Sscanf(line, "%o %s %s %d %d %d %d %s %q %q", &mode, &owner, &number, &links, &ino, &mtime, &size, &sum, &name, &target); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if mode&newc.TypeMask == newc.Dir { // which a file system counts as it likes
			links, size = 1, 0
		}
		if first[ino] == "" {
			first[ino] = name
		}
		files[name] = fmt.Sprintf("%o %s %s links %d of %s time %d size %d %s %q", mode, owner, number, links, first[ino], mtime, size, sum, target)
	}
	return files
}

// predicted is the same, read by package initrd.
func predicted(t *testing.T, image []byte) map[string]string {
	t.Helper()
	sums := map[initrd.Place]uint32{}
	stop := initrd.WalkLimits(bytes.NewReader(image), initrd.Limits{}, func(p initrd.Place, _ newc.Entry, body io.Reader) error {
		h := crc32.NewIEEE()
		_, err := io.Copy(h, body)
		sums[p] = h.Sum32()
		return err
	})
	tree, err := initrd.ReadTree(bytes.NewReader(image), initrd.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(tree.Problems); (stop != nil) != (n > 0 && tree.Problems[n-1].Stop) {
		t.Errorf("Walk says %v, the tree's problems are %v", stop, tree.Problems)
	}
	files, first := map[string]string{}, map[*initrd.Inode]string{}
	for n := range tree.All() {
		name := "/" + n.Path
		if first[n.Inode] == "" {
			first[n.Inode] = name
		}
		var sum, size uint32
		if n.Type() == newc.Regular {
			sum, size = sums[n.Data], n.Size
		} else if n.Type() == newc.Symlink {
			size = n.Size
		}
		rdev := newc.Device{}
		if n.Type() == newc.Char || n.Type() == newc.Block {
			rdev = n.RDev
		}
		files[name] = fmt.Sprintf("%o %d:%d %d:%d links %d of %s time %d size %d %08x %q",
			n.Mode, n.UID, n.GID, rdev.Major, rdev.Minor, n.Names, first[n.Inode], n.Time, size, sum, n.Target)
	}
	return files
}

// sameTree compares the two, but for what every kernel has by itself.
func sameTree(t *testing.T, want, got map[string]string) {
	t.Helper()
	for _, name := range []string{"/", "/dev", "/dev/console", "/root"} {
		if _, ok := want[name]; !ok {
			delete(got, name)
		}
	}
	for _, files := range []map[string]string{want, got} {
		if console, ok := files["/dev/console"]; ok { // what is printed changes its time
			files["/dev/console"] = regexp.MustCompile(` time \d+`).ReplaceAllString(console, "")
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("tree (-package initrd +kernel):\n%s", d)
	}
}

type archived struct {
	newc.Entry
	body string
}

func archive(t *testing.T, f codec.Format, files ...archived) []byte {
	t.Helper()
	var b bytes.Buffer
	err := initrd.WritePart(&b, f, func(w io.Writer) error {
		cw := newc.NewWriter(w)
		for _, f := range files {
			f.Size = int64(len(f.body))
			if err := cw.WriteEntry(f.Entry, strings.NewReader(f.body)); err != nil {
				return err
			}
		}
		return cw.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func entry(name string, mode uint32, body string) archived {
	return archived{newc.Entry{Name: name, Mode: mode, Time: 315532800}, body}
}

// kernelBase is what the tests edit.
func kernelBase(init []byte) []archived {
	text := strings.Repeat("a line of text that a compressor likes\n", 9000)
	hard := func(name, body string) archived {
		a := entry(name, newc.Regular|0o4750, body)
		a.Ino, a.Links, a.UID = 7777, 3, 1000
		return a
	}
	node := func(name string, mode, major, minor uint32) archived {
		a := entry(name, mode, "")
		a.RDev = newc.Device{Major: major, Minor: minor}
		return a
	}
	return []archived{
		entry("etc", newc.Dir|0o755, ""), entry("etc/marker", newc.Regular|0o644, "base"), entry("etc/gone", newc.Regular|0o644, text),
		entry("init", newc.Regular|0o755, string(init)), entry("bin", newc.Dir|0o2711, ""),
		hard("bin/a", ""), hard("bin/b", ""), hard("bin/c", "shared"), entry("sh", newc.Symlink|0o777, "bin/a"),
		entry("dev", newc.Dir|0o755, ""), node("dev/console", newc.Char|0o600, 5, 1), node("dev/far", newc.Block|0o640, 259, 0xfffff),
		entry("tmp", newc.Dir|0o1777, ""), entry("run", newc.FIFO|0o600, ""), entry("log", newc.Socket|0o666, ""), entry("empty", newc.Regular|0o600, ""),
		entry("doc", newc.Dir|0o755, ""), entry("doc/x", newc.Regular|0o644, text), entry("with blank\nand line", newc.Regular|0o644, "\xff"),
	}
}

// kernelEdits put another marker in, and what was there goes.
var kernelEdits = repack.Edits{
	Add:    []repack.Add{marker()},
	Remove: []repack.Remove{{Label: "t", Glob: "etc/gone"}, {Label: "t", Glob: "bin/c"}},
	Rename: []repack.Rename{{Label: "t", From: "doc", To: "usr/share/doc"}},
	Chmod:  []repack.Chmod{{Label: "t", Glob: "bin/a", Mode: 0o6511}},
	Chown:  []repack.Chown{{Label: "t", Glob: "dev/*", UID: 3, GID: 4}},
}

func marker() repack.Add {
	return repack.Add{Label: "t", Entry: newc.Entry{Name: "etc/marker", Mode: newc.Regular | 0o600, Size: 7}, Open: repack.Text([]byte("overlay"))}
}

// appended has the marker, a file in the place of one of three hard links, and a device in
// the place of another: a kernel writes into what is there unless it is removed first.
func appended(t *testing.T, base []byte, f codec.Format) []byte {
	t.Helper()
	var out bytes.Buffer
	adds := []repack.Add{
		{Label: "t", Entry: newc.Entry{Name: "bin/b", Mode: newc.Regular | 0o755, Size: 3}, Open: repack.Text([]byte("new"))},
		{Label: "t", Entry: newc.Entry{Name: "dev/far", Mode: newc.Block | 0o600, RDev: newc.Device{Major: 8, Minor: 1}}},
		marker(),
	}
	tree, err := initrd.ReadTree(bytes.NewReader(base), initrd.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repack.Append(t.Context(), bytes.NewReader(base), int64(len(base)), tree, adds, &out, repack.Options{Format: f}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func repacked(t *testing.T, base []byte, f codec.Format) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := repack.Repack(t.Context(), bytes.NewReader(base), int64(len(base)), kernelEdits, &out, repack.Options{Format: f, Epoch: 315532800}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A kernel has in its root file system what package initrd says, whatever wrote the
// archives: the overlay wins, what was removed is gone.
func TestE2EKernelUnpacksIt(t *testing.T) {
	init := kernelInit(t)
	base := archive(t, codec.Gzip, kernelBase(init)...)
	lz4 := pipe(t, t.TempDir(), archive(t, codec.None, kernelBase(init)...), "lz4 -lqc")
	early := archive(t, codec.None, entry("etc", newc.Dir|0o700, ""), entry("etc/marker", newc.Regular|0o600, "early"), entry("etc/early", newc.Regular|0o600, "early"))
	pi := piKernel(t)
	for _, tt := range []struct {
		name, kernel string
		image        []byte
		gone         bool
	}{
		{"append gzip to gzip", pi, appended(t, base, codec.Gzip), false},
		{"append zstd to gzip", pi, appended(t, base, codec.Zstd), false},
		{"append to what was appended", pi, appended(t, appended(t, base, codec.Zstd), codec.Gzip), false},
		{"append gzip to lz4", pi, appended(t, lz4, codec.Gzip), false},
		{"append gzip to lz4, Debian", debianKernel, appended(t, lz4, codec.Gzip), false},
		{"repack with gzip", pi, repacked(t, base, codec.Gzip), true},
		{"repack with zstd", pi, repacked(t, base, codec.Zstd), true},
		{"early plain archive in front", pi, repacked(t, append(bytes.Clone(early), base...), codec.Gzip), true},
		{"early plain archive in front, Debian", debianKernel, repacked(t, append(bytes.Clone(early), base...), codec.Zstd), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := console(t, tt.kernel, tt.image, "overlay")
			got := unpacked(t, log)
			if !strings.Contains(log, `MARKER found "overlay"`) {
				t.Errorf("the overlay did not win:\n%s", log)
			}
			if _, there := got["/etc/gone"]; there == tt.gone {
				t.Errorf("etc/gone is there: %v, want %v", there, !tt.gone)
			}
			if b, a := got["/bin/b"], got["/bin/a"]; !tt.gone && (!strings.Contains(b, "links 1 of /bin/b") || !strings.Contains(a, "links 2 of /bin/a")) {
				t.Errorf("a new file was written through a hard link: bin/a %s, bin/b %s", a, b)
			}
			if far := got["/dev/far"]; !tt.gone && !strings.Contains(far, " 8:1 ") {
				t.Errorf("the new device was not made: %s", far)
			}
			sameTree(t, predicted(t, tt.image), got)
		})
	}
}

// pipe runs b through a command, in dir.
func pipe(t *testing.T, dir string, b []byte, command string) []byte {
	t.Helper()
	args := strings.Fields(command)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return out
}

// padded ends where a plain archive may begin.
func padded(b []byte) []byte { return append(b, make([]byte, initrd.Padding(int64(len(b))))...) }

// rawArchive holds entries that package newc does not write.
func rawArchive(files ...archived) []byte {
	var b []byte
	for _, f := range append(files, archived{Entry: newc.Entry{Name: newc.Trailer, Links: 1}}) {
		f.Size = int64(len(f.body))
		b = padded(append(newc.AppendHeader(b, f.Entry), f.body...))
	}
	return b
}

// quarrel has what a kernel drops, or takes otherwise than it looks.
func quarrel() []archived {
	hard := func(name string, ino uint32, body string) archived {
		return archived{newc.Entry{Name: name, Mode: newc.Regular | 0o640, Ino: ino, Links: 2, Time: 5}, body}
	}
	return []archived{
		entry("q", newc.Dir|0o755, ""), entry("q/twice", newc.Regular|0o600, "first"), entry("q/twice", newc.Regular|0o644, "second, longer"),
		entry("q/late/f", newc.Regular|0o600, "x"), entry("q/late", newc.Dir|0o700, ""),
		entry("q/full", newc.Dir|0o755, ""), entry("q/full/f", newc.Regular|0o600, ""), entry("q/full", newc.Regular|0o600, "no"),
		entry("q/c1", newc.Symlink|0o777, "c2"), entry("q/c2", newc.Symlink|0o777, "c1"), entry("q/c1/f", newc.Regular|0o600, "x"),
		hard("q/self", 50, "x"), hard("q/self", 50, ""), hard("q/heir", 50, "y"),
		hard("q/one", 51, "first"), hard("q/two", 51, "other"), hard("q/three", 51, ""),
		entry("q/"+strings.Repeat("n", 256), newc.Regular|0o600, "x"), entry("q/"+strings.Repeat("m", 255), newc.Regular|0o600, "x"),
		entry("/q/absolute", newc.Regular|0o600, "x"), entry("q/../../up", newc.Regular|0o600, "x"), entry("./q//dots", newc.Dir|0o711, ""),
		entry("q/dots/.", newc.Dir|0o700, ""), entry("q/nodots/.", newc.Dir|0o700, ""), entry("q/dots/new/..", newc.Dir|0o700, ""),
		entry("q/slash/", newc.Dir|0o700, ""), entry("q/slash-file/", newc.Regular|0o600, "x"), entry("q/slash-pipe/", newc.FIFO|0o600, ""),
		entry("q/slash-link/", newc.Symlink|0o777, "x"), entry("q/dots/./", newc.Dir|0o710, ""), entry("q/dots/.", newc.Regular|0o600, "x"),
		entry("q/here", newc.Regular|0o644, "stays?"), entry("q/here/", newc.Regular|0o600, "x"), entry("q/here/", newc.Dir|0o700, ""),
		entry("q/unknown", 0o644, ""), entry("q/pipe", newc.FIFO|0o600, "body"), entry("q/dir", newc.Dir|0o700, "body"),
		entry("q/link", newc.Symlink|0o777, "../etc"), entry("q/link/through", newc.Regular|0o600, "x"),
		entry("q/root", newc.Symlink|0o777, "/"), entry("q/root/q/r", newc.Regular|0o600, "x"), entry("q/up", newc.Symlink|0o777, "../../../../q"), entry("q/up/u", newc.Regular|0o600, "u"),
		entry("q/file", newc.Regular|0o600, "x"), entry("q/file/below", newc.Regular|0o600, "x"), entry("q/file", newc.Symlink|0o777, "nowhere"),
		entry("q/target", newc.Symlink|0o777, strings.Repeat("t", 4095)), entry("q/longer", newc.Symlink|0o777, strings.Repeat("t", 4097)),
	}
}

// host is an archive by GNU cpio, with checksums, of what a folder can hold.
func host(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	script := `mkdir h && cd h && printf data > a && ln a b && ln a c && chmod 6755 a && mkfifo p && mknod n c 4095 1048575 &&
: > e && ln -s a l && printf x > 'new
line' && mkdir -m 1777 t && chown 7:8 e && touch -d @1000000000 a e p n . t 'new
line' && touch -hd @1000000000 l`
	pipe(t, dir, []byte(script), "sh -e")
	return pipe(t, dir, []byte("h\x00h/a\x00h/p\x00h/n\x00h/b\x00h/e\x00h/l\x00h/new\nline\x00h/t\x00h/c\x00"), "cpio -o0 --quiet -H crc")
}

// Archives in a row, of other people's tools, in all formats, with all that a kernel
// drops: what package initrd says of them is what two kernels do.
func TestE2EKernelAgreesOnOddArchives(t *testing.T) {
	dir := t.TempDir()
	image := archive(t, codec.Gzip, kernelBase(kernelInit(t))...)
	for _, part := range [][]byte{
		pipe(t, dir, host(t), "xz -c --check=crc32"),
		append(pipe(t, dir, rawArchive(quarrel()...), "lz4 -lqc"), 0, 0, 0, 0),
		pipe(t, dir, append(rawArchive(entry("bin/a", newc.Regular|0o755, "all names get it")), rawArchive(entry("second", newc.Dir|0o755, ""))...), "bzip2 -c"),
		pipe(t, dir, rawArchive(entry("lzma", newc.Regular|0o755, "x")), "lzma -c"),
		rawArchive(entry("etc/marker", newc.Regular|0o644, "plain")),
		pipe(t, dir, rawArchive(entry("etc/marker", newc.Regular|0o644, "overlay")), "zstd -qc"),
	} {
		image = append(padded(image), part...)
	}
	want := predicted(t, image)
	for name, kernel := range map[string]string{"Raspberry Pi": piKernel(t), "Debian": debianKernel} {
		t.Run(name, func(t *testing.T) {
			log := console(t, kernel, image, "overlay")
			if strings.Contains(log, "unpacking failed") || !strings.Contains(log, `MARKER found "overlay"`) {
				t.Errorf("the kernel says\n%s", log)
			}
			sameTree(t, maps.Clone(want), unpacked(t, log))
		})
	}
}

// A plain archive at an odd offset: the kernel says so and boots on without it. Package
// initrd sees it coming, and so does who looks for a marker.
func TestE2EKernelMissesAMisalignedArchive(t *testing.T) {
	overlay := rawArchive(entry("etc/marker", newc.Regular|0o644, "overlay"))
	image := append(archive(t, codec.Gzip, kernelBase(kernelInit(t))...), 0)
	image = append(image, overlay...)
	tree, err := initrd.ReadTree(bytes.NewReader(image), initrd.Limits{})
	if err != nil || len(tree.Problems) != 1 || !tree.Problems[0].Stop || !strings.Contains(tree.Problems[0].Text, "only at multiples of 4 bytes") {
		t.Errorf("%v, problems %v", err, tree.Problems)
	}
	if _, err := repack.Repack(t.Context(), bytes.NewReader(image), int64(len(image)), repack.Edits{}, io.Discard, repack.Options{}); err == nil || !strings.Contains(err.Error(), "archive 2: ") {
		t.Errorf("repack: %v", err)
	}
	for name, kernel := range map[string]string{"Raspberry Pi": piKernel(t), "Debian": debianKernel} {
		t.Run(name, func(t *testing.T) {
			log := console(t, kernel, image, "overlay")
			got := unpacked(t, log)
			// A kernel with BLK_DEV_RAM takes it all for a disk and keeps it as a file;
			// one without says what is wrong.
			_, kept := got["/initrd.image"]
			delete(got, "/initrd.image")
			if kept == strings.Contains(log, "Initramfs unpacking failed: ") || !strings.Contains(log, `MARKER wrong: "base"`) {
				t.Errorf("the kernel says\n%s", log)
			}
			sameTree(t, predicted(t, image), got)
		})
	}
}
