package fsck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"piimg/store"
)

// Source has content that may be the same as what is damaged. Its bytes are checked by who
// reads them.
type Source struct {
	Name  string
	Blobs interface {
		// Find is the size of the content named d, and io/fs.ErrNotExist where it is not there.
		Find(ctx context.Context, d store.Digest) (store.Blob, error)
		// Open reads the content named b.
		Open(ctx context.Context, b store.Blob) (io.ReadCloser, error)
	}
	Store *store.Store // has log entries and records too; may be nil
}

// RepairOptions say where the right bytes may come from.
type RepairOptions struct {
	Sources []Source // asked in this order, behind the store's own quarantine

	// Rebuild makes content anew that no source has, and stores it in the store that is
	// repaired; nil where nobody can.
	Rebuild func(ctx context.Context, lost []store.Digest) error
}

// Repair puts right what r says is damaged, and writes into r what became of each finding.
// What is damaged is moved below quarantine/ before anything takes its place. Only bytes of
// the same digest are ever taken for content or for an entry of a log, so nothing is
// invented: what nobody has stays missing. The error is one of reaching the store.
//
// What else is damaged may show only once a manifest or an entry of a log is back, so r
// grows.
func Repair(ctx context.Context, s *store.Store, r *Report, o RepairOptions) error {
	o.Sources = append([]Source{asideOf(s)}, o.Sources...)
	p := &repairer{store: s, o: o}
	for from := 0; from < len(r.Findings); {
		upto := len(r.Findings)
		for n := upto - 1; n >= from; n-- { // from the newest entry of a log to the oldest
			if err := p.finding(ctx, &r.Findings[n]); err != nil {
				return fmt.Errorf("repair %s: %w", r.Findings[n].Key, err)
			}
		}
		if err := p.rebuild(ctx, r.Findings[from:upto]); err != nil {
			return fmt.Errorf("rebuild: %w", err)
		}
		from = upto
		if !p.more {
			continue
		}
		p.more = false
		if err := p.again(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// repairer is a repair under way.
type repairer struct {
	store *store.Store
	o     RepairOptions
	more  bool // what came back may name what is damaged too
}

// again checks once more, without reading content, and adds what is new to r.
func (p *repairer) again(ctx context.Context, r *Report) error {
	next, err := Check(ctx, p.store, Options{})
	if err != nil {
		return err
	}
	told := map[string]bool{}
	for _, f := range r.Findings {
		told[f.Key] = true
	}
	for _, f := range next.Findings {
		if !told[f.Key] {
			r.Findings = append(r.Findings, f)
		}
	}
	return nil
}

// finding puts one thing right, if it can.
func (p *repairer) finding(ctx context.Context, f *Finding) error {
	if !f.Damage() || f.Repaired {
		return nil
	}
	var err error
	switch {
	case f.Kind == Unsigned:
		f.Repair = "a signature is not for a repair to make"
	case !f.blob.Digest.IsZero():
		err = p.blob(ctx, f)
	case f.Key == "oci-layout":
		err = p.layout(ctx, f)
	default:
		err = p.small(ctx, f)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// blob brings content back from the first source that has it.
func (p *repairer) blob(ctx context.Context, f *Finding) error {
	if f.Kind != Missing {
		if p.right(ctx, f) {
			f.done("it is right by now: somebody has written it anew")
			return nil
		}
		if err := p.quarantine(ctx, f); err != nil {
			return err
		}
	}
	for _, source := range p.o.Sources {
		err := p.copy(ctx, f, source)
		if err == nil {
			f.done("brought back from " + source.Name)
			p.more = p.more || f.blob.Size < 0
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, fs.ErrNotExist) {
			f.note("%s: %v", source.Name, err)
		}
	}
	if f.Kind == Missing {
		f.note("no source has it")
		return nil
	}
	if p.right(ctx, f) { // to ask all sources may have taken long
		f.done("somebody has written it anew")
		return nil
	}
	// Damage that has the right size would be taken for the real thing by whoever puts it
	// next. It is in quarantine, and goes.
	if len(f.Files) == 0 {
		f.done("no image needs it")
	} else {
		f.note("no source has it")
	}
	return p.store.Bucket().Delete(ctx, f.Key)
}

// right says whether the content is what its name says by now.
func (p *repairer) right(ctx context.Context, f *Finding) bool {
	b, err := p.store.Blobs().Find(ctx, f.blob.Digest)
	return err == nil && p.store.Blobs().Verify(ctx, b) == nil
}

// copy puts the content of a source in the place of what is damaged. Put stores nothing
// whose digest is another.
func (p *repairer) copy(ctx context.Context, f *Finding, from Source) error {
	b, err := from.Blobs.Find(ctx, f.blob.Digest)
	if err != nil {
		return err
	}
	return p.store.Bucket().Put(ctx, f.Key, store.Content{
		Digest: b.Digest, Size: b.Size,
		Open: func() (io.ReadCloser, error) { return from.Blobs.Open(ctx, b) },
	})
}

// rebuild has content made anew that no source has.
func (p *repairer) rebuild(ctx context.Context, all []Finding) error {
	var open []*Finding
	var lost []store.Digest
	for n := range all {
		if f := &all[n]; f.Damage() && !f.Repaired && !f.blob.Digest.IsZero() && f.Kind != Unsigned {
			open, lost = append(open, f), append(lost, f.blob.Digest)
		}
	}
	if p.o.Rebuild == nil || len(open) == 0 {
		return nil
	}
	failed := p.o.Rebuild(ctx, lost)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, f := range open {
		switch {
		case p.right(ctx, f):
			f.done("built anew")
			p.more = p.more || f.blob.Size < 0
		case failed != nil:
			f.note("building it anew: %v", failed)
		default:
			f.note("building anew gave other bytes")
		}
	}
	return nil
}

// layout writes an object anew that is the same in every store.
func (p *repairer) layout(ctx context.Context, f *Finding) error {
	if f.Kind != Missing {
		if err := p.quarantine(ctx, f); err != nil {
			return err
		}
	}
	if err := p.store.PutLayout(ctx); err != nil {
		return err
	}
	f.done("written anew")
	return nil
}

// done takes note of a success.
func (f *Finding) done(text string) {
	f.Repaired = true
	f.note("%s", text)
}

// note adds to what a repair did.
func (f *Finding) note(format string, args ...any) {
	if f.Repair != "" {
		f.Repair += "; "
	}
	f.Repair += fmt.Sprintf(format, args...)
}

// quarantine copies the damaged bytes to where nothing looks for them: their key, below
// quarantine/, with the digest of what they are. What the disk cannot read is moved there.
func (p *repairer) quarantine(ctx context.Context, f *Finding) error {
	open := func() (io.ReadCloser, error) { return p.store.Bucket().Get(ctx, f.Key, 0, -1) }
	r, err := open()
	var d store.Digest
	var size int64
	if err == nil {
		d, size, err = store.SumReader(r)
		r.Close()
	}
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case kindOf(err) == Unreadable:
		return p.moveUnread(ctx, f)
	default:
		return err
	}
	key := store.DamagedKey(f.Key, d)
	if err := p.store.Bucket().Put(ctx, key, store.Content{Digest: d, Size: size, Open: open}); err != nil {
		return err
	}
	f.note("the damaged bytes are kept at %s", key)
	return nil
}

// moveUnread moves what the disk cannot read, and may be able to read another day, to where
// quarantine has it, if the bucket can. Its digest is not known.
func (p *repairer) moveUnread(ctx context.Context, f *Finding) error {
	key := store.DamagedKey(f.Key, store.Digest{})
	err := errors.ErrUnsupported
	if m, ok := p.store.Bucket().(store.Mover); ok {
		err = m.Move(ctx, f.Key, key)
	}
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		f.note("its bytes cannot be read, and are not kept")
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil:
		f.note("its bytes cannot be read: it was moved to %s", key)
	}
	return err
}

// when is the time at which an object was last written, by the store's clock.
func (p *repairer) when(ctx context.Context, key string) time.Time {
	info, err := p.store.Bucket().Stat(ctx, key)
	if err != nil {
		return time.Time{}
	}
	return info.Time.UTC().Truncate(time.Second)
}
