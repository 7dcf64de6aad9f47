package mem_test

import (
	"testing"

	"piimg/store"
	"piimg/store/mem"
	"piimg/store/storetest"
)

func TestBucket(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Bucket { return mem.New() })
}

func TestCreateKeepsItsOwnBytes(t *testing.T) {
	b, doc := mem.New(), []byte("before")
	if err := b.Create(t.Context(), "a", doc); err != nil {
		t.Fatal(err)
	}
	copy(doc, "after!")
	if err := b.Create(t.Context(), "a", []byte("before")); err != nil {
		t.Errorf("Create(same bytes) = %v after the caller's slice was changed; want nil", err)
	}
}
