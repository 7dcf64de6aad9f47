package codec

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// sample is text that compresses, then bytes that do not.
func sample(n int) []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	b := bytes.Repeat([]byte("the quick brown fox "), n/40)
	for len(b) < n {
		b = append(b, byte(rnd.Uint32()))
	}
	return b
}

func compress(t testing.TB, f Format, l Level, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriterLevel(&out, f, l)
	if err != nil {
		t.Fatal(err)
	}
	for len(b) > 0 {
		n := min(len(b), 100_003)
		if _, err := w.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// pipe runs b through a command.
func pipe(t testing.TB, b []byte, name string, arg ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, arg...)
	cmd.Stdin = bytes.NewReader(b)
	got, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v", name, arg, err)
	}
	return got
}

// tools are other people's ways to write what can be read.
var tools = []struct {
	format Format
	args   string
}{
	{Gzip, "gzip -9"},
	{Zstd, "zstd -q -3"},
	{Zstd, "zstd -q --ultra -20 --no-check"},
	{Zstd, "zstd -q -1 --long=27"},
	{XZ, "xz -6 --check=crc32"},
	{XZ, "xz -1 --check=none"},
	{XZ, "xz -1 --check=sha256 --block-size=65536"},
	{XZ, "xz -0 --check=crc64 --threads=2"},
	{LZMA, "xz --format=lzma -6"},
	{LZMA, "lzma -1"},
	{Bzip2, "bzip2 -1"},
	{Bzip2, "bzip2 -9"},
	{LZ4, "lz4 -l -q"},
	{LZ4, "lz4 -l -q -9"},
}

// tails are what may stand behind a member in an initramfs.
var tails = []string{"", "\x00", "\x00\x00\x00\x00\x00", "\x00\x00\x00070701"}

func TestForeignMembersReadAndEndWhereTheyEnd(t *testing.T) {
	for _, tool := range tools {
		for _, n := range []int{0, 1, 300_000} {
			t.Run(fmt.Sprintf("%s/%d", tool.args, n), func(t *testing.T) {
				want, args := sample(n), strings.Fields(tool.args)
				member := pipe(t, want, args[0], append(args[1:], "-c")...)
				for _, tail := range tails {
					checkMember(t, tool.format, member, want, tail)
				}
			})
		}
	}
}

