package newc

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type record struct {
	Entry
	Body string
}

var tree = []record{
	{Entry{Name: "dev", Mode: Dir | 0o755, Time: 315532800, Links: 2, Ino: 1}, ""},
	{Entry{Name: "dev/console", Mode: Char | 0o600, Links: 1, Ino: 2, RDev: Device{5, 1}}, ""},
	{Entry{Name: "dev/sda", Mode: Block | 0o660, GID: 6, Links: 1, Ino: 3, RDev: Device{8, 0}}, ""},
	{Entry{Name: "etc/motd", Mode: Regular | 0o4755, UID: 1000, GID: 50, Size: 5, Links: 1, Ino: 4, Time: 1}, "hello"},
	{Entry{Name: "sh", Mode: Symlink | 0o777, Size: 7, Links: 1, Ino: 5}, "bin/bsh"},
	{Entry{Name: "pipe", Mode: FIFO | 0o644, Links: 1, Ino: 6}, ""},
	{Entry{Name: "hard", Mode: Regular | 0o644, Size: 1, Links: 2, Ino: 77, Dev: Device{3, 9}}, "x"},
}

func write(t testing.TB, records []record) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
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

func read(b []byte) ([]record, error) {
	var all []record
	r := NewReader(bufio.NewReader(bytes.NewReader(b)))
	for {
		e, err := r.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		body, err := io.ReadAll(r)
		if err != nil {
			return all, err
		}
		all = append(all, record{e, string(body)})
	}
}

func TestRoundTripKeepsEverything(t *testing.T) {
	b := write(t, tree)
	if len(b)%4 != 0 {
		t.Errorf("archive of %d bytes is not padded to 4", len(b))
	}
	got, err := read(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(tree, got); d != "" {
		t.Errorf("read back (-want +got):\n%s", d)
	}
}

// The golden bytes follow Documentation/driver-api/early-userspace/buffer-format.rst.
func TestGoldenBytes(t *testing.T) {
	got := write(t, []record{{Entry{Name: "a", Mode: Char | 0o600, RDev: Device{5, 1}}, ""}})
	want := "070701" + "00000001" + "00002180" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000005" + "00000001" + "00000002" + "00000000" + "a\x00" +
		"070701" + "00000000" + "00000000" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "0000000B" + "00000000" + "TRAILER!!!\x00\x00\x00\x00"
	if string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// GNU cpio makes the files, nodes included, so that the test needs root.
func TestGNUcpioExtractsIt(t *testing.T) {
	dir := t.TempDir()
	records := append([]record{{Entry{Name: "etc", Mode: Dir | 0o755}, ""}}, tree[:6]...)
	cmd := exec.Command("cpio", "-idm", "--quiet")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(write(t, records))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	got, err := exec.Command("stat", "-c", "%f %t:%T %u %g %n", filepath.Join(dir, "dev/console"), filepath.Join(dir, "dev/sda"), filepath.Join(dir, "etc/motd")).Output()
	want := "2180 5:1 0 0 dev/console\n61b0 8:0 0 6 dev/sda\n89ed 0:0 1000 50 etc/motd\n"
	if s := strings.ReplaceAll(string(got), dir+"/", ""); err != nil || s != want {
		t.Errorf("stat says\n%s, %v, want\n%s", s, err, want)
	}
	if target, err := os.Readlink(filepath.Join(dir, "sh")); target != "bin/bsh" {
		t.Errorf("readlink sh = %q, %v", target, err)
	}
}

func TestGNUcpioArchiveReads(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("body"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("f", filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"newc", "crc"} {
		cmd := exec.Command("cpio", "-o", "--quiet", "-H", format)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader("f\nl\n")
		b, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		got, err := read(b)
		if err != nil || len(got) != 2 || got[0].Body != "body" || got[0].Mode != Regular|0o640 || got[1].Body != "f" {
			t.Errorf("%s: read %+v, %v", format, got, err)
		}
	}
}

func TestEntriesThatCannotBeWritten(t *testing.T) {
	for _, e := range []Entry{
		{Name: "", Mode: Regular},
		{Name: "/abs", Mode: Regular},
		{Name: "a\x00b", Mode: Regular},
		{Name: strings.Repeat("x", 4096), Mode: Regular},
		{Name: "TRAILER!!!", Mode: Regular},
		{Name: "big", Mode: Regular, Size: 1 << 32},
		{Name: "dir", Mode: Dir, Size: 1},
	} {
		if err := NewWriter(io.Discard).WriteEntry(e, nil); err == nil {
			t.Errorf("entry %.20q of %d bytes was written", e.Name, e.Size)
		}
	}
	err := NewWriter(io.Discard).WriteEntry(Entry{Name: "short", Mode: Regular, Size: 9}, strings.NewReader("x"))
	if err == nil || !strings.Contains(err.Error(), "short") {
		t.Errorf("a short body gives %v", err)
	}
}

func TestDamageIsFound(t *testing.T) {
	b := write(t, tree)
	for cut := range len(b) - 4 { // the last bytes are padding of the trailer
		if _, err := read(b[:cut]); !errors.Is(err, ErrFormat) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	for _, at := range []int{0, 6, 14, 94, 101} {
		bad := bytes.Clone(b)
		bad[at] = 'x'
		if _, err := read(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("byte %d broken: %v", at, err)
		}
	}
}

// What reads without error and can be written is written and reads as the same.
func FuzzReader(f *testing.F) {
	f.Add(write(f, tree))
	f.Add(writeExact(f, odd()))
	f.Fuzz(func(t *testing.T, b []byte) {
		want, err := read(b)
		if err != nil {
			return
		}
		var out bytes.Buffer
		w := NewWriter(&out)
		w.Exact = true
		for _, r := range want {
			if err := w.WriteEntry(r.Entry, strings.NewReader(r.Body)); err != nil {
				return
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := read(out.Bytes())
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%v (-want +got):\n%s", err, d)
		}
	})
}
