package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"

	"piimg/pipeline/format/bmap"
	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/fat"
	"piimg/pipeline/format/sdcard"
)

// disk lays out the boot files as a disk of size bytes, 0 for what they need. Numbers that
// are to be unique are those of the image.
func (b bootFiles) disk(ctx context.Context, size int64) (*sdcard.Image, error) {
	var files []fat.File
	for _, f := range b.image.Files {
		files = append(files, fat.File{Path: f.Path, Size: f.Size, Open: func() (io.ReadCloser, error) { return b.store.OpenFile(ctx, f) }})
	}
	return sdcard.New(files, sdcard.Options{
		Size: size, ID: binary.LittleEndian.Uint32(b.image.Digest[:]), Epoch: b.config.Epoch,
	})
}

// writeSDCard writes a disk image and its block map.
func (a *app) writeSDCard(ctx context.Context, b bootFiles, name, asked string) error {
	bytes, err := parseSize(asked)
	if err != nil {
		return err
	}
	d, err := b.disk(ctx, bytes)
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
		if _, err := d.WriteTo(io.MultiWriter(z, blocks)); err != nil {
			return err
		}
		return z.Close()
	})
	if err != nil {
		return err
	}
	a.ui.say("%s on the disk, %s of it hold something", size(d.Size), size(blocks.Mapped()))
	return replaceFile(plain+".bmap", blocks.Finish)
}

// parseSize reads a size for people, in powers of 1024.
func parseSize(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	units := map[byte]int64{'M': 1 << 20, 'G': 1 << 30}
	unit, ok := units[text[len(text)-1]]
	n, err := strconv.ParseInt(text[:len(text)-1], 10, 32)
	if !ok || err != nil || n <= 0 {
		return 0, usageError{fmt.Errorf("size %q: write it as 512M or 4G", text)}
	}
	return n * unit, nil
}
