package repack

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/codec"
)

func normalize(t *testing.T, base []byte, o Options) ([]byte, error) {
	t.Helper()
	dir := t.TempDir()
	var out bytes.Buffer
	_, err := Normalize(context.Background(), bytes.NewReader(base), int64(len(base)), Edits{},
		func() (Scratch, error) { return os.CreateTemp(dir, "") }, &out, o)
	return out.Bytes(), err
}

// However a tree was packed, it becomes the same bytes.
func TestNormalize(t *testing.T) {
	shuffled := slices.Clone(small)
	// Names of one inode in another order, data on the first, other inodes and times.
	shuffled[1], shuffled[2] = hard("bin/b", "data", 99), hard("bin/a", "", 99)
	shuffled[3].Time, shuffled[3].Dev.Major = 5, 8
	slices.Reverse(shuffled[6:7])
	two := append(pad(pipe(t, plain(t, dir("doc"), reg("doc/x", "old")), "gzip -c")), pipe(t, plain(t, shuffled...), "xz -c --check=crc32")...)
	want, err := normalize(t, pipe(t, plain(t, small...), "gzip -c"), Options{Epoch: 9, Format: codec.Zstd})
	if err != nil {
		t.Fatal(err)
	}
	got, err := normalize(t, two, Options{Epoch: 9, Format: codec.Zstd})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("two packings of one tree give %d and %d bytes, which differ", len(want), len(got))
	}
	if d := cmp.Diff(strings.ReplaceAll(smallTree, "time 0", "time 9"), show(t, got)); d != "" {
		t.Errorf("tree (-want +got):\n%s", d)
	}
	again, err := normalize(t, got, Options{Epoch: 9, Format: codec.Zstd})
	if err != nil || !bytes.Equal(got, again) {
		t.Errorf("a normal archive does not stay as it is: %v", err)
	}
}

func TestNormalizeRefused(t *testing.T) {
	for want, base := range map[string][]byte{
		`entry "no/f": its folder does not exist`: plain(t, reg("no/f", "")),
		"archive 1": plain(t, small...)[:300],
	} {
		if _, err := normalize(t, base, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
