package fsck_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
	"piimg/store/env"
	"piimg/store/fsck"
	"piimg/store/mem"
)

func (w *world) repair(o fsck.RepairOptions) *fsck.Report {
	w.t.Helper()
	r := w.check()
	if err := fsck.Repair(w.t.Context(), w.store, r, o); err != nil {
		w.t.Fatal(err)
	}
	return r
}

func from(name string, s *store.Store) fsck.Source {
	return fsck.Source{Name: name, Blobs: s.Blobs(), Store: s}
}

// wantQuarantined expects n damaged objects to be kept aside.
func (w *world) wantQuarantined(n int) {
	w.t.Helper()
	got := 0
	for key := range w.objects() {
		if strings.HasPrefix(key, "quarantine/") {
			got++
		}
	}
	if got != n {
		w.t.Errorf("%d objects in quarantine, want %d", got, n)
	}
}

// Everything at once comes back from a mirror, to the byte.
func TestRepairFromMirror(t *testing.T) {
	w := newWorld(t, mem.New())
	good, before := w.mirror(), w.objects()
	w.remove(w.key("kernel8.img", "v1"))
	w.cut(w.key("kernel8.img", "v2"), 100)
	w.flip(w.key("base", "all"))
	w.flip(store.BlobKey(w.images[1]))
	w.remove(w.key("overlay", "v2")) // which only the manifest tells
	w.cut(store.RecordKey(w.images[0]), 3)
	w.cut("envs/prod/log/0000000001.json", 0)
	w.put("oci-layout", nil)
	r := w.repair(fsck.RepairOptions{Sources: []fsck.Source{from("empty", newStore(t)), from("mirror", good)}})
	if left := r.Damaged(); len(left) > 0 || len(r.Findings) != 8 {
		t.Errorf("of %d findings these are left: %+v", len(r.Findings), left)
	}
	w.wantQuarantined(6)
	after := w.objects()
	for key, d := range before {
		if after[key] != d {
			t.Errorf("%s is not what it was", key)
		}
	}
	if r := w.check(); len(r.Findings) > 0 {
		t.Errorf("after the repair: %q", told(r))
	}
}

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Init(t.Context(), mem.New())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Nothing but the same bytes is taken, whatever a source calls them.
func TestRepairTakesNoOtherBytes(t *testing.T) {
	w := newWorld(t, mem.New())
	bad := w.mirror()
	kernel := w.key("kernel8.img", "v2")
	for _, doc := range []string{"", "other bytes"} {
		if err := bad.Bucket().Put(t.Context(), kernel, store.Bytes([]byte(doc))); err != nil {
			t.Fatal(err)
		}
		w.flip(kernel)
		r := w.repair(fsck.RepairOptions{
			Sources: []fsck.Source{from("bad", bad)},
			Rebuild: func(ctx context.Context, lost []store.Digest) error {
				if len(lost) != 1 || store.BlobKey(lost[0]) != kernel {
					t.Errorf("to build: %v", lost)
				}
				_, err := w.store.Blobs().Put(ctx, store.Bytes([]byte("what the recipe makes by now")))
				return err
			},
		})
		f := r.Findings[0]
		if len(r.Damaged()) != 1 || !strings.Contains(f.Repair, "no source has it; building anew gave other bytes") {
			t.Errorf("Repair = %q, %s", told(r), f.Repair)
		}
		if doc != "" && !strings.Contains(f.Repair, "bad: ") {
			t.Errorf("what is wrong with the source is not said: %s", f.Repair)
		}
		if got := told(w.check()); len(got) != 1 || !strings.HasPrefix(got[0], "missing "+kernel) {
			t.Errorf("after the repair: %q; want it missing", got)
		}
		w.put(kernel, body("kernel8.img", "v2"))
	}
}

