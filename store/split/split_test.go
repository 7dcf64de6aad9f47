package split_test

import (
	"testing"

	"piimg/store"
	"piimg/store/mem"
	"piimg/store/split"
	"piimg/store/storetest"
)

func TestBucket(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Bucket { return split.New(mem.New(), mem.New()) })
}

// Logs are in the one bucket and everything else in the other, and what lies in the wrong
// one is not seen.
func TestWhereThingsAre(t *testing.T) {
	content, logs := mem.New(), mem.New()
	b := split.New(content, logs)
	for _, key := range []string{"boards/a/log/1", "envs/prod/log/1", "blobs/x", "envsx", "piimg-store.json"} {
		if err := b.Put(t.Context(), key, store.Bytes([]byte(key))); err != nil {
			t.Fatal(err)
		}
	}
	for key, in := range map[string]store.Bucket{"envs/wrong": content, "blobs/wrong": logs} {
		if err := in.Put(t.Context(), key, store.Bytes(nil)); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]store.Bucket{"boards/a/log/1": logs, "envs/prod/log/1": logs, "blobs/x": content, "envsx": content, "piimg-store.json": content}
	seen := 0
	for info, err := range b.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := want[info.Key].Stat(t.Context(), info.Key); err != nil {
			t.Errorf("%s: %v", info.Key, err)
		}
		seen++
	}
	if seen != len(want) {
		t.Errorf("%d keys listed, want %d", seen, len(want))
	}
}
