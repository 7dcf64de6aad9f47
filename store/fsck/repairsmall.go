package fsck

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"piimg/store"
)

// small puts an object right that is no content: a record, an entry of a log, a finished
// step.
func (p *repairer) small(ctx context.Context, f *Finding) error {
	kind, _, _ := strings.Cut(f.Key, "/")
	switch kind {
	case "images":
		if d, ok := store.ImageOf(f.Key); ok {
			return p.record(ctx, f, d)
		}
	case "envs", "boards", "yanked":
		prefix, _, _ := strings.Cut(f.Key, "/log/")
		log := p.store.Log(prefix)
		if seq, err := log.Seq(f.Key); err == nil {
			return p.entry(ctx, f, log, seq)
		}
	case "cache":
		if err := p.aside(ctx, f); err != nil {
			return err
		}
		f.done("the step runs again when it is needed")
		return nil
	}
	f.note("nothing is known about how to put it right")
	return nil
}

// aside moves an object to quarantine.
func (p *repairer) aside(ctx context.Context, f *Finding) error {
	if err := p.quarantine(ctx, f); err != nil {
		return err
	}
	return p.store.Bucket().Delete(ctx, f.Key)
}

// unknownActor is who published an image whose record is lost.
const unknownActor = "unknown (record re-made by piimg fsck)"

// record brings the record of an image back: the one of a store that has the image too, or
// else one that says no more than is known. Without one the image is in no list and may be
// collected.
func (p *repairer) record(ctx context.Context, f *Finding, d store.Digest) error {
	i, err := p.store.Image(ctx, d)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, store.ErrCorrupt) {
		f.note("its image cannot be read: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	// The manifest was written when the image was published, or when a repair brought it back.
	r := store.Record{Image: d, Name: i.Name, Actor: unknownActor, Time: p.when(ctx, store.BlobKey(d))}
	from := "made anew from the manifest: who published it, and from which recipe, is lost"
	for _, s := range p.o.Sources {
		if s.Store == nil {
			continue
		}
		if theirs, err := s.Store.Record(ctx, d); err == nil {
			r, from = theirs, "taken from "+s.Name
			break
		}
	}
	if f.Kind != Missing {
		if err := p.aside(ctx, f); err != nil {
			return err
		}
	}
	if err := p.store.PutRecord(ctx, r); err != nil {
		return err
	}
	f.done(from)
	return nil
}

// entry brings an entry of a log back where its digest is known: from the entry after it.
// The last entry has none after it. Where it is torn, it is moved away: the log ends with
// the entry before, and what it said is lost, which is for people to know.
func (p *repairer) entry(ctx context.Context, f *Finding, log store.Log, seq int64) error {
	if f.Kind == Broken {
		f.note("two histories meet here, and which one is true is not for a repair to say")
		return nil
	}
	next, err := log.At(ctx, seq+1)
	switch {
	case err == nil:
		return p.known(ctx, f, next.Prev)
	case !errors.Is(err, fs.ErrNotExist):
		f.note("the entry after it cannot be read either, so that its digest is not known")
		return nil
	case f.Kind != Malformed:
		f.note("it is the last, so that its digest is not known")
		return nil
	}
	if _, err := log.At(ctx, seq); !errors.Is(err, store.ErrCorrupt) {
		f.note("it is whole, but says what this piimg does not understand")
		return nil
	}
	if err := p.aside(ctx, f); err != nil {
		return err
	}
	f.done("the log ends with the entry before it now; what it said is lost: look at what was promoted last, and promote it again")
	return nil
}

// known brings the object back whose digest is known.
func (p *repairer) known(ctx context.Context, f *Finding, d store.Digest) error {
	for _, s := range p.o.Sources {
		if s.Store == nil {
			continue
		}
		doc, err := s.Store.Object(ctx, f.Key, maxEntry)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || store.Sum(doc) != d {
			continue
		}
		if f.Kind != Missing {
			if err := p.quarantine(ctx, f); err != nil {
				return err
			}
		}
		if err := p.store.Bucket().Put(ctx, f.Key, store.Bytes(doc)); err != nil {
			return err
		}
		f.done("brought back from " + s.Name)
		p.more = true
		return nil
	}
	f.note("no source has the entry with the digest %s, which the next one follows", d.Short())
	return nil
}

// maxEntry is more than any entry of a log has.
const maxEntry = 1 << 20
