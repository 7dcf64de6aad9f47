//go:build bench

package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"
)

// way is one way to do the same edits: 20 files of 1 MB together are added, and unless only
// is set a path is removed and the mode and owner of another are changed.
type way struct {
	name string
	sh   string // the command; {R} stands for the path that is removed, {C} for the one that is changed
	out  string // the file that it writes
}

const unpackAndPack = `rm -rf tree && mkdir tree && cd tree && gzip -dc ../base | cpio -idm --quiet && cp -a ../overlay/. . && rm -r ./{R} && chmod 0700 ./{C} && chown 7:8 ./{C} && find . | LC_ALL=C sort | cpio -o -H newc --quiet | `

// fresh forgets what is known of the base.
const fresh = `rm -rf cache; `

const editKnown = `./piimg initramfs edit base --overlay overlay --remove {R} --chmod 0700:{C} --chown 7:8:{C} `

const editAll = fresh + editKnown

var ways = []way{
	{"cp", "cp base out", "out"},
	{"cp, sha256sum", "cp base out && sha256sum out", "out"},
	{"piimg append", fresh + "./piimg initramfs edit base --overlay overlay -o out", "out"},
	{"piimg append, base known", "./piimg initramfs edit base --overlay overlay -o out", "out"},
	{"cpio | gzip -9", unpackAndPack + "gzip -9n >../out", "out"},
	{"cpio | gzip -6", unpackAndPack + "gzip -6n >../out", "out"},
	{"cpio | pigz -9", unpackAndPack + "pigz -9n >../out", "out"},
	{"bsdtar | gzip -6, no mode or owner", "bsdtar --format=newc --exclude ./{R} --exclude {R} -cf - @base -C overlay . | gzip -6n >out", "out"},
	{"cpio | pigz -6", unpackAndPack + "pigz -6n >../out", "out"},
	{"cpio | zstd -T2 -3", unpackAndPack + "zstd -q -T2 -3 >../out", "out"},
	{"cpio | zstd -T2 -19", unpackAndPack + "zstd -q -T2 -19 >../out", "out"},
	{"piimg repack", editAll + "-o out", "out"},
	{"piimg repack, base known", editKnown + "-o out", "out"},
	{"piimg repack, recompress, fast", editAll + "--recompress --level fast -o out", "out"},
	{"piimg repack, recompress", editAll + "--recompress -o out", "out"},
	{"piimg repack, recompress, best", editAll + "--recompress --level best -o out", "out"},
	{"piimg repack, none", editAll + "--compression none -o out", "out"},
	{"piimg repack, zstd, fast", editAll + "--compression zstd --level fast -o out", "out"},
	{"piimg repack, zstd", editAll + "--compression zstd -o out", "out"},
	{"piimg repack, zstd, best", editAll + "--compression zstd --level best -o out", "out"},
}

// cost is what one run took.
type cost struct {
	wall, cpu time.Duration
	rss       int64 // bytes, of the largest process
	size      int64 // bytes of the output
}

// BenchmarkInitramfs edits real archives in all ways in turn and prints a table of medians,
// with ratios to what people use.
func BenchmarkInitramfs(b *testing.B) {
	for _, a := range []struct{ name, prepare, remove, change string }{
		{"initrd.gz of debian-installer-12-netboot-arm64", `cp /usr/lib/debian-installer/images/12/arm64/text/debian-installer/arm64/initrd.gz base`, "usr/share/localechooser", "bin/busybox"},
		{"root file system with all modules of Debian's kernel for arm64", debianKernelRoot, "usr/share/doc", "boot"},
	} {
		b.Run(a.name, func(b *testing.B) {
			dir := benchFolder(b, a.prepare)
			edits := strings.NewReplacer("{R}", a.remove, "{C}", a.change)
			runs := map[string][]cost{}
			for b.Loop() {
				for _, w := range ways {
					runs[w.name] = append(runs[w.name], w.run(b, dir, edits))
				}
			}
			printRuns(b, a.name, filepath.Join(dir, "base"), runs)
		})
	}
}

const debianKernelRoot = `
mkdir -p lists/partial cache/archives/partial root
apt="-qq -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State::Lists=$PWD/lists -o Dir::Cache=$PWD/cache"
apt-get $apt update
package=$(apt-cache $apt depends linux-image-arm64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
apt-get $apt download "$package"
dpkg-deb -x linux-image-*.deb root
(cd root && mkdir dev && mknod dev/console c 5 1 && find . -print0 | LC_ALL=C sort -z | cpio -o0 --quiet -H newc | gzip -9n) >base
rm -rf root lists cache *.deb`

// benchFolder has the program, a base and an overlay.
func benchFolder(b *testing.B, prepare string) string {
	b.Helper()
	dir := b.TempDir()
	if out, err := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, "piimg"), ".").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command("sh", "-ec", prepare+"\nmkdir -p overlay/opt/rack; for n in $(seq 20); do { head -c 26214 /dev/urandom; head -c 19000 /dev/urandom | base64; } >overlay/opt/rack/$n; done")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return dir
}

func (w way) run(b *testing.B, dir string, edits *strings.Replacer) cost {
	b.Helper()
	cmd := exec.Command("sh", "-ec", edits.Replace(w.sh))
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(dir, "cache"))
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%s: %v\n%s", w.name, err, out)
	}
	r := cost{wall: time.Since(start), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.rss = usage.Maxrss << 10
	}
	r.size = sizeOf(b, filepath.Join(dir, w.out))
	return r
}

func sizeOf(b *testing.B, name string) int64 {
	b.Helper()
	info, err := os.Stat(name)
	if err != nil {
		b.Fatal(err)
	}
	return info.Size()
}

func median[R any, V cmp.Ordered](runs []R, of func(R) V) V {
	all := make([]V, 0, len(runs))
	for _, r := range runs {
		all = append(all, of(r))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func printRuns(b *testing.B, title, base string, runs map[string][]cost) {
	b.Helper()
	wall := func(name string) float64 {
		return time.Duration(median(runs[name], func(r cost) int64 { return int64(r.wall) })).Seconds()
	}
	bytesOf := func(name string) float64 { return float64(median(runs[name], func(r cost) int64 { return r.size })) }
	var names []string
	for _, w := range ways {
		names = append(names, w.name)
	}
	slices.SortFunc(names, func(x, y string) int { return int((wall(x) - wall(y)) * 1e6) })
	var out bytes.Buffer
	t := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "WAY\tWALL s\tCPU s\tx cp\tgzip -9 / IT\tpigz -6 / IT\tMB\tOF gzip -9\tPEAK MiB\n")
	for _, name := range names {
		cpu := time.Duration(median(runs[name], func(r cost) int64 { return int64(r.cpu) })).Seconds()
		fmt.Fprintf(t, "%s\t%.2f\t%.2f\t%.1f\t%.1f\t%.1f\t%.2f\t%.3f\t%d\n", name, wall(name), cpu,
			wall(name)/wall("cp"), wall("cpio | gzip -9")/wall(name), wall("cpio | pigz -6")/wall(name),
			bytesOf(name)/1e6, bytesOf(name)/bytesOf("cpio | gzip -9"), median(runs[name], func(r cost) int64 { return r.rss })>>20)
	}
	_ = t.Flush()
	fmt.Printf("\n%s: %.1f MB, medians of %d\n%s\n", title, float64(sizeOf(b, base))/1e6, len(runs["cp"]), out.String())
}
