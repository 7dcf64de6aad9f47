package fsck_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
	"piimg/store/disk"
	"piimg/store/fsck"
	"piimg/store/mem"
)

func TestCleanStore(t *testing.T) {
	folder, err := disk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]store.Bucket{"mem": mem.New(), "disk": folder} {
		w := newWorld(t, b)
		before := w.objects()
		r := w.check()
		if len(r.Findings) > 0 {
			t.Errorf("%s: %q", name, told(r))
		}
		// Two configs, manifests, overlays and kernels; a base and a firmware.
		if r.Images != 2 || r.Envs != 2 || r.Boards != 1 || r.Steps != 4 || r.Blobs != 10 || r.Read != 10 || r.Objects != len(before) {
			t.Errorf("%s: %+v", name, r)
		}
		if diff := cmp.Diff(before, w.objects()); diff != "" {
			t.Errorf("%s: the check changed the store, before -, after +:\n%s", name, diff)
		}
	}
}

// Each damage is told with what it is and whom it hits, and nothing else is.
func TestDamage(t *testing.T) {
	log := func(n int) string { return fmt.Sprintf("envs/prod/log/%010d.json", n) }
	tests := map[string]func(w *world) (want []string){
		"gone": func(w *world) []string {
			w.remove(w.key("kernel8.img", "v2"))
			return []string{"missing " + w.key("kernel8.img", "v2") + " kernel8.img prod[2]! 91cdf03d"}
		},
		"cut short": func(w *world) []string {
			w.cut(w.key("overlay", "v1"), 7)
			return []string{"wrong size " + w.key("overlay", "v1") + " initramfs.gz dev[1]! prod[1]"}
		},
		"empty, and in both images": func(w *world) []string {
			w.cut(w.key("start4.elf", "v1"), 0)
			return []string{"wrong size " + w.key("start4.elf", "") + " start4.elf start4.elf dev[1]! prod[1 2]! 91cdf03d"}
		},
		"flipped": func(w *world) []string {
			w.flip(w.key("kernel8.img", "v1"))
			return []string{"wrong bytes " + w.key("kernel8.img", "v1") + " kernel8.img dev[1]! prod[1]"}
		},
		"flipped, and no image needs it": func(w *world) []string {
			c := store.Bytes([]byte("orphan"))
			w.put(store.BlobKey(c.Digest), []byte("orphaN"))
			return []string{"wrong bytes " + store.BlobKey(c.Digest)}
		},
		"manifest flipped": func(w *world) []string {
			w.flip(store.BlobKey(w.images[0]))
			return []string{"wrong bytes " + store.BlobKey(w.images[0]) + " manifest dev[1]! prod[1]"}
		},
		"manifest gone": func(w *world) []string {
			w.remove(store.BlobKey(w.images[1]))
			return []string{"missing " + store.BlobKey(w.images[1]) + " manifest prod[2]! 91cdf03d"}
		},
		"record torn": func(w *world) []string {
			w.cut(store.RecordKey(w.images[1]), 20)
			return []string{"malformed " + store.RecordKey(w.images[1]) + " record prod[2]! 91cdf03d"}
		},
		"record gone": func(w *world) []string {
			w.remove(store.RecordKey(w.images[1]))
			return []string{"missing " + store.RecordKey(w.images[1]) + " record prod[2]! 91cdf03d"}
		},
		"log with a gap": func(w *world) []string {
			w.remove(log(1))
			return []string{"missing " + log(1) + " prod[]! 91cdf03d"}
		},
		"log torn at its end": func(w *world) []string {
			w.cut(log(2), 30)
			return []string{"malformed " + log(2) + " prod[]! 91cdf03d"}
		},
		"log with another history": func(w *world) []string {
			w.put(log(1), w.get("envs/dev/log/0000000001.json"))
			return []string{"malformed " + log(1) + " prod[]! 91cdf03d", "broken chain " + log(2) + " prod[]! 91cdf03d"}
		},
		"log rewritten below its head": func(w *world) []string {
			doc := strings.Replace(string(w.get(log(1))), "eyJ", "eyAi", 1)
			w.put(log(1), []byte(doc))
			return []string{"malformed " + log(1) + " prod[]! 91cdf03d"}
		},
		"log with what is no entry": func(w *world) []string {
			w.put("envs/prod/log/note.txt", nil)
			return []string{"malformed envs/prod/log/note.txt prod[]! 91cdf03d"}
		},
		"log of a board": func(w *world) []string {
			w.cut("boards/91cdf03d/log/0000000001.json", 10)
			return []string{"malformed boards/91cdf03d/log/0000000001.json 91cdf03d"}
		},
		"finished step": func(w *world) []string {
			key := store.Sum([]byte("step v1")).Hex()
			key = "cache/steps/" + key[:2] + "/" + key + ".json"
			w.cut(key, 40)
			return []string{"malformed " + key}
		},
		"oci-layout": func(w *world) []string {
			w.put("oci-layout", []byte("{}"))
			return []string{"malformed oci-layout"}
		},
		"a stranger": func(w *world) []string {
			w.put("readme.txt", nil)
			w.put("blobs/sha256/abc", nil)
			return []string{"unknown blobs/sha256/abc", "unknown readme.txt"}
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, mem.New())
			want := damage(w)
			if diff := cmp.Diff(want, told(w.check())); diff != "" {
				t.Errorf("findings, want -, got +:\n%s", diff)
			}
		})
	}
}

