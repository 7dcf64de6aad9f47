package layout

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"piimg/store"
)

const (
	maxIndexLen   = 16 << 20
	maxVersionLen = 4 << 10
)

// Layout is an opened layout. Close it.
type Layout struct {
	Images  []store.Digest // in the order of index.json, each once
	Foreign int            // entries of index.json that are neither images of piimg nor refer to one

	store *store.Store
	close func() error
}

// Open opens the layout at path, a folder or a tar archive, and reads what it lists. Errors
// say what is wrong with it, and wrap store.ErrCorrupt where it is damaged.
func Open(ctx context.Context, path string) (*Layout, error) {
	l, err := open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return l, nil
}

func open(ctx context.Context, path string) (*Layout, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	l := &Layout{}
	var all files
	switch {
	case info.IsDir():
		root, err := os.OpenRoot(path)
		if err != nil {
			return nil, err
		}
		l.close = root.Close
		all, err = readFolder(root)
		if err != nil {
			return nil, l.fail(err)
		}
	case info.Mode().IsRegular():
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		l.close = f.Close
		if all, err = readArchive(ctx, f); err != nil {
			return nil, l.fail(err)
		}
	default:
		return nil, fmt.Errorf("it is neither a file nor a folder")
	}
	if err := l.read(ctx, all); err != nil {
		return nil, l.fail(err)
	}
	return l, nil
}

func (l *Layout) fail(err error) error {
	_ = l.close()
	return err
}

// Close closes the layout.
func (l *Layout) Close() error { return l.close() }

// Store is the layout as a store that may only be read.
func (l *Layout) Store() *store.Store { return l.store }

// Verify reads everything that the images consist of and what refers to them, and says what
// is wrong. What is listed and not damaged can be copied.
func (l *Layout) Verify(ctx context.Context) error {
	seen := map[store.Digest]bool{}
	for _, d := range l.Images {
		if err := l.verify(ctx, d, seen); err != nil {
			return fmt.Errorf("image %s: %w", d.Short(), err)
		}
	}
	return nil
}

func (l *Layout) verify(ctx context.Context, d store.Digest, seen map[store.Digest]bool) error {
	i, err := l.store.Image(ctx, d)
	if err != nil {
		return err
	}
	if err := l.store.Complete(ctx, i); err != nil {
		return err
	}
	if err := l.record(ctx, d); err != nil {
		return err
	}
	blobs := i.Blobs()
	for r, err := range l.store.Referrers(ctx, d) {
		if err != nil {
			return err
		}
		blobs = append(blobs, r.Blobs()...)
	}
	for _, b := range blobs {
		if seen[b.Digest] {
			continue
		}
		seen[b.Digest] = true
		if err := l.store.Blobs().Verify(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// record reads the record of an image, if it has one.
func (l *Layout) record(ctx context.Context, d store.Digest) error {
	if _, err := l.store.Bucket().Stat(ctx, store.RecordKey(d)); err != nil {
		return nil
	}
	_, err := l.store.Record(ctx, d)
	return err
}

// read makes a store of all.
func (l *Layout) read(ctx context.Context, all files) error {
	doc, err := all.doc(versionFile, maxVersionLen)
	if err != nil {
		return err
	}
	var v struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(doc, &v); err != nil || v.Version != "1.0.0" {
		return fmt.Errorf("%w: its %s names version %q, not 1.0.0", store.ErrCorrupt, versionFile, v.Version)
	}
	if doc, err = all.doc(indexFile, maxIndexLen); err != nil {
		return err
	}
	var list index
	if err := json.Unmarshal(doc, &list); err != nil || list.SchemaVersion != 2 {
		return fmt.Errorf("%w: its %s is no index of schema version 2", store.ErrCorrupt, indexFile)
	}
	shown := view{}
	for name, f := range all {
		if name != indexFile && name != versionFile {
			shown[name] = f
		}
	}
	shown.text("piimg-store.json", []byte(`{"format":1,"id":"layout"}`))
	if l.store, err = store.Open(ctx, shown); err != nil {
		return err
	}
	return l.list(ctx, list.Manifests, shown)
}

// doc is a small file of a layout.
func (all files) doc(name string, limit int64) ([]byte, error) {
	f, ok := all[name]
	if !ok {
		return nil, fmt.Errorf("%w: it is no OCI image layout: it has no %s", store.ErrCorrupt, name)
	}
	if f.size > limit {
		return nil, fmt.Errorf("%w: its %s has %d bytes, more than %d", store.ErrCorrupt, name, f.size, limit)
	}
	r, err := f.open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, limit))
}

// list finds images and what refers to them among the entries of index.json.
func (l *Layout) list(ctx context.Context, entries []entry, shown view) error {
	referrers := map[store.Digest]store.Digest{} // to their subjects
	for _, e := range entries {
		if e.MediaType != manifestType {
			l.Foreign++
			continue
		}
		doc, err := l.store.Blobs().Read(ctx, store.Blob{Digest: e.Digest, Size: e.Size}, store.MaxManifestLen)
		if err != nil {
			return err
		}
		subject, err := kindOf(doc)
		switch {
		case err != nil:
			return fmt.Errorf("image %s: %w", e.Digest.Short(), err)
		case subject == e.Digest:
			if slices.Contains(l.Images, e.Digest) {
				continue
			}
			l.Images = append(l.Images, e.Digest)
			if record := e.Annotations[recordKey]; record != "" {
				shown.text(store.RecordKey(e.Digest), []byte(record))
			}
		case subject.IsZero():
			l.Foreign++
		default:
			referrers[e.Digest] = subject
		}
	}
	for d, subject := range referrers {
		if slices.Contains(l.Images, subject) {
			shown.text("referrers/"+subject.Hex()+"/"+d.Hex(), nil)
		} else {
			l.Foreign++
		}
	}
	if len(l.Images) == 0 {
		return fmt.Errorf("it has no image of piimg, and %d of others", l.Foreign)
	}
	return nil
}

// kindOf is the digest of doc itself where it is an image, its subject where it refers to
// one, and zero where it is neither.
func kindOf(doc []byte) (store.Digest, error) {
	var m struct {
		ArtifactType string          `json:"artifactType"`
		Subject      json.RawMessage `json:"subject"`
	}
	if err := json.Unmarshal(doc, &m); err != nil {
		return store.Digest{}, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	switch {
	case m.ArtifactType == store.ImageType:
		i, err := store.DecodeManifest(doc)
		if err != nil {
			return store.Digest{}, err
		}
		return i.Digest, nil
	case m.Subject != nil:
		r, err := store.DecodeReferrer(doc)
		return r.Subject.Digest, err
	}
	return store.Digest{}, nil
}
