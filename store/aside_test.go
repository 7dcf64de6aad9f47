package store_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
)

// TestAside: what collections and repairs set aside is known again, and nothing else is.
func TestAside(t *testing.T) {
	blob := store.BlobKey(store.Sum([]byte("kernel")))
	image := store.RecordKey(store.Sum([]byte("image")))
	damaged := store.Sum([]byte("kernal"))
	for _, key := range []string{
		blob, image, "oci-layout", "envs/prod/log/0000000007.json", "boards/91cdf03d/log/0000000001.json", "yanked/log/0000000001.json",
		"cache/steps/ab/" + damaged.Hex() + ".json", "cache/scopes/pr/last/x.json",
	} {
		at := store.DamagedKey(key, damaged)
		if a, ok := store.ParseAside(at); !ok || !cmp.Equal(a, store.Aside{Of: key, Damaged: true}) || !strings.HasPrefix(at, store.AsidePrefix(key)) {
			t.Errorf("ParseAside(%s) = %+v, %v", at, a, ok)
		}
	}
	if a, ok := store.ParseAside(store.CollectedKey(blob)); !ok || !cmp.Equal(a, store.Aside{Of: blob}) {
		t.Errorf("what a collection has set aside: %+v, %v", a, ok)
	}
	for name, key := range map[string]string{
		"a blob in its place":         blob,
		"without a suffix":            "quarantine/" + blob,
		"with another suffix":         "quarantine/" + blob + ".old",
		"with too few digits":         "quarantine/" + blob + ".239f3898f5b",
		"with capital digits":         "quarantine/" + blob + ".239F3898F5B4",
		"a record that was collected": store.CollectedKey(image),
		"a note of somebody":          "quarantine/notes.gc",
		"a name that is no digest":    store.DamagedKey(blob[:len(blob)-1], damaged),
		"a pin":                       store.DamagedKey("pins/golden.json", damaged),
		"a log without an entry":      store.DamagedKey("envs/prod/log/7.json", damaged),
		"nothing":                     "quarantine/.239f3898f5b4",
		"no more than the folder":     "quarantine/",
		"another folder":              "quarantined/" + blob + ".gc",
	} {
		if a, ok := store.ParseAside(key); ok {
			t.Errorf("%s: ParseAside(%s) = %+v", name, key, a)
		}
	}
}
