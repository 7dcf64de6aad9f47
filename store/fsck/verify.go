package fsck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"piimg/store"
)

// Verdict is what came of reading one file of an image to its end.
type Verdict struct {
	Path   string       `json:"path"` // "manifest", "config" and "signature" are those of the image
	Digest store.Digest `json:"digest"`
	Size   int64        `json:"size"`
	OK     bool         `json:"ok"`
	Text   string       `json:"text"`
}

// Image reads every byte of the image named d and says of each file whether it is what the
// manifest says. The error is one of reaching the store, or wraps io/fs.ErrNotExist where
// there is no such image.
func Image(ctx context.Context, s *store.Store, d store.Digest, o Options) ([]Verdict, error) {
	i, err := s.Image(ctx, d)
	if errors.Is(err, store.ErrCorrupt) {
		return []Verdict{{Path: "manifest", Digest: d, Text: err.Error()}}, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := s.Blobs().Find(ctx, d)
	if err != nil {
		return nil, err
	}
	c := newChecker(s, o)
	all := []Verdict{{Path: "manifest", Digest: d, Size: b.Size, OK: true, Text: "ok"}}
	if o.Signatures != nil {
		all = append(all, verdict(Verdict{Path: "signature", Digest: d}, o.Signatures.Image(ctx, d)))
	}
	files := append([]store.File{store.NewFile("config", 0o644, i.Config)}, i.Files...)
	var total int64
	for _, f := range files {
		total += f.Size
	}
	for _, f := range files {
		err := c.file(ctx, f, total)
		if err != nil && (ctx.Err() != nil || kindOf(err) == Unchecked) {
			return nil, err
		}
		all = append(all, verdict(Verdict{Path: f.Path, Digest: f.Digest, Size: f.Size}, err))
	}
	return all, nil
}

func verdict(v Verdict, err error) Verdict {
	v.OK, v.Text = err == nil, "ok"
	if errors.Is(err, fs.ErrNotExist) {
		v.Text = "missing: " + err.Error()
	} else if err != nil {
		v.Text = err.Error()
	}
	return v
}

// file reads f to its end. That its parts are right does not say that the whole is.
func (c *checker) file(ctx context.Context, f store.File, total int64) error {
	r, err := c.store.OpenFile(ctx, f)
	if err != nil {
		return err
	}
	defer r.Close()
	d, _, err := store.SumReader(io.TeeReader(r, counter{c, total}))
	if err == nil && d != f.Digest {
		err = errWhole(f, d)
	}
	return err
}

func errWhole(f store.File, d store.Digest) error {
	return fmt.Errorf("its parts are right, and together they hash to %s instead of %s: %w", d.Short(), f.Digest.Short(), store.ErrCorrupt)
}