// An entry that is well formed and follows another one than is there was rewritten.
func TestForkedLog(t *testing.T) {
	w, other := newWorld(t, mem.New()), newWorld(t, mem.New())
	if _, err := promote(t.Context(), other.store, "test", other.images[1]); err != nil {
		t.Fatal(err)
	}
	for n, d := range []store.Digest{w.images[1], w.images[0]} { // the other way round
		if _, err := promote(t.Context(), other.store, "stage", d); err != nil {
			t.Fatal(err)
		}
		if _, err := promote(t.Context(), w.store, "stage", w.images[n]); err != nil {
			t.Fatal(err)
		}
	}
	w.put("envs/stage/log/0000000001.json", other.get("envs/stage/log/0000000001.json"))
	r := w.check()
	if got := told(r); len(got) != 1 || !strings.HasPrefix(got[0], "broken chain envs/stage/log/0000000002.json stage") {
		t.Errorf("findings %q", got)
	}
	if text := r.Findings[0].Text; !strings.HasSuffix(text, "; the log is whole up to entry 1") {
		t.Errorf("%s", text)
	}
}

// An image that only old steps name may have been collected: that is told, and no damage.
func TestCollectedImageIsNoDamage(t *testing.T) {
	w := newWorld(t, mem.New())
	if _, err := promote(t.Context(), w.store, "dev", w.images[1]); err != nil {
		t.Fatal(err)
	}
	w.remove(store.RecordKey(w.images[0]))
	w.remove(w.key("overlay", "v1"))
	r := w.check()
	if len(r.Findings) > 0 || r.Images != 1 {
		t.Errorf("findings %q of %d images", told(r), r.Images)
	}
	w.remove(store.BlobKey(w.images[0]))
	if r := w.check(); len(r.Findings) > 0 || r.Gone != 1 {
		t.Errorf("findings %q, %d images not kept", told(r), r.Gone)
	}
}

