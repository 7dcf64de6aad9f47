package gc

import (
	"cmp"
	"context"
	"slices"
	"time"

	"piimg/store"
)

// Report is what a run has found and done.
type Report struct {
	Stored    Amount    `json:"stored"`
	Kept      Amount    `json:"kept"`
	Young     Amount    `json:"young"`         // kept by nothing, and too new to go
	Condemned Amount    `json:"condemned"`     // kept by nothing; a later run removes it
	Ripe      time.Time `json:"ripe,omitzero"` // when the first of it may go
	Goes      Amount    `json:"goes"`          // was condemned for long enough
	Images    []Image   `json:"images"`        // those that own most come first
	Bare      bool      `json:"bare"`          // no environment and no pin keeps anything, and something would go

	SetAside []SetAside `json:"set_aside"` // in quarantine when the run began, by key

	Removed Amount `json:"removed"` // only with Delete, as what follows
	Tidied  Tidied `json:"tidied"`
}

// Image is an image and what becomes of it.
type Image struct {
	Image store.Digest `json:"image"`
	Name  string       `json:"name"`
	Bytes int64        `json:"bytes"`   // of all that it consists of
	Own   int64        `json:"own"`     // of what no other image that is kept consists of
	Why   []string     `json:"kept_by"` // empty for an image that goes
}

// report sums up. Images that go and cannot be read are listed without name and size.
func (c *collection) report(ctx context.Context, p *plan) (Report, error) {
	r := Report{Young: p.young, Ripe: c.ripe(p), Images: []Image{}, SetAside: p.aside}
	for d, b := range p.all.blobs {
		r.Stored.add(b.size)
		if _, live := p.marks.live[d]; live {
			r.Kept.add(b.size)
		}
	}
	for d := range p.condemned {
		r.Condemned.add(p.all.blobs[d].size)
	}
	for _, d := range p.due {
		r.Goes.add(p.all.blobs[d].size)
	}
	r.Condemned.Blobs -= r.Goes.Blobs
	r.Condemned.Bytes -= r.Goes.Bytes
	r.Bare = c.marker.bare && (len(p.condemned) > 0 || slices.ContainsFunc(p.aside, func(a SetAside) bool { return a.Due(c.now) }))
	users := users(p.marks)
	for d, doc := range p.marks.images {
		r.Images = append(r.Images, describe(d, doc, p.marks.why[d], users, p.all))
	}
	going, err := c.going(ctx, p, users)
	r.Images = append(r.Images, going...)
	slices.SortFunc(r.Images, func(a, b Image) int {
		return cmp.Or(cmp.Compare(b.Own, a.Own), cmp.Compare(b.Bytes, a.Bytes), a.Image.Compare(b.Image))
	})
	return r, err
}

// users says by how many of the images that are kept each blob is used.
func users(m *marks) map[store.Digest]int {
	n := make(map[store.Digest]int, len(m.live))
	for d, doc := range m.images {
		n[d]++
		for _, b := range doc.blobs {
			n[b.Digest]++
		}
	}
	return n
}

// describe sums up an image, with blobs of the sizes that they have in the store.
func describe(d store.Digest, doc *document, why []string, users map[store.Digest]int, all *inventory) Image {
	i := Image{Image: d, Name: doc.name, Why: slices.Compact(slices.Sorted(slices.Values(why)))}
	if i.Why == nil {
		i.Why = []string{}
	}
	for _, b := range append(slices.Clone(doc.blobs), store.Blob{Digest: d}) {
		size := all.blobs[b.Digest].size
		i.Bytes += size
		if users[b.Digest] <= 1 {
			i.Own += size
		}
	}
	return i
}

// going are the images that nothing keeps any more, as far as they have records.
func (c *collection) going(ctx context.Context, p *plan, users map[store.Digest]int) ([]Image, error) {
	var gone []root
	for d := range p.all.records {
		if _, live := p.marks.live[d]; !live {
			gone = append(gone, root{digest: d})
		}
	}
	err := c.marker.read(ctx, gone, func(ctx context.Context, d store.Digest) (*document, error) {
		doc, err := c.marker.image(ctx, d)
		if err != nil && ctx.Err() == nil {
			return &document{}, nil // it goes, so what is wrong with it is of no interest
		}
		return doc, err
	})
	if err != nil {
		return nil, err
	}
	var all []Image
	for _, g := range gone {
		all = append(all, describe(g.digest, c.marker.docs[g.digest], nil, users, p.all))
	}
	return all, nil
}
