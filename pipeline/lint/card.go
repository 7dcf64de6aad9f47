package lint

import (
	"errors"
	"io/fs"

	"piimg/pipeline/format/fat"
	"piimg/pipeline/format/sdcard"
)

// card lays the files out as they would be on the card, which is when all that can go wrong
// with it does.
func card(r *report, img *image) {
	want := img.target.Card
	if want == nil || img.target.InRamdisk {
		return
	}
	_, err := sdcard.New(img.sizes(), sdcard.Options{Size: want.Size}) // where files lie depends on no time
	switch {
	case errors.Is(err, fat.ErrFull) && want.Size > 0:
		r.error(".", 0, "raise sdcard_size, or leave it out", "a card of %s is too small: %v", sdcard.FormatSize(want.Size), err)
	case err != nil:
		r.error(".", 0, "", "no card can be made of these files: %v", err)
	}
}

// sizes are all files, with nothing to read in them.
func (img *image) sizes() []fat.File {
	var files []fat.File
	_ = fs.WalkDir(img.files, ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return img.keep(err)
		}
		if n, ok := img.size(name); ok {
			files = append(files, fat.File{Path: name, Size: n})
		}
		return nil
	})
	return files
}
