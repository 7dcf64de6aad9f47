package repack

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// shell runs a script in a folder.
func shell(t testing.TB, dir string, script string) []byte {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	var diag bytes.Buffer
	cmd.Stderr = &diag
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, diag.Bytes())
	}
	return out
}

// everything is an archive by GNU cpio of all that a folder can hold.
func everything(t *testing.T, format string) []byte {
	return shell(t, t.TempDir(), `mkdir h h/dev && mknod h/dev/console c 5 1 && cd h && printf data > a && ln a b && ln a c && chmod 6755 a &&
mkfifo p && mknod n c 4095 1048575 && mknod m b 259 70000 && : > e && ln -s a l && printf x > 'new
line' && printf y > ' blank ' && printf z > "$(printf 'high \377\200')" && mkdir -m 1777 t && chown 7:65534 e && chown -h 5:6 l
cd .. && find h -print0 | cpio -o0 --quiet -H `+format)
}

// module is the folder of a module of recipes/quickstart.toml.
func module(t *testing.T, name string) string {
	t.Helper()
	recipe, err := os.ReadFile("../../../../recipes/quickstart.toml")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(regexp.QuoteMeta(name) + `@[^"]+`).Find(recipe)
	var got struct{ Dir string }
	if err := json.Unmarshal(shell(t, ".", "go mod download -json "+string(m)), &got); err != nil {
		t.Fatal(err)
	}
	return got.Dir
}

