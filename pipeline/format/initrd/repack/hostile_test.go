package repack

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// packers write every format that is read.
var packers = []string{"cat", "gzip -9nc", "zstd -qc", "xz -c --check=crc32", "lzma -c", "bzip2 -c", "lz4 -lqc"}

// Cut anywhere, in every format, a base is an error that says in which archive, and a
// plain one also at which byte.
func TestEveryCutIsAnErrorWithItsPlace(t *testing.T) {
	base := plain(t, small...)
	for _, p := range packers {
		b := pipe(t, base, p)
		for cut := 1; cut < len(b)-4; cut += step(p) {
			_, _, err := repack(b[:cut], Edits{}, Options{})
			if err == nil || !strings.Contains(err.Error(), "archive 1: ") || p == "cat" && cut > 8 && !strings.Contains(err.Error(), "byte ") {
				t.Errorf("%s cut at %d of %d bytes: %v", p, cut, len(b), err)
			}
		}
	}
}

// step is how many bytes apart the tests of a format look: each takes some time, and the
// decoders of libraries have tests of their own.
func step(packer string) int {
	if packer == "cat" || strings.HasPrefix(packer, "gzip") {
		return 3
	}
	return 17
}

// Whatever byte is wrong, repacking ends: with an error, or with the tree that a kernel
// makes of the damaged base.
func TestEveryDamagedByteEndsWell(t *testing.T) {
	base := plain(t, small...)
	for _, p := range packers {
		b := pipe(t, base, p)
		for at := 0; at < len(b); at += step(p) {
			bad := bytes.Clone(b)
			bad[at] ^= 1 << (at % 8)
			got, _, err := repack(bad, Edits{}, Options{Level: codec.Fast})
			if err != nil {
				continue
			}
			if d := differ(t, bad, got); d != "" {
				t.Errorf("%s, byte %d: %s", p, at, d)
			}
		}
	}
}

// nodes is the tree of b, and its problems, without places.
func nodes(t *testing.T, b []byte) []string {
	t.Helper()
	tree, err := initrd.ReadTree(bytes.NewReader(b), initrd.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for n := range tree.All() {
		inode := *n.Inode
		inode.Data = initrd.Place{}
		all = append(all, fmt.Sprintf("%q %+v %q", n.Path, inode, n.Target))
	}
	for _, p := range tree.Problems {
		all = append(all, fmt.Sprint(p.Name, ": ", p.Text, p.Stop))
	}
	return all
}

// differ says how the trees of two initramfs differ; "" where they do not.
func differ(t *testing.T, one, two []byte) string {
	t.Helper()
	a, b := nodes(t, one), nodes(t, two)
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("%s became %s", a[i], b[i])
		}
	}
	if len(a) != len(b) {
		return fmt.Sprintf("%d lines became %d", len(a), len(b))
	}
	return ""
}

// zeros is a compressed archive with one file of zeros.
func zeros(t *testing.T, packer string, size int) []byte {
	t.Helper()
	return pipe(t, plain(t, reg("zeros", string(make([]byte, size)))), packer)
}

func TestFaultRow29BombsOfEveryFormatStop(t *testing.T) {
	for _, p := range packers {
		o := Options{Level: codec.Fast, Limits: initrd.Limits{Limits: newc.Limits{Size: 1 << 20}}}
		if _, _, err := repack(zeros(t, p, 6<<20), Edits{}, o); !errors.Is(err, newc.ErrLimit) || !strings.Contains(err.Error(), `archive 1: entry "zeros" at byte 0: `) {
			t.Errorf("%s: %v", p, err)
		}
	}
	// The limit is for all archives together.
	one := pad(zeros(t, "gzip -1c", 700<<10))
	o := Options{Level: codec.Fast, Limits: initrd.Limits{Limits: newc.Limits{Size: 1 << 20}}}
	if _, _, err := repack(append(bytes.Clone(one), one...), Edits{}, o); !errors.Is(err, newc.ErrLimit) || !strings.Contains(err.Error(), "archive 2: ") {
		t.Errorf("two of 700 KiB with a limit of 1 MiB: %v", err)
	}
}

func TestFaultRow29ManyArchivesStop(t *testing.T) {
	for _, p := range packers {
		many := bytes.Repeat(append(pad(pipe(t, plain(t), p)), 0, 0, 0, 0), 101)
		if _, _, err := repack(many, Edits{}, Options{Level: codec.Fast}); !errors.Is(err, newc.ErrLimit) || !strings.Contains(err.Error(), "more than 100 archives") {
			t.Errorf("%s: %v", p, err)
		}
	}
}

func TestFaultRow29NestedArchivesAreFiles(t *testing.T) {
	inner := pipe(t, plain(t, reg("inner", "x")), "gzip -c")
	outer := plain(t, reg("nested.cpio.gz", string(inner)))
	if _, _, err := repack(outer, Edits{Remove: []Remove{{"r:1", "inner"}}}, Options{}); err == nil || !strings.Contains(err.Error(), "matches nothing") {
		t.Errorf("error %v", err)
	}
}

// crowd writes n hard links of inodes of their own, with names of the given length.
func crowd(t *testing.T, n, name int) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "crowd"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	w := bufio.NewWriterSize(f, 1<<20)
	var b []byte
	for i := range n {
		b = newc.AppendHeader(b[:0], newc.Entry{Name: fmt.Sprintf("%0*d", name, i), Mode: newc.Regular, Ino: uint32(i), Links: 2})
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write(newc.AppendHeader(nil, newc.Entry{Name: newc.Trailer})); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return f
}