// The store is used meanwhile: what was written after it was listed is no damage, nor what
// was collected.
func TestStoreInUse(t *testing.T) {
	w := newWorld(t, mem.New())
	late := map[string]bool{w.key("kernel8.img", "v2"): true, store.RecordKey(w.images[1]): true, store.BlobKey(w.images[1]): true}
	s := w.open(odd{Bucket: w.store.Bucket(), list: func(i store.Info) bool { return !late[i.Key] }})
	r, err := fsck.Check(t.Context(), s, fsck.Options{Read: fsck.All()})
	if err != nil || len(r.Findings) > 0 {
		t.Errorf("of what came late: %q, %v", told(r), err)
	}
	orphan := store.Bytes([]byte("orphan"))
	w.put(store.BlobKey(orphan.Digest), []byte("orphan"))
	s = w.open(odd{Bucket: w.store.Bucket(), get: func(key string) error {
		if key == store.BlobKey(orphan.Digest) {
			return errAbsent
		}
		return nil
	}})
	if r, err = fsck.Check(t.Context(), s, fsck.Options{Read: fsck.All()}); err != nil || len(r.Findings) > 0 {
		t.Errorf("of what went: %q, %v", told(r), err)
	}
	// A collector removes the record first, then the manifest, then what only it needs.
	d, err := publish(t.Context(), w.store, "v3")
	if err != nil {
		t.Fatal(err)
	}
	steps := []string{store.RecordKey(d), store.BlobKey(d), w.key("kernel8.img", "v3")}
	kept := map[string][]byte{}
	for _, key := range steps {
		kept[key] = w.get(key)
	}
	for _, when := range []string{steps[0], steps[1], steps[2]} { // the look during which it goes
		for n := range steps {
			for _, key := range steps {
				w.put(key, kept[key])
			}
			var once sync.Once
			s = w.open(odd{Bucket: w.store.Bucket(), get: func(key string) error {
				if key == when {
					once.Do(func() {
						for _, key := range steps[:n+1] {
							w.remove(key)
						}
					})
				}
				return nil
			}})
			if r, err = fsck.Check(t.Context(), s, fsck.Options{Read: fsck.All()}); err != nil || len(r.Findings) > 0 {
				t.Errorf("of an image of which %d objects go at %s: %q, %v", n+1, when, told(r), err)
			}
		}
	}
}

func (w *world) open(b store.Bucket) *store.Store {
	w.t.Helper()
	s, err := store.Open(w.t.Context(), b)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// What cannot be read is not called damaged, unless the disk says so; a store that cannot
// be reached is given up.
func TestUnreadable(t *testing.T) {
	w := newWorld(t, mem.New())
	fail := func(want error, keys ...string) *store.Store {
		return w.open(odd{Bucket: w.store.Bucket(), get: func(key string) error {
			if len(keys) == 0 && strings.HasPrefix(key, "blobs/") || slices.Contains(keys, key) {
				return want
			}
			return nil
		}})
	}
	for want, s := range map[string]*store.Store{
		"unchecked " + w.key("base", "all") + " initramfs.gz initramfs.gz dev[1]! prod[1 2]! 91cdf03d":  fail(errNet, w.key("base", "all")),
		"unreadable " + w.key("base", "all") + " initramfs.gz initramfs.gz dev[1]! prod[1 2]! 91cdf03d": fail(syscall.EIO, w.key("base", "all")),
		"unchecked envs/prod/log/0000000002.json prod[]! 91cdf03d":                                      fail(errNet, "envs/prod/log/0000000002.json"),
	} {
		r, err := fsck.Check(t.Context(), s, fsck.Options{Read: fsck.All()})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{want}, told(r)); diff != "" {
			t.Errorf("findings, want -, got +:\n%s", diff)
		}
		if damaged := len(r.Damaged()) > 0; damaged != strings.HasPrefix(want, "unreadable") {
			t.Errorf("%s: damaged: %v", want, damaged)
		}
	}
	for n := range 30 {
		w.put(store.BlobKey(store.Sum([]byte{byte(n)})), []byte{byte(n)})
	}
	if _, err := fsck.Check(t.Context(), fail(errNet), fsck.Options{Read: fsck.All()}); !errors.Is(err, errNet) {
		t.Errorf("Check of a store that is away = %v; want its error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fsck.Check(ctx, w.store, fsck.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Check = %v; want context.Canceled", err)
	}
}

// untrusted says of one image and one step that nobody has signed them.
type untrusted struct{ image store.Digest }

func (u untrusted) Image(_ context.Context, d store.Digest) error {
	if d == u.image {
		return errors.New("nobody has signed it")
	}
	return nil
}

func (u untrusted) Entry(_ context.Context, name string, e store.Entry) error {
	if name == "prod" && e.Seq == 2 {
		return errors.New("nobody has signed it")
	}
	return nil
}