// archives are the plain archives of an initramfs, one by one, unpacked by the tools of
// the formats.
func archives(t *testing.T, b []byte) [][]byte {
	t.Helper()
	tree, err := initrd.ReadTree(bytes.NewReader(b), initrd.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for i, m := range tree.Members {
		end := int64(len(b))
		if i+1 < len(tree.Members) {
			end = tree.Members[i+1].Offset
		}
		member := b[m.Offset:end]
		if m.Format != codec.None {
			member = unpacked(t, m.Format, member)
		}
		all = append(all, split(t, member)...)
	}
	return all
}

// unpacked decompresses a member; the padding behind it is for no tool but the kernel.
func unpacked(t *testing.T, f codec.Format, member []byte) []byte {
	t.Helper()
	tool := map[codec.Format]string{codec.Gzip: "gzip -dcq", codec.Zstd: "zstd -dcq", codec.XZ: "xz -dcq", codec.LZ4: "lz4 -dcq"}[f]
	for range initrd.Align {
		args := strings.Fields(tool)
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdin = bytes.NewReader(member)
		out, err := cmd.Output()
		if err == nil {
			return out
		}
		if member[len(member)-1] != 0 {
			break
		}
		member = member[:len(member)-1]
	}
	t.Fatalf("%s does not read a member", tool)
	return nil
}

// split cuts plain data into archives, with the NUL bytes behind each.
func split(t *testing.T, b []byte) [][]byte {
	t.Helper()
	var all [][]byte
	for len(bytes.TrimLeft(b, "\x00")) > 0 {
		r := newc.NewReader(bufio.NewReader(bytes.NewReader(b)))
		for {
			if _, err := r.Next(); err != nil {
				break
			}
		}
		end := int(r.Consumed())
		for end < len(b) && b[end] == 0 {
			end++
		}
		all, b = append(all, b[:end]), b[end:]
	}
	return all
}

// listed is what GNU cpio and bsdtar say is in an archive; the latter with a digest of
// every content.
func listed(t *testing.T, b []byte) []string {
	t.Helper()
	cpio := pipe(t, b, "env LC_ALL=C TZ=UTC cpio -itv --numeric-uid-gid --quiet")
	tar := pipe(t, b, "bsdtar -tvf -")
	mtree := pipe(t, b, "bsdtar -cf - --format=mtree --options !all,type,mode,uid,gid,size,device,link,sha256,time,nlink @-")
	return append(append(strings.Split(string(cpio), "\n"), strings.Split(string(tar), "\n")...), strings.Split(string(mtree), "\n")...)
}

// rewrites are the ways to write without edits.
var rewrites = []struct {
	name string
	o    Options
}{
	{"gzip, with re-use", Options{Format: codec.Gzip}},
	{"gzip, anew", Options{Format: codec.Gzip, Recompress: true, Level: codec.Fast}},
	{"zstd", Options{Format: codec.Zstd, Level: codec.Fast}},
	{"none", Options{Format: codec.None}},
}

// roundTrip repacks base without edits in every way: the effective tree and what other
// people's tools list of each archive stay the same, entry by entry.
func roundTrip(t *testing.T, base []byte) {
	t.Helper()
	var want [][]string
	for _, a := range archives(t, base) {
		want = append(want, listed(t, a))
	}
	entries := 0
	for _, r := range rewrites {
		got, stats, err := repack(base, Edits{}, r.o)
		if err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		parts := archives(t, got)
		if len(parts) != len(want) || len(want) == 0 {
			t.Fatalf("%s: %d archives, want %d", r.name, len(parts), len(want))
		}
		for i, a := range parts {
			if d := cmp.Diff(want[i], listed(t, a)); d != "" {
				t.Errorf("%s, archive %d (-before +after):\n%.4000s", r.name, i+1, d)
			}
		}
		if d := differ(t, base, got); d != "" {
			t.Errorf("%s: %s", r.name, d)
		}
		entries = int(stats.Entries)
	}
	t.Logf("%d archives, %d entries, %d bytes", len(want), entries, len(base))
}

// holds says that a base has what the round trips are about.
func holds(t *testing.T, base []byte, paths ...string) {
	t.Helper()
	tree, err := initrd.ReadTree(bytes.NewReader(base), initrd.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		n := tree.Lookup(p)
		switch {
		case n == nil:
			t.Errorf("there is no %s", p)
		case strings.HasSuffix(p, "dev/console") && (n.Type() != newc.Char || n.RDev != newc.Device{Major: 5, Minor: 1}):
			t.Errorf("%s is %+v", p, *n.Inode)
		}
	}
}

func TestRoundTripOfAllThatAFolderCanHold(t *testing.T) {
	for _, format := range []string{"newc", "crc"} {
		b := everything(t, format)
		holds(t, b, "h/dev/console")
		if !bytes.Contains(pipe(t, b, "cpio -itv --quiet"), []byte("-rwsr-sr-x   3 ")) {
			t.Error("there are no hard links with setuid")
		}
		roundTrip(t, b)
		roundTrip(t, pipe(t, b, "gzip -9c"))
	}
}

func TestRoundTripOfArchivesInARow(t *testing.T) {
	row := pad(everything(t, "newc"))
	row = append(row, make([]byte, 512)...)
	row = append(row, pad(pipe(t, everything(t, "crc"), "xz -c --check=crc32"))...)
	row = append(row, pad(pipe(t, append(everything(t, "newc"), everything(t, "newc")...), "gzip -c"))...)
	row = append(row, make([]byte, 7)...)
	row = append(row, pipe(t, plain(t, reg("x", "last")), "zstd -qc")...)
	roundTrip(t, row)
}

// u-root writes the data of hard links with the first name, GNU cpio with the last.
func TestRoundTripOfAnArchiveByURoot(t *testing.T) {
	dir := t.TempDir()
	writer := filepath.Join(dir, "uroot")
	shell(t, "../../newc/testdata/uroot", "GOFLAGS=-mod=readonly GOWORK=off go build -o "+writer+" .")
	b := shell(t, dir, `mkdir h h/dev && mknod h/dev/console c 5 1 && printf data > h/a && ln h/a h/b && chmod 4755 h/a && ln -s a h/l && mkfifo h/p &&
find h | LC_ALL=C sort | ./uroot`)
	holds(t, b, "h/dev/console", "h/a", "h/b")
	roundTrip(t, b)
	roundTrip(t, pipe(t, b, "gzip -c"))
}

// A root file system with the modules of a real kernel.
func TestRoundTripOfKernelModules(t *testing.T) {
	b := shell(t, module(t, "github.com/gokrazy/kernel.rpi"), "find lib -print0 | cpio -o0 --quiet -H newc | gzip -6n")
	if len(b) < 2_000_000 {
		t.Errorf("only %d bytes", len(b))
	}
	roundTrip(t, append(pad(b), everything(t, "newc")...))
}
