package sources

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"piimg/pipeline"
	"piimg/recipes"
	"piimg/store"
)

// Images finds images by name: an environment, a digest, whatever the store knows.
type Images interface {
	// Image is the digest of the image called name, its boot files, and their size in
	// bytes. The files are verified while they are read. fs.ErrNotExist where there is
	// none.
	Image(ctx context.Context, name string) (store.Digest, fs.FS, int64, error)
}

// Image takes the boot files of another image. A pin names it by its digest, so that an
// environment that moves on changes nothing before the recipe is locked anew.
type Image struct{ Images Images }

// Kind is "image".
func (Image) Kind() string { return "image" }

// Takes says whether s names an image.
func (Image) Takes(s recipes.Source) bool { return s.Image != "" }

// Fetch opens the image in the store.
func (i Image) Fetch(ctx context.Context, s recipes.Source, pin *recipes.Pin, _ pipeline.FetchEnv) (pipeline.Fetched, error) {
	if i.Images == nil {
		return pipeline.Fetched{}, errors.New("there is no store that could have an image")
	}
	name := s.Image
	if pin != nil {
		name = pin.Version
	}
	digest, fsys, size, err := i.Images.Image(ctx, name)
	if err != nil {
		return pipeline.Fetched{}, fmt.Errorf("image %s: %w", name, err)
	}
	return pipeline.Fetched{
		Pin: recipes.Pin{Kind: "image", From: s.Text(), Version: digest.String(), Digest: digest, Size: size},
		FS:  fsys,
	}, nil
}
