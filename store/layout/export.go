package layout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"piimg/store"
)

// sink takes the files of a layout, in order.
type sink interface {
	file(name string, size int64, r io.Reader) error
}

// Options say who is told of an export. The zero value tells nobody.
type Options struct {
	Planned func(blobs int, bytes int64) // what there is to write
	Moved   func(bytes int64)            // what was read
}

// export is what goes into a layout.
type export struct {
	store     *store.Store
	images    []entry
	names     []string // of images
	referrers map[store.Digest]entry
	blobs     map[store.Digest]int64
}

// collect reads what there is to write of images, each once, in the order of their digests.
func collect(ctx context.Context, s *store.Store, images []store.Digest) (*export, error) {
	e := &export{store: s, referrers: map[store.Digest]entry{}, blobs: map[store.Digest]int64{}}
	images = slices.SortedFunc(slices.Values(images), store.Digest.Compare)
	for _, d := range slices.Compact(images) {
		if err := e.add(ctx, d); err != nil {
			return nil, fmt.Errorf("export image %s: %w", d.Short(), err)
		}
	}
	nameEntries(e.images, e.names)
	return e, nil
}

// add adds an image, which has to be complete, its record and what refers to it.
func (e *export) add(ctx context.Context, d store.Digest) error {
	i, err := e.store.Image(ctx, d)
	if err != nil {
		return err
	}
	if err := e.store.Complete(ctx, i); err != nil {
		return err
	}
	b, err := e.store.Blobs().Find(ctx, d)
	if err != nil {
		return err
	}
	annotations := map[string]string{}
	if annotations[recordKey], err = e.record(ctx, d); err != nil {
		return err
	}
	if annotations[recordKey] == "" {
		delete(annotations, recordKey)
	}
	e.images = append(e.images, entry{Annotations: annotations, ArtifactType: store.ImageType, Digest: d, MediaType: manifestType, Size: b.Size})
	e.names = append(e.names, i.Name)
	for _, b := range append(i.Blobs(), b) {
		e.blobs[b.Digest] = b.Size
	}
	for r, err := range e.store.Referrers(ctx, d) {
		if err != nil {
			return err
		}
		e.referrers[r.Digest] = entry{ArtifactType: r.Type, Digest: r.Digest, MediaType: manifestType, Size: int64(len(r.Doc))}
		for _, b := range r.Blobs() {
			e.blobs[b.Digest] = b.Size
		}
	}
	return nil
}

// record is the record of an image as an annotation, "" where it has none.
func (e *export) record(ctx context.Context, d store.Digest) (string, error) {
	r, err := e.store.Record(ctx, d)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	doc, err := json.Marshal(r)
	return string(doc), err
}

// size is how many bytes all blobs have.
func (e *export) size() (n int64) {
	for _, size := range e.blobs {
		n += size
	}
	return n
}

// write writes the layout. Every blob is verified while it is read.
func (e *export) write(ctx context.Context, to sink, o Options) error {
	if o.Planned != nil {
		o.Planned(len(e.blobs), e.size())
	}
	entries := slices.Clone(e.images)
	for _, d := range slices.SortedFunc(maps.Keys(e.referrers), store.Digest.Compare) {
		entries = append(entries, e.referrers[d])
	}
	doc, err := encodeIndex(entries)
	if err != nil {
		return err
	}
	for _, f := range []struct{ name, text string }{{versionFile, version}, {indexFile, string(doc)}} {
		if err := to.file(f.name, int64(len(f.text)), bytes.NewReader([]byte(f.text))); err != nil {
			return err
		}
	}
	for _, d := range slices.SortedFunc(maps.Keys(e.blobs), store.Digest.Compare) {
		if err := e.writeBlob(ctx, to, store.Blob{Digest: d, Size: e.blobs[d]}, o); err != nil {
			return err
		}
	}
	return nil
}

func (e *export) writeBlob(ctx context.Context, to sink, b store.Blob, o Options) error {
	r, err := e.store.Blobs().Open(ctx, b)
	if err != nil {
		return err
	}
	defer r.Close()
	in := store.NewReader(ctx, r)
	if o.Moved != nil {
		in = &counted{in, o.Moved}
	}
	return to.file(store.BlobKey(b.Digest), b.Size, in)
}

type counted struct {
	io.Reader
	moved func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.moved(int64(n))
	return n, err
}
