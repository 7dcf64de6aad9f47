package split_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/disk"
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

// Row 42 of the fault table: environments that belong to another store are not taken for
// those of this one.
func TestFaultRow42EnvironmentsOfAnotherStore(t *testing.T) {
	logs := mem.New()
	if err := split.Check(t.Context(), logs, "mine"); err != nil {
		t.Errorf("Check of what nobody has claimed = %v", err)
	}
	for range 2 {
		if err := split.Claim(t.Context(), logs, "mine"); err != nil {
			t.Errorf("Claim = %v", err)
		}
	}
	if err := split.Check(t.Context(), logs, "mine"); err != nil {
		t.Errorf("Check = %v", err)
	}
	const want = "these environments are of store mine, not of store other"
	for name, err := range map[string]error{
		"Claim": split.Claim(t.Context(), logs, "other"), "Check": split.Check(t.Context(), logs, "other"),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("%s of another store's = %v; want %s", name, err, want)
		}
	}
	const taken = "these environments are of store mine, not of one that is yet to be made"
	if err := split.Free(t.Context(), logs); err == nil || err.Error() != taken {
		t.Errorf("Free of what is claimed = %v; want %s", err, taken)
	}
	if err := split.Free(t.Context(), mem.New()); err != nil {
		t.Errorf("Free of what nobody has claimed = %v", err)
	}
	if err := logs.Put(t.Context(), "piimg-refs.json", store.Bytes([]byte("{"))); err != nil {
		t.Fatal(err)
	}
	if err := split.Check(t.Context(), logs, "mine"); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Check of a torn claim = %v; want ErrCorrupt", err)
	}
}

// A store keeps its environments where its content is: another one does not take them over,
// unless that was so already.
func TestEnvironmentsOfAStoreAreItsOwn(t *testing.T) {
	logs := mem.New()
	s, err := store.Init(t.Context(), logs)
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"Check": split.Check(t.Context(), logs, "other"),
		"Claim": split.Claim(t.Context(), logs, "other"),
		"Free":  split.Free(t.Context(), logs),
	} {
		if err == nil || !strings.Contains(err.Error(), "are of store "+s.ID()) {
			t.Errorf("%s of what a store has = %v", name, err)
		}
	}
	if err := split.Claim(t.Context(), logs, s.ID()); err != nil {
		t.Errorf("Claim of a store for itself = %v", err)
	}
	if err := logs.Put(t.Context(), "piimg-refs.json", store.Bytes([]byte(`{"store":"other"}`))); err != nil {
		t.Fatal(err)
	}
	if err := split.Check(t.Context(), logs, "other"); err != nil {
		t.Errorf("Check of what other had claimed before = %v", err)
	}
}

// What the one bucket can do and the other cannot is possible where the key is.
func TestMoveWhereItCan(t *testing.T) {
	folder, err := disk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := split.New(folder, mem.New())
	for _, key := range []string{"blobs/a", "pins/a"} {
		if err := b.Put(t.Context(), key, store.Bytes(nil)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Move(t.Context(), "blobs/a", "quarantine/a"); err != nil {
		t.Errorf("within the content: %v", err)
	}
	for from, to := range map[string]string{"pins/a": "pins/b", "quarantine/a": "pins/b"} {
		if err := b.Move(t.Context(), from, to); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("Move(%s, %s) = %v; want ErrUnsupported", from, to, err)
		}
	}
	if n, err := b.Abort(t.Context(), time.Now()); n != 0 || err != nil {
		t.Errorf("Abort = %d, %v", n, err)
	}
	if b.Distant() {
		t.Error("a folder is not far away")
	}
}