func checkMember(t *testing.T, f Format, member, want []byte, tail string) {
	t.Helper()
	if f == LZ4 && tail == "\x00\x00\x00070701" {
		tail = "\x00\x00\x00\x00070701" // the kernel needs four of them there, too
	}
	br := bufio.NewReader(strings.NewReader(string(member) + tail))
	r, got, err := NewReader(br)
	if err != nil || got != f {
		t.Fatalf("NewReader = %q, %v, want %s", got, err, f)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(b, want) {
		t.Errorf("read %d bytes of %d, %v", len(b), len(want), err)
	}
	if rest, _ := io.ReadAll(br); string(rest) != tail {
		t.Errorf("%q is left behind the member, want %q", rest[:min(len(rest), 40)], tail)
	}
}

func TestOwnMembersReadAndEndWhereTheyEnd(t *testing.T) {
	for _, f := range []Format{Gzip, Zstd} {
		for _, l := range []Level{Best, Default, Fast} {
			for _, n := range []int{0, 1, 1000, chunkSize + 1} {
				want := sample(n)
				for _, tail := range tails {
					checkMember(t, f, compress(t, f, l, want), want, tail)
				}
			}
		}
	}
}

func TestForeignToolsReadIt(t *testing.T) {
	for _, n := range []int{0, 1, 2*chunkSize + 17} {
		b := sample(n)
		for f, tool := range map[Format]string{Gzip: "gzip", Zstd: "zstd"} {
			for _, l := range []Level{Best, Default, Fast} {
				packed := compress(t, f, l, b)
				pipe(t, packed, tool, "-t")
				if got := pipe(t, packed, tool, "-dc"); !bytes.Equal(got, b) {
					t.Errorf("%s -dc reads %d of %d bytes", tool, len(got), len(b))
				}
			}
		}
	}
}

func TestBytesDoNotDependOnProcessors(t *testing.T) {
	b := sample(3 << 20)
	for _, f := range []Format{None, Gzip, Zstd} {
		for _, l := range []Level{Best, Default, Fast} {
			want := compress(t, f, l, b)
			for _, procs := range []int{1, 7} {
				old := runtime.GOMAXPROCS(procs)
				got := compress(t, f, l, b)
				runtime.GOMAXPROCS(old)
				if !bytes.Equal(got, want) {
					t.Errorf("%s, level %d: other bytes with %d processors", f, l, procs)
				}
			}
		}
	}
}

func TestGzipIsOneMemberWithoutTimeAndName(t *testing.T) {
	b := compress(t, Gzip, Fast, sample(3<<20))
	if !bytes.HasPrefix(b, []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")) {
		t.Errorf("header % x", b[:10])
	}
}

// A deflater whose window was skipped refers to what its owner has copied there.
func TestDeflaterRefersToSkippedData(t *testing.T) {
	var far, near bytes.Buffer
	b := sample(64 << 10)[48<<10:] // does not compress
	for _, out := range []*bytes.Buffer{&far, &near} {
		d := NewDeflater(out, Best)
		if out == &near {
			if err := d.Skip(b); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := d.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := d.Skip(b); err == nil {
			t.Error("data was skipped before what was not flushed")
		}
		if err := d.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if near.Len() > far.Len()/20 {
		t.Errorf("%d bytes with the same data in front, %d without", near.Len(), far.Len())
	}
}

// cuts are places in a member of n bytes: all around its two ends, where headers and
// checksums are, and some between.
func cuts(n int) (all []int) {
	for at := 1; at < n; at++ {
		if at < 20 || at >= n-10 || at%7993 == 0 {
			all = append(all, at)
		}
	}
	return all
}

func TestTruncatedMemberIsAnError(t *testing.T) {
	for _, tool := range tools {
		args := strings.Fields(tool.args)
		full := pipe(t, sample(100_000), args[0], append(args[1:], "-c")...)
		for _, cut := range cuts(len(full)) {
			if tool.format == LZ4 && cut == 4 {
				continue // the magic alone is a frame without blocks: there is no end mark
			}
			if _, err := readAll(full[:cut]); err == nil {
				t.Errorf("%s cut at %d of %d bytes reads without error", tool.args, cut, len(full))
			}
		}
	}
}

// One flipped bit is seen by every format that has a checksum.
func TestFlippedBitIsAnError(t *testing.T) {
	for _, tool := range []string{"gzip -9", "zstd -q -3", "xz -6 --check=crc32", "bzip2 -9"} {
		args := strings.Fields(tool)
		full := pipe(t, sample(100_000), args[0], append(args[1:], "-c")...)
		for at := 20; at < len(full)-20; at += 2477 {
			bad := bytes.Clone(full)
			bad[at] ^= 0x10
			if _, err := readAll(bad); err == nil {
				t.Errorf("%s with a flipped bit in byte %d reads without error", tool, at)
			}
		}
	}
}

func readAll(b []byte) ([]byte, error) {
	r, _, err := NewReader(bufio.NewReader(bytes.NewReader(b)))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestUnreadableMembersAreNamed(t *testing.T) {
	bcj := pipe(t, sample(1000), "xz", "-c", "--x86", "--lzma2=preset=1")
	wide := pipe(t, sample(1000), "xz", "-c", "--lzma2=dict=192MiB")
	for name, b := range map[string][]byte{"lzo": []byte("\x89LZO\x00\r\n"), "xz": bcj, "window": wide} {
		if _, err := readAll(b); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v, want an error that wraps ErrUnsupported", name, err)
		}
	}
	for _, f := range []Format{XZ, LZ4, "lzo", ""} {
		if _, err := NewWriter(io.Discard, f); err == nil || CanWrite(f) {
			t.Errorf("NewWriter(%q) gives no error", f)
		}
	}
}

// The constant is part of cache keys: it has to follow go.mod.
func TestEncoderIsTheVersionInGoMod(t *testing.T) {
	mod, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	library, _, _ := strings.Cut(Encoder, ",")
	if !strings.Contains(string(mod), library+"\n") {
		t.Errorf("go.mod has no line %q: set Encoder to the version in use", library)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestWriterReportsItsWriter(t *testing.T) {
	for _, f := range []Format{None, Gzip, Zstd} {
		w, err := NewWriterLevel(failing{}, f, Fast)
		if err == nil {
			_, err = io.Copy(w, bytes.NewReader(sample(4<<20)))
		}
		if err == nil {
			err = w.Close()
		}
		if !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("%s: %v", f, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, format := range []Format{None, Gzip, Zstd} {
		f.Add(append(compress(f, format, Fast, []byte("070701 and more")), 0, 0))
	}
	for _, tool := range tools {
		args := strings.Fields(tool.args)
		f.Add(pipe(f, []byte("some text, some text"), args[0], append(args[1:], "-c")...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, _, err := NewReader(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		defer r.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(r, 1<<20))
	})
}

func FuzzDeflater(f *testing.F) {
	f.Add([]byte("abc"), 5)
	f.Fuzz(func(t *testing.T, b []byte, times int) {
		want := bytes.Repeat(b, min(max(times, 0), 1000))
		got, err := readAll(compress(t, Gzip, Default, want))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("read back %d of %d bytes, %v", len(got), len(want), err)
		}
	})
}