// sampler measures the heap now and then as it is written to.
type sampler struct {
	n    int
	peak uint64
}

func (s *sampler) Write(p []byte) (int, error) {
	if s.n += len(p); s.n > 60<<20 {
		s.n = 0
		s.sample()
	}
	return len(p), nil
}

func (s *sampler) sample() {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	s.peak = max(s.peak, m.HeapAlloc)
}

func TestFaultRow30AMillionEntriesInBoundedMemory(t *testing.T) {
	const n, most = 1_000_000, 64<<20 + 1_000_000*300
	for name, entries := range map[int]int{20: n, 250: n / 3} {
		f := crowd(t, entries, name)
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		var before sampler
		before.sample()
		out := sampler{}
		_, err = Repack(t.Context(), f, info.Size(), Edits{Chmod: []Chmod{{"r:1", "*", 0o600}}}, &out, Options{Format: codec.None})
		out.sample()
		peak := int64(out.peak) - int64(before.peak)
		t.Logf("names of %d bytes: %d MiB at the peak, %v", name, peak>>20, err)
		if peak > most {
			t.Errorf("names of %d bytes: %d bytes of memory, want at most %d", name, peak, most)
		}
		if name == 20 && err != nil || name == 250 && (!errors.Is(err, newc.ErrLimit) || !strings.Contains(err.Error(), `archive 1: entry "000`)) {
			t.Errorf("names of %d bytes: %v", name, err)
		}
	}
}

// Names that come twice, hard links to themselves, symlinks in a circle: what a kernel
// makes of them stays the same.
func TestFaultRow30OddTreesStayAsTheyAre(t *testing.T) {
	base := plain(t, reg("a", "1"), reg("a", "22"), hard("self", "x", 5), hard("self", "", 5), hard("heir", "y", 5),
		sym("c1", "c2"), sym("c2", "c1"), reg("c1/f", "x"), reg("no/f", "x"), dir("no"), dir("d"), reg("d/f", ""), reg("d", ""))
	for _, p := range packers {
		for _, o := range []Options{{}, {Recompress: true}, {Format: codec.None}, {Format: codec.Zstd, Level: codec.Fast}} {
			b := pipe(t, base, p)
			got, _, err := repack(b, Edits{}, o)
			if err != nil {
				t.Fatal(err)
			}
			if d := differ(t, b, got); d != "" {
				t.Errorf("%s, %+v: %s", p, o, d)
			}
		}
	}
}

func TestTrailerWithABodyIsRefused(t *testing.T) {
	b := append(newc.AppendHeader(nil, newc.Entry{Name: newc.Trailer, Size: 4}), "body"...)
	for _, p := range packers {
		if _, _, err := repack(pipe(t, b, p), Edits{}, Options{}); !errors.Is(err, newc.ErrFormat) {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// The data of a removed name is written again under one that stays, with the mode and
// owner that the edits give it.
func TestDataOfARemovedNameKeepsTheEdits(t *testing.T) {
	base := plain(t, dir("bin"), hard("bin/a", "", 7), hard("bin/b", "", 7), hard("bin/c", "data", 7))
	e := Edits{Remove: []Remove{{"r:1", "bin/c"}}, Chmod: []Chmod{{"r:2", "bin/a", 0o6511}}, Chown: []Chown{{"r:3", "bin/b", 3, 4}}}
	got, _, err := repack(base, e, Options{})
	want := "bin 40755 0:0 time 0\nbin/a 106511 3:4 time 0 \"data\" 2 names\nbin/b 106511 3:4 time 0 \"data\" 2 names\n"
	if err != nil || show(t, got) != want {
		t.Errorf("%v, tree\n%s", err, show(t, got))
	}
}

// FuzzNoEdits damages plain data behind intact compression: what is repacked without
// edits is the same tree as before, whatever a kernel makes of it.
func FuzzNoEdits(f *testing.F) {
	f.Add(plain(f, small...), plain(f, reg("x", "y")), false)
	f.Add(plain(f, hard("a", "", 7), hard("b", "data", 7)), []byte{}, true)
	f.Fuzz(func(t *testing.T, first, second []byte, early bool) {
		var b bytes.Buffer
		for i, part := range [][]byte{first, second} {
			if i == 0 && early {
				b.Write(part)
			} else {
				z := gzip.NewWriter(&b)
				_, _ = z.Write(part)
				_ = z.Close()
			}
			b.Write(make([]byte, initrd.Padding(int64(b.Len()))))
		}
		base := b.Bytes()
		if len(base) > 1<<20 {
			return
		}
		before, err := initrd.ReadTree(bytes.NewReader(base), initrd.Limits{})
		if err != nil {
			return
		}
		stopped := slices.ContainsFunc(before.Problems, func(p initrd.Problem) bool { return p.Stop })
		for _, o := range []Options{{}, {Format: codec.None}, {Recompress: true, Level: codec.Fast}} {
			var out bytes.Buffer
			_, err := Repack(context.Background(), bytes.NewReader(base), int64(len(base)), Edits{}, &out, o)
			if err == nil && stopped {
				t.Errorf("%+v repacks what a kernel stops at: %v", o, before.Problems)
			} else if err == nil {
				if d := differ(t, base, out.Bytes()); d != "" {
					t.Errorf("%+v: %s", o, d)
				}
			}
		}
	})
}
