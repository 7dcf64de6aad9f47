package newc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// odd has everything that the format can say.
func odd() []record {
	all := slices.Clone(tree)
	for n, mode := range []uint32{Regular | 0o6755, Dir | 0o3777, Socket | 0o600, FIFO | 0o600, Block | 0o600, Char | 0o600} {
		all = append(all, record{Entry{
			Name: fmt.Sprintf("all-%o", mode), Mode: mode, UID: 0xffffffff, GID: 0xfffffffe, Ino: uint32(100 + n), Links: 1,
			Time: 0xffffffff, Dev: Device{0xffffff, 7}, RDev: Device{259, 0xfffff},
		}, ""})
	}
	long := strings.Repeat(strings.Repeat("n", 255)+"/", 16)[:4095]
	return append(all,
		record{Entry{Name: "links/a", Mode: Regular | 0o644, Ino: 9000, Links: 3, Dev: Device{8, 1}}, ""},
		record{Entry{Name: "links/b", Mode: Regular | 0o644, Ino: 9000, Links: 3, Dev: Device{8, 2}, Size: 5}, "other"},
		record{Entry{Name: "links/c", Mode: Regular | 0o644, Ino: 9000, Links: 3, Dev: Device{8, 1}, Size: 4}, "data"},
		record{Entry{Name: "links/a", Mode: Regular | 0o600, Ino: 0, Links: 0, Size: 1}, "again"[:1]},
		record{Entry{Name: long, Mode: Regular, Ino: 1, Links: 1, Size: 3}, "xyz"},
		record{Entry{Name: "sum", Mode: Regular, Ino: 1, Links: 1, Size: 3, Summed: true, Sum: 'x' + 'y' + 'z'}, "xyz"},
		record{Entry{Name: "after", Mode: Regular, Ino: 1, Links: 1, Size: 1}, "x"},
	)
}

func TestRoundTripIsExact(t *testing.T) {
	want := odd()
	b := writeExact(t, want)
	got, err := read(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("read back (-want +got):\n%s", d)
	}
	if again := writeExact(t, got); !bytes.Equal(again, b) {
		t.Error("written again it has other bytes")
	}
}

func writeExact(t testing.TB, records []record) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	w.Exact = true
	for _, r := range records {
		if err := w.WriteEntry(r.Entry, strings.NewReader(r.Body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDigitsOfEitherCaseRead(t *testing.T) {
	b := write(t, []record{{Entry{Name: "a", Mode: Char | 0o600, RDev: Device{0xab, 0xcdef}}, ""}})
	small := append(bytes.ToLower(b[:HeaderLen]), b[HeaderLen:]...)
	got, err := read(small)
	if err != nil || got[0].RDev != (Device{0xab, 0xcdef}) {
		t.Errorf("read %+v, %v", got, err)
	}
}

func TestHeaderOfAppendHeaderIsTheWriters(t *testing.T) {
	e := Entry{Name: "abc", Mode: FIFO | 0o644, Ino: 7, Links: 1}
	want := write(t, []record{{e, ""}})
	if got := AppendHeader(nil, e); !bytes.HasPrefix(want, got) {
		t.Errorf("AppendHeader = %q, the Writer writes %q", got, want[:len(got)])
	}
}

func TestWrongChecksumIsAnError(t *testing.T) {
	e := Entry{Name: "sum", Mode: Regular, Size: 3, Links: 1, Ino: 1, Summed: true, Sum: 1}
	if err := NewWriter(io.Discard).WriteEntry(e, strings.NewReader("xyz")); err == nil {
		t.Error("a body with another sum was written")
	}
	b := append(AppendHeader(nil, e), "xyz\x00"...)
	b = append(b, write(t, nil)...)
	if _, err := read(b); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), `"sum" at byte 0`) {
		t.Errorf("read: %v", err)
	}
	r := NewReader(bufio.NewReader(bytes.NewReader(b)))
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); !errors.Is(err, ErrFormat) {
		t.Errorf("skipped: %v", err)
	}
}