func TestRepairByBuilding(t *testing.T) {
	w := newWorld(t, mem.New())
	w.flip(w.key("overlay", "v1"))
	w.remove(store.BlobKey(w.images[1]))
	w.remove(w.key("kernel8.img", "v2"))
	r := w.repair(fsck.RepairOptions{Rebuild: func(ctx context.Context, lost []store.Digest) error {
		if w.store.Blobs().Verify(ctx, store.Bytes(body("overlay", "v1")).Blob()) == nil {
			t.Error("the damaged overlay is in the way")
		}
		for _, version := range []string{"v1", "v2"} {
			if _, err := publish(ctx, w.store, version); err != nil {
				return err
			}
		}
		return nil
	}})
	if left := r.Damaged(); len(left) > 0 {
		t.Errorf("left: %+v", left)
	}
	if r := w.check(); len(r.Findings) > 0 {
		t.Errorf("after the repair: %q", told(r))
	}
	w.remove(w.key("kernel8.img", "v2"))
	r = w.repair(fsck.RepairOptions{Rebuild: func(context.Context, []store.Digest) error { return errors.New("no compiler") }})
	if f := r.Findings[0]; f.Repaired || !strings.HasSuffix(f.Repair, "building it anew: no compiler") {
		t.Errorf("%+v", f)
	}
}

// A record that is lost says afterwards what is known, and that the rest is not.
func TestRepairRecords(t *testing.T) {
	w := newWorld(t, mem.New())
	w.cut(store.RecordKey(w.images[0]), 9)
	w.remove(store.RecordKey(w.images[1]))
	w.repair(fsck.RepairOptions{})
	for _, d := range w.images {
		r, err := w.store.Record(t.Context(), d)
		if err != nil || r.Name != "test" || !strings.HasPrefix(r.Actor, "unknown") || r.Recipe != "" || r.Time.IsZero() {
			t.Errorf("record = %+v, %v", r, err)
		}
	}
	// One whose image is gone as well says nothing.
	w.cut(store.RecordKey(w.images[0]), 9)
	w.remove(store.BlobKey(w.images[0]))
	if r := w.repair(fsck.RepairOptions{}); len(r.Damaged()) != 2 {
		t.Errorf("%q", told(r))
	}
}

// Row 7 of the fault table: a torn entry, which no crash leaves. It is told, the steps
// before it stay, and nothing is made up in its place.
func TestFaultRow07TornEntry(t *testing.T) {
	const last, first = "envs/prod/log/0000000002.json", "envs/prod/log/0000000001.json"
	for name, tear := range map[string]func(w *world){
		"empty": func(w *world) { w.cut(last, 0) },
		"half":  func(w *world) { w.cut(last, 200) },
		"zeros": func(w *world) { w.put(last, make([]byte, 512)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, mem.New())
			tear(w)
			if _, err := env.Head(t.Context(), w.store, "prod"); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("Head = %v; want ErrCorrupt", err)
			}
			if _, err := promote(t.Context(), w.store, "prod", w.images[0]); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("Promote = %v; want ErrCorrupt", err)
			}
			if _, err := env.Head(t.Context(), w.store, "dev"); err != nil {
				t.Errorf("another environment is hit: %v", err)
			}
			torn := w.get(last)
			r := w.check()
			if text := r.Findings[0].Text; len(r.Findings) != 1 || !strings.HasSuffix(text, "; the log is whole up to entry 1") {
				t.Errorf("%q: %s", told(r), text)
			}
			r = w.repair(fsck.RepairOptions{Sources: []fsck.Source{from("mirror", w.mirror())}})
			if len(r.Damaged()) > 0 || !strings.Contains(r.Findings[0].Repair, "what it said is lost") {
				t.Errorf("%+v", r.Findings)
			}
			w.wantQuarantined(1)
			for key := range w.objects() {
				if strings.HasPrefix(key, "quarantine/") && string(w.get(key)) != string(torn) {
					t.Error("the torn bytes are not kept")
				}
			}
			head, err := env.Head(t.Context(), w.store, "prod")
			if err != nil || head.Seq != 1 || head.Image != w.images[0] {
				t.Errorf("Head after the repair = %+v, %v; want step 1", head, err)
			}
			if e, err := promote(t.Context(), w.store, "prod", w.images[1]); err != nil || e.Seq != 2 {
				t.Errorf("promoting it again = %+v, %v", e, err)
			}
		})
	}
	// One below the head is known by the entry after it, and by nothing else.
	w := newWorld(t, mem.New())
	good := w.mirror()
	right := string(w.get(first))
	w.cut(first, 0)
	if r := w.repair(fsck.RepairOptions{}); len(r.Damaged()) != 1 || string(w.get(first)) != "" {
		t.Errorf("without a source: %+v", r.Findings)
	}
	other := newWorld(t, mem.New()) // another history with the same number
	if _, err := promote(t.Context(), other.store, "other", other.images[1]); err != nil {
		t.Fatal(err)
	}
	other.put(first, other.get("envs/other/log/0000000001.json"))
	if r := w.repair(fsck.RepairOptions{Sources: []fsck.Source{from("other", other.store)}}); len(r.Damaged()) != 1 || string(w.get(first)) != "" {
		t.Errorf("from another history: %+v", r.Findings)
	}
	if r := w.repair(fsck.RepairOptions{Sources: []fsck.Source{from("mirror", good)}}); len(r.Damaged()) != 0 || string(w.get(first)) != right {
		t.Errorf("from a mirror: %+v", r.Findings)
	}
}

