package initrd

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/codec"
)

func TestSnapshot(t *testing.T) {
	b := append(squeeze(t, small(t), "lz4 -lqc"), make([]byte, 8)...)
	b = append(b[:len(b)-int(int64(len(b))%Align)], pack(t, codec.Zstd, reg("d/file", "another"), dir("e"))...)
	was, err := ReadTree(bytes.NewReader(b), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := was.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	is := &Tree{}
	if err := is.UnmarshalBinary(text); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(was.sorted, is.sorted); d != "" || is.Len() == 0 {
		t.Errorf("-was +is:\n%s", d)
	}
	if is.Lookup("d/a").Inode != is.Lookup("d/b").Inode {
		t.Error("a hard link is none any more")
	}
	if d := cmp.Diff(was.Members, is.Members, cmp.Comparer(func(a, b Member) bool {
		return a.Offset == b.Offset && a.Format == b.Format && a.Overlay == b.Overlay && a.end == b.end
	})); d != "" || is.Archives != 2 || is.Entries != was.Entries {
		t.Errorf("-was +is:\n%s", d)
	}
	for cut := range text {
		if err := (&Tree{}).UnmarshalBinary(text[:cut]); err == nil {
			t.Fatalf("no error for %d of %d bytes", cut, len(text))
		}
	}
	was.Problems = []Problem{{Text: "x"}}
	if _, err := was.MarshalBinary(); err == nil {
		t.Error("problems are lost")
	}
}
