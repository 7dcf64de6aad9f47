package initrd

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/newc"
)

// squeeze runs b through a command.
func squeeze(t testing.TB, b []byte, command string) []byte {
	t.Helper()
	args := strings.Fields(command)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return out
}

// compressors write every format that is read.
var compressors = []string{"gzip -9nc", "zstd -qc", "xz -c --check=crc32", "lzma -c", "bzip2 -c", "lz4 -lqc"}

// small is one plain archive with all kinds of entries.
func small(t testing.TB) []byte {
	return pack(t, codec.None, dir("d"), hard("d/a", "", 7), hard("d/b", "some text, some text", 7), sym("l", "d/a"),
		char("dev/console", 5, 1), reg("d/file", "the body of a file"))
}

// seen is what both readers make of b: the first error, from whichever.
func seen(b []byte) (*Tree, error) {
	walked := Walk(bytes.NewReader(b), func(_ newc.Entry, body io.Reader) error {
		_, err := io.Copy(io.Discard, body)
		return err
	})
	tree, err := ReadTree(bytes.NewReader(b), Limits{})
	if err == nil {
		err = walked
	}
	return tree, err
}

// Cut anywhere, in every format, an initramfs is an error that says in which archive, and
// the tree has a problem that the kernel stops at.
func TestEveryCutIsAnErrorWithItsPlace(t *testing.T) {
	plain := small(t)
	for _, c := range append([]string{"cat"}, compressors...) {
		b := squeeze(t, plain, c)
		for cut := 1; cut < len(b)-4; cut++ { // a trailer's padding is not missed
			tree, err := seen(b[:cut])
			switch {
			case err == nil || !strings.Contains(err.Error(), "archive 1: "):
				t.Errorf("%s cut at %d of %d bytes: %v", c, cut, len(b), err)
			case len(tree.Problems) == 0:
				t.Errorf("%s cut at %d of %d bytes: no problem", c, cut, len(b))
			}
		}
	}
}

// So it is where a second archive is cut, whatever the first one is compressed with.
func TestEveryCutOfASecondArchiveIsAnError(t *testing.T) {
	for n, c := range compressors {
		first := squeeze(t, small(t), c)
		first = append(first, make([]byte, Spacing(int64(len(first))))...)
		second := squeeze(t, pack(t, codec.None, reg("second", "text")), compressors[(n+1)%len(compressors)])
		if tree, err := seen(append(first, second...)); err != nil || tree.Lookup("second") == nil || len(tree.Problems) > 0 {
			t.Errorf("%s: the second archive is not read behind it: %v", c, err)
		}
		for cut := 1; cut < len(second); cut++ {
			tree, err := seen(append(bytes.Clone(first), second[:cut]...))
			if err == nil || !strings.Contains(err.Error(), "archive 2: ") || tree.Stopped() == nil {
				t.Errorf("%s: the second archive cut at %d of %d bytes: %v", c, cut, len(second), err)
			}
		}
	}
}

// A kernel takes NUL bytes, or nothing, in a compressed member only behind an archive.
func TestFrontOfCompressedData(t *testing.T) {
	good := squeeze(t, small(t), "gzip -9nc")
	nul := squeeze(t, append(make([]byte, 4), small(t)...), "gzip -9nc")
	empty := squeeze(t, nil, "gzip -9nc")
	for _, tt := range []struct {
		name string
		b    []byte
		want string // of the problem; "" for none
	}{
		{"NUL bytes first", nul, "no NUL bytes before it"},
		{"NUL bytes behind an archive", append(bytes.Clone(good), nul...), ""},
		{"nothing first", append(bytes.Clone(empty), good...), "there is no archive in it"},
		{"nothing behind an archive", append(bytes.Clone(good), empty...), ""},
	} {
		tree, err := ReadTree(bytes.NewReader(tt.b), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(tree.Problems); (len(tree.Problems) > 0) != (tt.want != "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: problems %v, want %q", tt.name, got, tt.want)
		}
	}
}

// Whatever byte is wrong, reading ends: with an error that says where, or where no checksum
// covers the byte, with a tree. Where there is a checksum, the tree is the right one.
func TestEveryDamagedByteEndsWell(t *testing.T) {
	plain := small(t)
	want := show(t, plain)
	for _, c := range append([]string{"cat"}, compressors...) {
		b := squeeze(t, plain, c)
		for at := range b {
			bad := bytes.Clone(b)
			bad[at] ^= 1 << (at % 8)
			_, err := seen(bad)
			switch {
			case err != nil && !strings.Contains(err.Error(), "archive "):
				t.Errorf("%s, byte %d: %v", c, at, err)
			case err == nil && checked(c) && show(t, bad) != want:
				t.Errorf("%s, byte %d: another tree and no error", c, at)
			}
		}
	}
}