// What a newer piimg has written is not torn.
func TestRepairLeavesWhatItDoesNotKnow(t *testing.T) {
	w := newWorld(t, mem.New())
	log := w.store.Log("envs/prod")
	head, err := log.Head(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	payload := `{"seq":3,"prev":"` + head.Digest.String() + `","v":1,"env":"prod","action":"teleport","image":"` + w.images[0].String() + `"}`
	if _, err := log.Append(t.Context(), log.Next(head), []byte(payload)); err != nil {
		t.Fatal(err)
	}
	before := w.objects()
	r := w.repair(fsck.RepairOptions{Sources: []fsck.Source{from("mirror", w.mirror())}})
	if len(r.Findings) != 1 || r.Findings[0].Repaired {
		t.Errorf("%+v", r.Findings)
	}
	if diff := cmp.Diff(before, w.objects()); diff != "" {
		t.Errorf("the repair changed the store, before -, after +:\n%s", diff)
	}
}

// A finished step that is damaged goes, and so does content that nothing needs.
func TestRepairOfWhatCostsNothing(t *testing.T) {
	w := newWorld(t, mem.New())
	key := store.Sum([]byte("step v1"))
	w.cut("cache/steps/"+key.Hex()[:2]+"/"+key.Hex()+".json", 5)
	orphan := store.Bytes([]byte("orphan"))
	w.put(store.BlobKey(orphan.Digest), []byte("orphaN"))
	if r := w.repair(fsck.RepairOptions{}); len(r.Damaged()) > 0 || len(r.Findings) != 2 {
		t.Errorf("%+v", r.Findings)
	}
	w.wantQuarantined(2)
	if r := w.check(); len(r.Findings) > 0 {
		t.Errorf("after the repair: %q", told(r))
	}
}

// Somebody else has written what was damaged since it was looked at.
func TestRepairOfWhatIsRightByNow(t *testing.T) {
	w := newWorld(t, mem.New())
	key := w.key("kernel8.img", "v2")
	w.flip(key)
	r := w.check()
	w.put(key, body("kernel8.img", "v2"))
	if err := fsck.Repair(t.Context(), w.store, r, fsck.RepairOptions{}); err != nil || len(r.Damaged()) > 0 {
		t.Errorf("Repair = %v, %+v", err, r.Findings)
	}
	w.wantQuarantined(0)
}
