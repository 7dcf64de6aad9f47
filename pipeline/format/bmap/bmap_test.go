package bmap_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"piimg/pipeline/format/bmap"
)

// What bmaptool makes of a map is tested with package sdcard, on a whole disk.

func TestRanges(t *testing.T) {
	const block = 4096
	image := make([]byte, 5*block+100)
	image[0], image[block] = 1, 1 // blocks 0 and 1
	image[4*block+7] = 1          // block 4
	image[5*block+99] = 1         // block 5, a part of one
	var first string
	for _, cut := range []int{1, 100, block, len(image)} {
		w := &bmap.Writer{}
		for rest := image; len(rest) > 0; {
			n := min(cut, len(rest))
			if _, err := w.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		var b bytes.Buffer
		if err := w.Finish(&b); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		if first == "" {
			first = text
		}
		for _, want := range []string{
			"<ImageSize> 20580 </ImageSize>", "<BlocksCount> 6 </BlocksCount>", "<MappedBlocksCount> 4 </MappedBlocksCount>",
			fmt.Sprintf("<Range chksum=\"%x\"> 0-1 </Range>", sha256.Sum256(image[:2*block])),
			fmt.Sprintf("<Range chksum=\"%x\"> 4-5 </Range>", sha256.Sum256(image[4*block:])),
		} {
			if !strings.Contains(text, want) || text != first {
				t.Fatalf("written %d bytes at a time:\n%s\nwant %s", cut, text, want)
			}
		}
	}
}

func TestNothingMapped(t *testing.T) {
	w := &bmap.Writer{}
	_, _ = w.Write(make([]byte, 10000))
	var b bytes.Buffer
	if err := w.Finish(&b); err != nil || strings.Contains(b.String(), "<Range") || w.Mapped() != 0 {
		t.Errorf("%v\n%s", err, b.String())
	}
}
