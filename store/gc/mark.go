package gc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"piimg/store"
)

// marker finds what roots keep. What it has read and what cannot change it does not read
// again, so that marking a second time is quick.
type marker struct {
	Options
	store *store.Store
	now   time.Time
	sizes map[store.Digest]blobInfo // of the blobs that the first pass has seen

	held  []root // by leases
	logs  map[string]knownLog
	mu    sync.Mutex
	docs  map[store.Digest]*document
	ended []string // keys of leases that are over
	bare  bool     // there is no environment and no pin
}

// knownLog is what a log with so many entries keeps.
type knownLog struct {
	entries int
	kept    []run
}

// document is a manifest, of an image or of what refers to one.
type document struct {
	name  string
	blobs []store.Blob // that it names; nil where it is not there
}

// marks are what is kept.
type marks struct {
	live   map[store.Digest]struct{}
	images map[store.Digest]*document
	why    map[store.Digest][]string // of images and single blobs
}

func newMarker(s *store.Store, o Options, now time.Time) *marker {
	return &marker{Options: o, store: s, now: now, logs: map[string]knownLog{}, docs: map[store.Digest]*document{}}
}

// pass lists the objects under each prefix and marks what is kept. Leases are read before
// anything is listed: whoever gives one up has added a root before, which is then seen.
func (m *marker) pass(ctx context.Context, prefixes ...string) (*inventory, *marks, error) {
	if err := m.leases(ctx); err != nil {
		return nil, nil, err
	}
	m.Progress("list objects")
	v, err := takeInventory(ctx, m.store.Bucket(), prefixes...)
	if err != nil {
		return nil, nil, err
	}
	if m.sizes == nil {
		m.sizes = v.blobs
	}
	m.Progress("read roots and manifests")
	k, err := m.mark(ctx, v)
	return v, k, err
}

// mark reads the roots and all that they lead to.
func (m *marker) mark(ctx context.Context, v *inventory) (*marks, error) {
	roots, err := m.roots(ctx, v)
	if err != nil {
		return nil, err
	}
	k := &marks{live: make(map[store.Digest]struct{}, len(v.blobs)), images: map[store.Digest]*document{}, why: map[store.Digest][]string{}}
	var images []root
	for _, r := range roots {
		k.why[r.digest] = append(k.why[r.digest], r.why)
		if r.blob {
			k.live[r.digest] = struct{}{}
			continue
		}
		images = append(images, r)
	}
	if err := m.read(ctx, images, m.image); err != nil {
		return nil, err
	}
	for _, r := range images {
		doc := m.docs[r.digest]
		if doc.blobs == nil && !r.maybe {
			return nil, fmt.Errorf("%s keeps image %s, whose manifest is not in the store: %w", r.why, r.digest.Short(), fs.ErrNotExist)
		}
		if doc.blobs != nil {
			k.images[r.digest] = doc
		}
		k.add(r.digest, doc)
	}
	return k, m.referrers(ctx, v, k)
}

// add keeps a manifest and what it names.
func (k *marks) add(d store.Digest, doc *document) {
	k.live[d] = struct{}{}
	for _, b := range doc.blobs {
		k.live[b.Digest] = struct{}{}
	}
}

// referrers keeps what refers to something that is kept, and what refers to that.
func (m *marker) referrers(ctx context.Context, v *inventory, k *marks) error {
	done := map[store.Digest]bool{}
	for {
		var next []root
		for subject, manifests := range v.referrers {
			if _, live := k.live[subject]; !live || done[subject] {
				continue
			}
			done[subject] = true
			for _, d := range manifests {
				next = append(next, root{digest: d, why: "document about " + subject.Short()})
			}
		}
		if len(next) == 0 {
			return nil
		}
		if err := m.read(ctx, next, m.referrer); err != nil {
			return err
		}
		for _, r := range next {
			if m.docs[r.digest].blobs == nil {
				return fmt.Errorf("%s: %s is not in the store: %w", r.why, r.digest.Short(), fs.ErrNotExist)
			}
			k.add(r.digest, m.docs[r.digest])
		}
	}
}

// read reads the documents of roots that were not read before, or were not there then.
func (m *marker) read(ctx context.Context, roots []root, decode func(context.Context, store.Digest) (*document, error)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	asked := map[store.Digest]bool{}
	for _, r := range roots {
		if asked[r.digest] || m.known(r.digest) {
			continue
		}
		asked[r.digest] = true
		g.Go(func() error {
			doc, err := decode(ctx, r.digest)
			if err != nil {
				return fmt.Errorf("%s keeps %s: %w", r.why, r.digest.Short(), err)
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			m.docs[r.digest] = doc
			return nil
		})
	}
	return g.Wait()
}

func (m *marker) known(d store.Digest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	doc := m.docs[d]
	return doc != nil && doc.blobs != nil
}

// image reads the manifest of an image. One that is not there names nothing.
func (m *marker) image(ctx context.Context, d store.Digest) (*document, error) {
	doc, err := m.manifest(ctx, d)
	if doc == nil {
		return &document{}, err
	}
	i, err := store.DecodeManifest(doc)
	if err != nil {
		return nil, err
	}
	return &document{i.Name, i.Blobs()}, nil
}

// referrer reads the manifest of a document about an image.
func (m *marker) referrer(ctx context.Context, d store.Digest) (*document, error) {
	doc, err := m.manifest(ctx, d)
	if doc == nil {
		return &document{}, err
	}
	r, err := store.DecodeReferrer(doc)
	if err != nil {
		return nil, err
	}
	return &document{r.Type, r.Blobs()}, nil
}

// manifest reads one, and nil where it is not there.
func (m *marker) manifest(ctx context.Context, d store.Digest) ([]byte, error) {
	b := store.Blob{Digest: d, Size: m.sizes[d].size}
	if _, ok := m.sizes[d]; !ok {
		var err error
		if b, err = m.store.Blobs().Find(ctx, d); err != nil {
			return nil, unlessAbsent(err)
		}
	}
	doc, err := m.store.Blobs().Read(ctx, b, store.MaxManifestLen)
	return doc, unlessAbsent(err)
}

func unlessAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
