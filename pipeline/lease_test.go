package pipeline_test

import (
	"context"
	"strings"
	"testing"

	"piimg/store"
	"piimg/store/mem"
)

// collecting is a bucket from which a blob is collected right before the first lease that
// names it would be seen.
type collecting struct {
	store.Bucket
	victim store.Digest
	gone   bool
}

func (b *collecting) Put(ctx context.Context, key string, c store.Content) error {
	if strings.HasPrefix(key, "leases/") && !b.gone {
		b.gone = true
		if err := b.Delete(ctx, store.BlobKey(b.victim)); err != nil {
			return err
		}
	}
	return b.Bucket.Put(ctx, key, c)
}

// TestCollectedMeanwhile: a step whose output was collected between the moment that it was
// found and the moment that it was held runs, or runs again; the build knows nothing of it.
func TestCollectedMeanwhile(t *testing.T) {
	tests := []struct {
		name string
		hit  bool // the step was finished before
		runs int32
	}{
		{"of a step that runs", false, 2},
		{"of a finished step", true, 2}, // once before
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := &stage{name: "a", run: writes("kernel8.img", "kernel")}
			w := newWorld(t, a)
			b := &collecting{Bucket: mem.New(), victim: store.Sum([]byte("kernel")), gone: true}
			s, err := store.Init(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			w.Store = s
			if tt.hit {
				w.mustRun()
			}
			b.gone = false
			w.Lease = s.NewLease(store.LeaseOptions{Holder: "test"})
			defer w.Lease.Release(t.Context())
			made := w.mustRun()
			if a.runs.Load() != tt.runs || !b.gone {
				t.Errorf("it ran %d times; want %d", a.runs.Load(), tt.runs)
			}
			if have, err := s.Blobs().Has(t.Context(), made.Files[0].Parts[0]); err != nil || !have {
				t.Errorf("the output is there: %v, %v", have, err)
			}
		})
	}
}
