package main

import (
	"context"
	"io/fs"

	"piimg/pipeline"
	"piimg/pipeline/sources"
	"piimg/store"
)

// storeImages are the images of the store, for recipes that are made from another image.
// The store is opened when one is asked for.
type storeImages struct{ app *app }

var _ sources.Images = storeImages{}

func (i storeImages) Image(ctx context.Context, name string) (store.Digest, fs.FS, int64, error) {
	s, err := i.app.openStore(ctx)
	if err != nil {
		return store.Digest{}, nil, 0, err
	}
	found, err := resolve(ctx, s, name)
	if err != nil {
		return store.Digest{}, nil, 0, err
	}
	image, err := s.Image(ctx, found.Image)
	if err != nil {
		return store.Digest{}, nil, 0, err
	}
	var size int64
	for _, f := range image.Files {
		size += f.Size
	}
	return found.Image, pipeline.FS(ctx, s, image.Files), size, nil
}
