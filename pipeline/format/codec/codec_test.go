package codec

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
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

func compress(t testing.TB, f Format, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestReaderStopsAtTheEndOfItsMember(t *testing.T) {
	for _, f := range []Format{Gzip, Zstd} {
		for _, n := range []int{0, 1, 1000, 3 << 20} {
			want := sample(n)
			stream := append(compress(t, f, want), "\x00\x00\x00next"...)
			br := bufio.NewReader(bytes.NewReader(stream))
			r, got, err := NewReader(br)
			if err != nil || got != f {
				t.Fatalf("NewReader(%s, %d bytes) = %s, %v", f, n, got, err)
			}
			b, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(b, want) {
				t.Errorf("%s, %d bytes: read %d, %v", f, n, len(b), err)
			}
			rest, _ := io.ReadAll(br)
			if string(rest) != "\x00\x00\x00next" {
				t.Errorf("%s, %d bytes: %d bytes are left, want the 7 after the member", f, n, len(rest))
			}
		}
	}
}

func TestWriterGivesTheSameBytesTwice(t *testing.T) {
	for _, f := range []Format{None, Gzip, Zstd} {
		b := sample(5 << 20)
		if !bytes.Equal(compress(t, f, b), compress(t, f, b)) {
			t.Errorf("%s: two runs differ", f)
		}
	}
}

func TestForeignToolsReadIt(t *testing.T) {
	b := sample(1 << 20)
	for f, tool := range map[Format]string{Gzip: "gzip", Zstd: "zstd"} {
		cmd := exec.Command(tool, "-dc")
		cmd.Stdin = bytes.NewReader(compress(t, f, b))
		got, err := cmd.Output()
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s -dc: %v, %d of %d bytes", tool, err, len(got), len(b))
		}
	}
}

func TestTruncatedMemberIsAnError(t *testing.T) {
	for _, f := range []Format{Gzip, Zstd} {
		full := compress(t, f, sample(100_000))
		for cut := 1; cut < len(full); cut += 997 {
			r, _, err := NewReader(bufio.NewReader(bytes.NewReader(full[:cut])))
			if err == nil {
				_, err = io.ReadAll(r)
			}
			if err == nil {
				t.Errorf("%s cut at %d of %d bytes reads without error", f, cut, len(full))
			}
		}
	}
}

func TestUnreadableFormatsAreNamed(t *testing.T) {
	_, f, err := NewReader(bufio.NewReader(strings.NewReader("\xfd7zXZ\x00rest")))
	if f != "xz" || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("NewReader(xz) = %q, %v", f, err)
	}
}

// The constant is part of cache keys: it has to follow go.mod.
func TestEncoderIsTheVersionInGoMod(t *testing.T) {
	mod, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(mod), Encoder) {
		t.Errorf("go.mod has no line %q: set Encoder to the version in use", Encoder)
	}
}

func FuzzReader(f *testing.F) {
	for _, format := range []Format{None, Gzip, Zstd} {
		f.Add(append(compress(f, format, []byte("070701 and more")), 0, 0))
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