func TestSignatures(t *testing.T) {
	w := newWorld(t, mem.New())
	r := w.check(fsck.Options{Signatures: untrusted{w.images[0]}})
	want := []string{
		"bad signature " + store.BlobKey(w.images[0]) + " manifest dev[1]! prod[1]",
		"bad signature envs/prod/log/0000000002.json prod[]! 91cdf03d",
	}
	if diff := cmp.Diff(want, told(r)); diff != "" {
		t.Errorf("findings, want -, got +:\n%s", diff)
	}
	if err := fsck.Repair(t.Context(), w.store, r, fsck.RepairOptions{}); err != nil || len(r.Damaged()) != 2 {
		t.Errorf("Repair = %v, %q left", err, told(r))
	}
	all, err := fsck.Image(t.Context(), w.store, w.images[0], fsck.Options{Signatures: untrusted{w.images[0]}})
	if err != nil || all[1].Path != "signature" || all[1].OK {
		t.Errorf("Image = %+v, %v; want a bad signature", all, err)
	}
}

func TestSamples(t *testing.T) {
	w := newWorld(t, mem.New())
	read := func(text string) int {
		s, err := fsck.ParseSample(text)
		if err != nil {
			t.Fatal(err)
		}
		return w.check(fsck.Options{Read: s}).Read
	}
	for text, want := range map[string]int{"all": 10, "100%": 10, "50%": 5, "0.1%": 1, "11%": 2, "1/1": 10} {
		if got := read(text); got != want {
			t.Errorf("%s of 10 blobs = %d; want %d", text, got, want)
		}
	}
	if got := read("1/3") + read("2/3") + read("3/3"); got != 10 {
		t.Errorf("all three thirds of 10 blobs = %d; want 10", got)
	}
	for _, text := range []string{"", "5", "0%", "101%", "NaN%", "-1%", "0/3", "4/3", "1/0", "1/", "x"} {
		if _, err := fsck.ParseSample(text); err == nil {
			t.Errorf("ParseSample(%q) succeeded", text)
		}
	}
}

func TestProgress(t *testing.T) {
	w := newWorld(t, mem.New())
	var last fsck.Progress
	seen := map[string]bool{}
	w.check(fsck.Options{Read: fsck.All(), Progress: func(p fsck.Progress) { last = p; seen[p.Doing] = true }})
	if !last.Bytes || last.Done != last.Total || last.Total == 0 || len(seen) != 7 {
		t.Errorf("last %+v of %v", last, seen)
	}
}

func TestImage(t *testing.T) {
	w := newWorld(t, mem.New())
	verdicts := func() (bad []string) {
		all, err := fsck.Image(t.Context(), w.store, w.images[0], fsck.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range all {
			if !v.OK {
				bad = append(bad, v.Path+": "+v.Text)
			}
		}
		return bad
	}
	if bad := verdicts(); len(bad) > 0 {
		t.Errorf("of a good image: %q", bad)
	}
	kernel := w.key("kernel8.img", "v1")
	good := w.get(kernel)
	w.flip(kernel)
	w.remove(w.key("overlay", "v1"))
	bad := verdicts()
	if len(bad) != 2 || !strings.HasPrefix(bad[0], "initramfs.gz: missing: ") || !strings.Contains(bad[1], "kernel8.img: read ") {
		t.Errorf("%q", bad)
	}
	w.put(kernel, good)
	w.flip(store.BlobKey(w.images[0]))
	if bad := verdicts(); len(bad) != 1 || !strings.HasPrefix(bad[0], "manifest: ") {
		t.Errorf("%q", bad)
	}
	if _, err := fsck.Image(t.Context(), w.store, store.Sum(nil), fsck.Options{}); err == nil {
		t.Error("an image that is not there was verified")
	}
	s := w.open(odd{Bucket: w.store.Bucket(), get: func(string) error { return nil }})
	if _, err := fsck.Image(t.Context(), s, w.images[1], fsck.Options{}); err != nil {
		t.Error(err)
	}
}

// An image whose parts are right and in the wrong order is not what it says.
func TestImageOfRightPartsThatAreWrongTogether(t *testing.T) {
	w := newWorld(t, mem.New())
	i, err := w.store.Image(t.Context(), w.images[0])
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(i.Files[0].Parts)
	d, err := w.store.PutImage(t.Context(), *i, store.Record{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	all, err := fsck.Image(t.Context(), w.store, d, fsck.Options{})
	if err != nil || all[2].OK || !strings.Contains(all[2].Text, "its parts are right, and together they hash to") {
		t.Errorf("%+v, %v", all, err)
	}
}