// checked says whether a format has a checksum over its data.
func checked(compressor string) bool {
	return !strings.HasPrefix(compressor, "cat") && !strings.HasPrefix(compressor, "lz")
}

// bomb is a compressed archive of zeros, size bytes plain.
func bomb(t testing.TB, compressor string, size int64) []byte {
	t.Helper()
	args := strings.Fields(compressor)
	cmd := exec.Command(args[0], args[1:]...)
	end := append(make([]byte, -size&3), newc.AppendHeader(nil, newc.Entry{Name: newc.Trailer})...)
	cmd.Stdin = io.MultiReader(
		bytes.NewReader(newc.AppendHeader(nil, newc.Entry{Name: "zeros", Mode: newc.Regular, Size: size})),
		io.LimitReader(zeros{}, size), bytes.NewReader(end))
	b, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", compressor, err)
	}
	return b
}

// Every format stops at the limit for the size, with the offset and the entry.
func TestFaultRow29BombsOfEveryFormatStop(t *testing.T) {
	for _, c := range compressors {
		b := bomb(t, c, 6<<20)
		tree, err := ReadTree(bytes.NewReader(b), Limits{Limits: newc.Limits{Size: 1 << 20}})
		if !errors.Is(err, newc.ErrLimit) || tree != nil || !strings.Contains(err.Error(), `archive 1: entry "zeros" at byte 0: `) {
			t.Errorf("%s: %v", c, err)
		}
		if tree, err := ReadTree(bytes.NewReader(b), Limits{}); err != nil || tree.Lookup("zeros").Size != 6<<20 {
			t.Errorf("%s with limits that suffice: %v", c, err)
		}
	}
}

// An archive inside an archive is a file like any other, however it is compressed.
func TestFaultRow29NestedArchivesAreNotUnpacked(t *testing.T) {
	inner := pack(t, codec.None, reg("inner", "x"))
	for range 5 {
		inner = pack(t, codec.Gzip, reg("nested.cpio.gz", string(inner)))
	}
	if got := show(t, inner); !strings.HasPrefix(got, "nested.cpio.gz 100644 ") || strings.Count(got, "\n") != 1 {
		t.Errorf("tree is\n%s", got)
	}
	// Compressed twice, it is no archive: the kernel looks only once.
	if _, err := seen(squeeze(t, inner, "gzip -c")); err == nil || !strings.Contains(err.Error(), "magic") {
		t.Errorf("compressed twice: %v", err)
	}
}

// Every archive costs a decoder with its window, so that their number is bounded.
func TestFaultRow29ManyArchivesStop(t *testing.T) {
	for _, c := range compressors {
		one := squeeze(t, pack(t, codec.None), c)
		many := bytes.Repeat(append(one, make([]byte, 4+Padding(int64(len(one))))...), 101)
		if _, err := ReadTree(bytes.NewReader(many), Limits{}); !errors.Is(err, newc.ErrLimit) || !strings.Contains(err.Error(), "more than 100 archives") {
			t.Errorf("%s: %v", c, err)
		}
	}
	if _, err := ReadTree(bytes.NewReader(bytes.Repeat(pack(t, codec.Gzip), 20)), Limits{Archives: 20}); err != nil {
		t.Errorf("as many as the limit: %v", err)
	}
}

// growth is how much larger the heap is at its peak while f runs.
func growth(f func(sample func())) int64 {
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak := int64(0)
	f(func() {
		runtime.GC()
		runtime.ReadMemStats(&now)
		peak = max(peak, int64(now.HeapAlloc)-int64(before.HeapAlloc))
	})
	return peak
}

// sampled calls sample now and then as it is read, and at its end.
type sampled struct {
	r      io.Reader
	n      int64
	sample func()
}

func (s *sampled) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if s.n += int64(n); err != nil || s.n > 80<<20 {
		s.n = 0
		s.sample()
	}
	return n, err
}

