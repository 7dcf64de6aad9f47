package storetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
)

// mixed are keys in the order that List has to yield them. A folder's keys do not come
// where its name would: "-" and "." are before "/", and digits after it.
var mixed = []string{
	"a-b", "a-b.json", "a.json", "a/b-c", "a/b/c", "a/b/d.json", "a/b0", "a/c", "a0/b", "a_/b", "ab/c",
	"b", "images/00ff.json", "images/01.json", "z/y/x/w",
}

func listOrder(t *testing.T, b store.Bucket) {
	for _, key := range slices.Backward(mixed) {
		put(t, b, key, []byte(key))
	}
	if diff := cmp.Diff(mixed, list(t, b, "", "")); diff != "" {
		t.Errorf("List, want -, got +:\n%s", diff)
	}
	for info, err := range b.List(t.Context(), "", "") {
		if err != nil || info.Size != int64(len(info.Key)) || info.Time.IsZero() {
			t.Errorf("List yields %+v, %v; want %d bytes and a time", info, err, len(info.Key))
		}
	}
}

// listPrefixAfter tries each prefix with each start, keys and others.
func listPrefixAfter(t *testing.T, b store.Bucket) {
	for _, key := range mixed {
		put(t, b, key, []byte(key))
	}
	strange := []string{
		"", "a", "a/", "a/b", "a/b/", "a/b/c", "a-", "a.", "a0", "a/b~", "a/~", "i", "images/", "images/0", "images/00",
		"zz", "~", "/", "//", "../", "a/../", ".", "tmp/", "A", "nothing/", "b/", "a b",
	}
	afters := slices.Concat(strange, mixed)
	for _, prefix := range slices.Concat(strange, mixed) {
		for _, after := range afters {
			var want []string
			for _, key := range mixed {
				if len(key) >= len(prefix) && key[:len(prefix)] == prefix && key > after {
					want = append(want, key)
				}
			}
			if diff := cmp.Diff(want, list(t, b, prefix, after)); diff != "" {
				t.Errorf("List(%q, %q), want -, got +:\n%s", prefix, after, diff)
			}
		}
	}
}

// listPages has more objects than one answer of S3 holds, and reads them in pages.
func listPages(t *testing.T, b store.Bucket) {
	const objects, page = 1200, 500
	var want []string
	for n := range objects {
		want = append(want, fmt.Sprintf("log/%010d.json", n+1))
	}
	putAll(t, b, want)
	if diff := cmp.Diff(want, list(t, b, "log/", "")); diff != "" {
		t.Errorf("List, want -, got +:\n%s", diff)
	}
	var got []string
	for after := ""; ; after = got[len(got)-1] {
		n := 0
		for info, err := range b.List(t.Context(), "log/", after) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, info.Key)
			if n++; n == page {
				break
			}
		}
		if n < page {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("List in pages of %d, want -, got +:\n%s", page, diff)
	}
}

func listChanges(t *testing.T, b store.Bucket) {
	if got := list(t, b, "", ""); len(got) != 0 {
		t.Errorf("List of an empty bucket = %q", got)
	}
	put(t, b, "a/1", nil)
	put(t, b, "a/2", nil)
	wantList(t, b, "a/1", "a/2")
	if err := b.Delete(t.Context(), "a/1"); err != nil {
		t.Fatal(err)
	}
	wantList(t, b, "a/2")
	if err := b.Create(t.Context(), "a/3", nil); err != nil {
		t.Fatal(err)
	}
	wantList(t, b, "a/2", "a/3")
	// A caller that deletes what it lists, as a collection does, sees each once.
	var seen []string
	for info, err := range b.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, info.Key)
		if err := b.Delete(t.Context(), info.Key); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"a/2", "a/3"}, seen); diff != "" {
		t.Errorf("List with deletions, want -, got +:\n%s", diff)
	}
	wantList(t, b)
}

func listStops(t *testing.T, b store.Bucket) {
	for _, key := range mixed {
		put(t, b, key, nil)
	}
	all := b.List(t.Context(), "", "")
	for range 2 { // a sequence may be run again
		for info, err := range all {
			if err != nil || info.Key != mixed[0] {
				t.Errorf("List starts with %q, %v; want %q", info.Key, err, mixed[0])
			}
			break
		}
	}
}
