package env

import (
	"context"
	"fmt"
	"strings"

	"piimg/store"
)

// Resolved is an image and how it was found.
type Resolved struct {
	Image store.Digest
	Env   string // "" where the image was named by its digest
	Seq   int64  // the step of Env that made it run Image; 0 without Env
}

// Resolve finds the image that ref names, in the forms of [store.ParseRef]. A digest or
// a prefix has to be that of one published image. The error wraps io/fs.ErrNotExist
// where there is no such image, environment or step, and lists the images where a
// prefix fits several. It does not check that the image is complete.
func Resolve(ctx context.Context, s *store.Store, ref string) (Resolved, error) {
	r, err := store.ParseRef(ref)
	if err != nil {
		return Resolved{}, err
	}
	switch {
	case !r.Digest.IsZero():
		return byPrefix(ctx, s, r.Digest.Hex())
	case r.Prefix != "":
		return byPrefix(ctx, s, r.Prefix)
	}
	e, err := byEnv(ctx, s, r)
	if err != nil {
		return Resolved{}, fmt.Errorf("image %s: %w", ref, err)
	}
	return Resolved{e.Image, r.Env, e.Seq}, nil
}

func byPrefix(ctx context.Context, s *store.Store, prefix string) (Resolved, error) {
	found, err := s.FindImages(ctx, prefix)
	switch {
	case err != nil:
		return Resolved{}, err
	case len(found) == 0:
		return Resolved{}, absent(fmt.Sprintf("image sha256:%s is not in the store", prefix))
	case len(found) > 1:
		return Resolved{}, fmt.Errorf("image sha256:%s could be any of %d: %s", prefix, len(found), candidates(found))
	}
	return Resolved{Image: found[0]}, nil
}

// candidates lists some digests in full: short forms may be the same.
func candidates(found []store.Digest) string {
	const enough = 8
	var names []string
	for _, d := range found[:min(len(found), enough)] {
		names = append(names, d.String())
	}
	if len(found) > enough {
		names = append(names, "…")
	}
	return strings.Join(names, ", ")
}

func byEnv(ctx context.Context, s *store.Store, r store.Ref) (Entry, error) {
	head, err := Head(ctx, s, r.Env)
	switch {
	case err != nil:
		return Entry{}, err
	case r.Seq > head.Seq:
		return Entry{}, absent(fmt.Sprintf("%s has %d steps", r.Env, head.Seq))
	case r.Seq > 0 && r.Seq < head.Seq:
		return at(ctx, s, r.Env, r.Seq)
	case r.Back > 0:
		return newPast(ctx, s, head).back(r.Back)
	}
	return head, nil
}
