package main

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"time"

	"piimg/store"
	"piimg/store/peer"
	"piimg/store/serve"
)

// sharedKeys is what a front end needs of a store. Finished build steps and what the
// collector keeps are nobody's business.
var sharedKeys = []string{"piimg-store.json", "oci-layout", "blobs/", "images/", "referrers/", "envs/", "boards/", "yanked/"}

// share lets other front ends read the store below /store/.
func share(f *serve.Front, s *attachment, log *slog.Logger) http.Handler {
	flood := serve.NewFlood(log, 1, time.Now)
	report := func(r *http.Request, err error) {
		flood.Log(r.Context(), slog.LevelError, "object is not shared", "client", r.RemoteAddr, "name", r.URL.Path, "err", err)
	}
	return peer.Handler(f.Share(bucketOf{s}), report, sharedKeys...)
}

// bucketOf is what can be read in the bucket of a store that may be away.
type bucketOf struct{ *attachment }

var _ serve.Objects = bucketOf{}

func (b bucketOf) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	s, err := b.get(ctx)
	if err != nil {
		return nil, unknown{err}
	}
	return s.Bucket().Get(ctx, key, off, n)
}

func (b bucketOf) Stat(ctx context.Context, key string) (store.Info, error) {
	s, err := b.get(ctx)
	if err != nil {
		return store.Info{}, unknown{err}
	}
	return s.Bucket().Stat(ctx, key)
}

func (b bucketOf) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		s, err := b.get(ctx)
		if err != nil {
			yield(store.Info{}, unknown{err})
			return
		}
		s.Bucket().List(ctx, prefix, after)(yield)
	}
}