// host makes a folder with a file of two names, a symlink and a FIFO.
func host(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(dir, "a"), []byte("body"), 0o640),
		os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")),
		os.Symlink("a", filepath.Join(dir, "l")),
		syscall.Mkfifo(filepath.Join(dir, "p"), 0o600),
		os.WriteFile(filepath.Join(dir, "s"), []byte("setuid"), 0o755),
		os.Chmod(filepath.Join(dir, "s"), 0o755|os.ModeSetuid),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestForeignArchivesRead(t *testing.T) {
	dir := host(t)
	for _, args := range [][]string{
		{"cpio", "-o", "--quiet", "-H", "newc"},
		{"cpio", "-o", "--quiet", "-H", "crc"},
		{"bsdtar", "--format=newc", "-cf", "-", "-T", "-"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader("a\nb\nl\np\ns\n")
		b, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		all, err := read(b)
		if err != nil {
			t.Errorf("%v: %v", args, err)
			continue
		}
		byName := map[string]record{}
		for _, r := range all {
			byName[r.Name] = r
		}
		a, b2 := byName["a"], byName["b"]
		if !a.SameInode(b2.Entry) || a.Body+b2.Body != "body" && a.Body != "body" {
			t.Errorf("%v: hard links %+v and %+v", args, a, b2)
		}
		if byName["l"].Body != "a" || byName["p"].Type() != FIFO || byName["s"].Mode != Regular|0o4755 {
			t.Errorf("%v: %+v", args, byName)
		}
		// What was read is written again so that the tool itself reads it.
		if got := string(list(t, writeExact(t, all))); !strings.Contains(got, "l -> a") {
			t.Errorf("%v: cpio lists\n%s", args, got)
		}
	}
}

func list(t *testing.T, b []byte) []byte {
	t.Helper()
	cmd := exec.Command("cpio", "-itvn", "--quiet")
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cpio -itv: %v", err)
	}
	return out
}

func TestForeignToolsListIt(t *testing.T) {
	records := []record{
		{Entry{Name: "dev/console", Mode: Char | 0o600, RDev: Device{5, 1}, Time: 315532800}, ""},
		{Entry{Name: "a", Mode: Regular | 0o4755, Ino: 50, Links: 2, UID: 7, GID: 8, Time: 315532800}, ""},
		{Entry{Name: "b", Mode: Regular | 0o4755, Ino: 50, Links: 2, UID: 7, GID: 8, Size: 4, Time: 315532800}, "data"},
		{Entry{Name: "l", Mode: Symlink | 0o777, Size: 1, Time: 315532800}, "a"},
	}
	b := write(t, records)
	want := "crw------- 1 0 0 5, 1 Jan 1 1980 dev/console\n" +
		"-rwsr-xr-x 2 7 8 0 Jan 1 1980 a\n" +
		"-rwsr-xr-x 2 7 8 4 Jan 1 1980 b\n" +
		"lrwxrwxrwx 1 0 0 1 Jan 1 1980 l -> a\n"
	var got []string
	for line := range strings.Lines(string(list(t, b))) {
		got = append(got, strings.Join(strings.Fields(line), " ")+"\n")
	}
	if d := cmp.Diff(want, strings.Join(got, "")); d != "" {
		t.Errorf("cpio -itv (-want +got):\n%s", d)
	}
	cmd := exec.Command("bsdtar", "-xOf", "-", "b")
	cmd.Stdin = bytes.NewReader(b)
	if out, err := cmd.Output(); err != nil || string(out) != "data" {
		t.Errorf("bsdtar reads %q, %v", out, err)
	}
}

func readLimited(b []byte, l Limits) error {
	r := NewReaderLimits(bufio.NewReader(bytes.NewReader(b)), l)
	for {
		if _, err := r.Next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func TestFaultRow29And30LimitsStopGrowth(t *testing.T) {
	var many []record
	for n := range 100 {
		many = append(many, record{Entry{Name: fmt.Sprint("f", n), Mode: Regular, Size: 1}, "x"})
	}
	b := write(t, many)
	for name, l := range map[string]Limits{"entries": {Entries: 99}, "size": {Size: int64(len(b)) / 2}} {
		if err := readLimited(b, l); !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), "at byte") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := readLimited(b, Limits{Entries: 100, Size: int64(len(b)), Name: 11}); err != nil {
		t.Errorf("limits that just fit: %v", err)
	}
	if err := readLimited(b, Limits{Name: 3}); !errors.Is(err, ErrFormat) {
		t.Errorf("names of 4 bytes with a limit of 3: %v", err)
	}
	huge := AppendHeader(nil, Entry{Name: "huge", Mode: Regular, Size: 0xffffffff})
	if err := readLimited(huge, Limits{Size: 1 << 30}); !errors.Is(err, ErrLimit) {
		t.Errorf("a file of 4 GiB: %v", err)
	}
}

func TestMissingTrailerIsTold(t *testing.T) {
	b := write(t, tree)
	cut := bytes.LastIndex(b, []byte("07070100000000"))
	all, err := read(b[:cut])
	if !errors.Is(err, ErrNoTrailer) || !errors.Is(err, ErrFormat) || len(all) != len(tree) {
		t.Errorf("%d entries, %v", len(all), err)
	}
}