// hostile writes n entries that cost memory: hard links of inodes of their own, with names
// of the given length.
func hostile(w io.Writer, n, name int) error {
	var b []byte
	for i := range n {
		b = newc.AppendHeader(b[:0], newc.Entry{Name: fmt.Sprintf("%0*d", name, i), Mode: newc.Regular, Ino: uint32(i), Links: 2})
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	_, err := w.Write(newc.AppendHeader(nil, newc.Entry{Name: newc.Trailer}))
	return err
}

func TestFaultRow30AMillionEntriesInBoundedMemory(t *testing.T) {
	const n, most = 1_000_000, 64<<20 + 1_000_000*300
	for _, name := range []int{60, 250} {
		r, w := io.Pipe()
		go func() { w.CloseWithError(hostile(w, n, name)) }()
		var err error
		peak := growth(func(sample func()) {
			var tree *Tree
			tree, err = ReadTree(&sampled{r: r, sample: sample}, Limits{})
			sample()
			runtime.KeepAlive(tree)
		})
		_ = r.Close()
		t.Logf("names of %d bytes: %d MiB at the peak, %v", name, peak>>20, err)
		if peak > most {
			t.Errorf("names of %d bytes: %d bytes of memory, want at most %d", name, peak, most)
		}
		if name == 250 && (!errors.Is(err, newc.ErrLimit) || !strings.Contains(err.Error(), "archive 1: entry \"")) || name == 60 && err != nil {
			t.Errorf("names of %d bytes: %v", name, err)
		}
	}
}

// Symlinks that lead through symlinks through symlinks take a bounded time.
func TestFaultRow27SymlinksThatCostTimeStop(t *testing.T) {
	files := []file{dir("a")}
	for i := range 41 {
		files = append(files, sym(fmt.Sprintf("l%02d", i), strings.Repeat("a/../", 810)+fmt.Sprintf("l%02d", i+1)))
	}
	files = append(files, dir("l40"))
	for i := range 100_000 {
		files = append(files, reg(fmt.Sprintf("l00/%d", i), ""))
	}
	_, err := ReadTree(bytes.NewReader(pack(t, codec.None, files...)), Limits{})
	if !errors.Is(err, newc.ErrLimit) || !strings.Contains(err.Error(), `entry "l00/`) {
		t.Errorf("error %v", err)
	}
}

func TestFaultRow30LongElementsAreDropped(t *testing.T) {
	long := strings.Repeat("n", 256)
	got := show(t, raw(long, "ok", "ok/"+long, long+"/x"))
	if !strings.HasPrefix(got, "ok 40755\n! archive 1, byte 0: entry ") || strings.Count(got, "longer than 255 bytes") != 2 || strings.Count(got, "its folder does not exist") != 1 {
		t.Errorf("tree is\n%s", got)
	}
}

// The same name a hundred thousand times is one file, the last.
func TestFaultRow30DuplicateNames(t *testing.T) {
	files := make([]file, 100_000)
	for i := range files {
		files[i] = reg("same", fmt.Sprint(i))
	}
	tree, err := ReadTree(bytes.NewReader(pack(t, codec.Gzip, files...)), Limits{})
	if err != nil || tree.Len() != 1 || tree.Lookup("same").Size != 5 {
		t.Errorf("%d nodes, %v", tree.Len(), err)
	}
}

// FuzzGzip reads damaged plain data behind intact compression, which FuzzReadTree hardly
// ever gets to.
func FuzzGzip(f *testing.F) {
	f.Add(small(f), small(f))
	f.Add(raw("a", "a/b"), []byte{})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var b bytes.Buffer
		for _, plain := range [][]byte{first, second} {
			z := gzip.NewWriter(&b)
			_, _ = z.Write(plain)
			_ = z.Close()
		}
		l := Limits{Limits: newc.Limits{Size: 1 << 20, Entries: 1000}}
		tree, err := ReadTree(bytes.NewReader(b.Bytes()), l)
		walked := WalkLimits(bytes.NewReader(b.Bytes()), l, func(_ Place, _ newc.Entry, body io.Reader) error {
			_, err := io.Copy(io.Discard, body)
			return err
		})
		if err == nil && walked == nil && len(tree.Problems) > 0 && tree.Problems[len(tree.Problems)-1].Stop {
			t.Errorf("Walk reads what the tree stops at: %v", tree.Problems)
		}
		if walked != nil && err == nil && len(tree.Problems) == 0 {
			t.Errorf("the tree has no problem where Walk says %v", walked)
		}
	})
}
