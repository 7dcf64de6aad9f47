package initrd

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/newc"
)

// archiveOf is one archive with one file.
func archiveOf(t testing.TB, f codec.Format, name, body string) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := codec.NewWriter(&b, f)
	if err != nil {
		t.Fatal(err)
	}
	w := newc.NewWriter(z)
	if err := w.WriteEntry(newc.Entry{Name: name, Mode: newc.Regular | 0o644, Size: int64(len(body))}, strings.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []io.Closer{w, z} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func padded(b []byte) []byte { return append(b, make([]byte, Padding(int64(len(b))))...) }

func list(b []byte) ([]string, error) {
	var got []string
	err := Walk(bytes.NewReader(b), func(e newc.Entry, body io.Reader) error {
		text, err := io.ReadAll(body)
		got = append(got, e.Name+"="+string(text))
		return err
	})
	return got, err
}

// The combinations are those that a kernel was seen to unpack.
func TestWalkReadsArchivesInARow(t *testing.T) {
	pad := []byte{0, 0, 0}
	for _, tt := range []struct {
		name string
		rows [][]byte
	}{
		{"gzip gzip", [][]byte{archiveOf(t, codec.Gzip, "a", "1"), archiveOf(t, codec.Gzip, "a", "2")}},
		{"zstd gzip", [][]byte{archiveOf(t, codec.Zstd, "a", "1"), archiveOf(t, codec.Gzip, "a", "2")}},
		{"plain gzip", [][]byte{archiveOf(t, codec.None, "a", "1"), archiveOf(t, codec.Gzip, "a", "2")}},
		{"gzip NUL gzip", [][]byte{archiveOf(t, codec.Gzip, "a", "1"), pad, archiveOf(t, codec.Gzip, "a", "2"), pad}},
		{"gzip NUL plain", [][]byte{padded(archiveOf(t, codec.Gzip, "a", "1")), archiveOf(t, codec.None, "a", "2"), pad}},
		{"plain plain", [][]byte{archiveOf(t, codec.None, "a", "1"), archiveOf(t, codec.None, "a", "2")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := list(bytes.Join(tt.rows, nil))
			if d := cmp.Diff([]string{"a=1", "a=2"}, got); err != nil || d != "" {
				t.Errorf("%v (-want +got):\n%s", err, d)
			}
		})
	}
}

func TestWalkNamesTheArchiveThatIsBroken(t *testing.T) {
	good := archiveOf(t, codec.Gzip, "a", "1")
	for name, b := range map[string][]byte{
		"misaligned": append(append(bytes.Clone(padded(good)), 0), archiveOf(t, codec.None, "a", "2")...),
		"junk":       append(bytes.Clone(good), "junk"...),
		"truncated":  append(bytes.Clone(good), good[:len(good)/2]...),
	} {
		if _, err := list(b); err == nil || !strings.Contains(err.Error(), "archive 2") {
			t.Errorf("%s after the first archive: %v", name, err)
		}
	}
}

func FuzzWalk(f *testing.F) {
	for _, c := range []codec.Format{codec.None, codec.Gzip, codec.Zstd} {
		f.Add(archiveOf(f, c, "dir/file", "body"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		_ = Walk(bytes.NewReader(b), func(newc.Entry, io.Reader) error {
			if n++; n > 1000 {
				return io.ErrShortBuffer
			}
			return nil
		})
	})
}
