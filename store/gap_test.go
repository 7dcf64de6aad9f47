package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"piimg/store"
)

// unlisted is a bucket whose lists do not show a key, as those of a folder need not show
// what is written while they are made.
type unlisted struct {
	store.Bucket
	key string
}

func (b unlisted) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for info, err := range b.Bucket.List(ctx, prefix, after) {
			if (err != nil || info.Key != b.key) && !yield(info, err) {
				return
			}
		}
	}
}

// TestUnlistedEntry: a log is whole where a list has left an entry out that is there.
func TestUnlistedEntry(t *testing.T) {
	b := newStore(t).Bucket()
	key := func(seq int) string { return fmt.Sprintf("envs/dev/log/%010d.json", seq) }
	s, err := store.Open(t.Context(), unlisted{b, key(2)})
	if err != nil {
		t.Fatal(err)
	}
	log := s.Log("envs/dev")
	var head store.Entry
	for range 4 {
		link := log.Next(head)
		payload, err := json.Marshal(link)
		if err == nil {
			head, err = log.Append(t.Context(), link, payload)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	read := func() (seqs []int64, err error) {
		for e, err := range log.All(t.Context()) {
			if err != nil {
				return seqs, err
			}
			seqs = append(seqs, e.Seq)
		}
		return seqs, nil
	}
	if got, err := log.Head(t.Context(), 0); err != nil || got.Digest != head.Digest {
		t.Errorf("Head = %+v, %v; want step 4", got, err)
	}
	if seqs, err := read(); err != nil || fmt.Sprint(seqs) != "[1 2 3 4]" {
		t.Errorf("All = %v, %v", seqs, err)
	}
	if err := b.Delete(t.Context(), key(2)); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Head(t.Context(), 0); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "entry 3 follows entry 1") {
		t.Errorf("Head of a log with a gap = %v", err)
	}
	if seqs, err := read(); !errors.Is(err, store.ErrCorrupt) || len(seqs) != 1 {
		t.Errorf("All of a log with a gap = %v, %v", seqs, err)
	}
}
