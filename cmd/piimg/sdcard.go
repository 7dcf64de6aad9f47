package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"io"
	"strings"

	"piimg/pipeline/format/bmap"
	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/fat"
	"piimg/pipeline/format/sdcard"
	"piimg/recipes"
)

// card is what the recipe of the image says of the card that it is meant for. Numbers that
// are to be unique are those of the image.
func (b bootFiles) card() (sdcard.Options, error) {
	o := sdcard.Options{ID: binary.LittleEndian.Uint32(b.image.Digest[:]), Epoch: b.config.Epoch}
	r, err := recipeOf(b.config)
	if err == nil && r.Output != nil {
		o.Size, o.Label = r.Output.SDCardSize, r.Output.SDCardLabel
	}
	return o, err
}

// cardText says for people what card a recipe asks for.
func cardText(o recipes.Output) string {
	text := "what the files need"
	if o.SDCardSize > 0 {
		text = size(o.SDCardSize)
	}
	if o.SDCardLabel != "" {
		text += ", label " + o.SDCardLabel
	}
	return text
}

// disk lays out the boot files.
func (b bootFiles) disk(ctx context.Context, o sdcard.Options) (*sdcard.Image, error) {
	var files []fat.File
	for _, f := range b.image.Files {
		files = append(files, fat.File{Path: f.Path, Size: f.Size, Open: func() (io.ReadCloser, error) { return b.store.OpenFile(ctx, f) }})
	}
	return sdcard.New(files, o)
}

// writeSDCard writes a disk image and its block map. What to asks for goes before what the
// recipe says.
func (a *app) writeSDCard(ctx context.Context, b bootFiles, to exportTo) error {
	o, err := b.card()
	if err != nil {
		return err
	}
	if to.size != "" {
		if o.Size, err = sdcard.ParseSize(to.size); err != nil {
			return usageError{err}
		}
	}
	o.Label = cmp.Or(to.label, o.Label)
	if err := sdcard.CheckLabel(o.Label); err != nil {
		return usageError{err}
	}
	name := to.sdcard
	d, err := b.disk(ctx, o)
	if err != nil {
		return err
	}
	blocks := &bmap.Writer{}
	plain, compressed := strings.CutSuffix(name, ".zst")
	err = replaceFile(name, func(w io.Writer) error {
		if !compressed {
			_, err := d.WriteTo(io.MultiWriter(w, blocks))
			return err
		}
		z, err := codec.NewWriterLevel(w, codec.Zstd, codec.Default)
		if err != nil {
			return err
		}
		_, err = d.WriteTo(io.MultiWriter(z, blocks))
		if cerr := z.Close(); err == nil {
			err = cerr
		}
		return err
	})
	if err != nil {
		return err
	}
	a.ui.say("%s on the disk, %s of it hold something", size(d.Size), size(blocks.Mapped()))
	return replaceFile(plain+".bmap", blocks.Finish)
}
