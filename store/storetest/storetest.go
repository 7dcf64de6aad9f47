// Package storetest holds the contract of every bucket as a test. A bucket's own test
// is the call of Run, and what only that bucket promises:
//
//	func TestBucket(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) store.Bucket { return mem.New() })
//	}
//
// That objects survive a crash cannot be seen from here: a bucket tests it by itself.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"piimg/store"
)

// Run tests that the buckets that open returns keep the contract of [store.Bucket], one
// subtest a promise. Each subtest opens an empty bucket of its own and calls it from
// many goroutines. With -short there are fewer rounds.
func Run(t *testing.T, open func(t *testing.T) store.Bucket) {
	promises := []struct {
		name string
		test func(*testing.T, store.Bucket)
	}{
		{"put and get", putAndGet},
		{"put replaces", putReplaces},
		{"ranges", ranges},
		{"stat", stat},
		{"absent objects", absentObjects},
		{"bad keys", badKeys},
		{"wrong content is not stored", wrongContent},
		{"failing content is not stored", failingContent},
		{"racing puts are never torn", racingPuts},
		{"create", create},
		{"racing creates have one winner", racingCreates},
		{"delete", deletes},
		{"list order", listOrder},
		{"list prefix and after", listPrefixAfter},
		{"list pages", listPages},
		{"list follows changes", listChanges},
		{"list stops early", listStops},
		{"cancelled context", cancelled},
	}
	for _, p := range promises {
		t.Run(p.name, func(t *testing.T) { p.test(t, open(t)) })
	}
}

func putAndGet(t *testing.T, b store.Bucket) {
	for _, want := range [][]byte{[]byte("kernel"), {}, random(3<<20 + 17)} {
		c := store.Bytes(want)
		key := store.BlobKey(c.Digest)
		put(t, b, key, want)
		if got := get(t, b, key); !bytes.Equal(got, want) {
			t.Errorf("Get(%s) = %d bytes; want the %d that were put", key, len(got), len(want))
		}
	}
}

func putReplaces(t *testing.T, b store.Bucket) {
	for _, want := range []string{"first", "a longer second", "3", ""} {
		put(t, b, "cache/x", []byte(want))
		if got := get(t, b, "cache/x"); string(got) != want {
			t.Errorf("Get after Put(%q) = %q", want, got)
		}
	}
}

func ranges(t *testing.T, b store.Bucket) {
	put(t, b, "a/b", []byte("0123456789"))
	put(t, b, "a/empty", nil)
	tests := []struct {
		key    string
		off, n int64
		want   string
	}{
		{"a/b", 0, -1, "0123456789"},
		{"a/b", 0, 10, "0123456789"},
		{"a/b", 0, 1, "0"},
		{"a/b", 3, 4, "3456"},
		{"a/b", 3, -1, "3456789"},
		{"a/b", 3, -7, "3456789"},
		{"a/b", 9, 1, "9"},
		{"a/b", 8, 100, "89"},
		{"a/b", 0, 1 << 62, "0123456789"},
		{"a/b", 4, 0, ""},
		{"a/b", 0, 0, ""},
		{"a/b", 10, -1, ""},
		{"a/b", 10, 5, ""},
		{"a/b", 10, 0, ""},
		{"a/empty", 0, -1, ""},
		{"a/empty", 0, 9, ""},
	}
	for _, tt := range tests {
		got, err := read(t.Context(), b, tt.key, tt.off, tt.n)
		if err != nil || string(got) != tt.want {
			t.Errorf("Get(%s, %d, %d) = %q, %v; want %q", tt.key, tt.off, tt.n, got, err, tt.want)
		}
	}
	for _, off := range []int64{11, 1 << 40, -1} {
		if got, err := read(t.Context(), b, "a/b", off, -1); err == nil {
			t.Errorf("Get(a/b, %d, -1) = %q; want an error", off, got)
		}
	}
}

func stat(t *testing.T, b store.Bucket) {
	put(t, b, "a/b", []byte("12345"))
	if err := b.Create(t.Context(), "a/c", []byte("123")); err != nil {
		t.Fatal(err)
	}
	for key, size := range map[string]int64{"a/b": 5, "a/c": 3} {
		info, err := b.Stat(t.Context(), key)
		if err != nil || info.Key != key || info.Size != size || info.Time.IsZero() {
			t.Errorf("Stat(%s) = %+v, %v; want that key, %d bytes and a time", key, info, err, size)
		}
	}
}

func absentObjects(t *testing.T, b store.Bucket) {
	put(t, b, "a/b/c", []byte("x"))
	// The folder of a key is no object, nor is anything below an object.
	for _, key := range []string{"z", "a/z", "a", "a/b", "a/b/c/d", "a/b/c/d/e"} {
		if _, err := b.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Stat(%s) = %v; want fs.ErrNotExist", key, err)
		}
		if _, err := read(t.Context(), b, key, 0, -1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Get(%s) = %v; want fs.ErrNotExist", key, err)
		}
	}
}

func badKeys(t *testing.T, b store.Bucket) {
	ctx := t.Context()
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "../a", "./a", "a/.", ".hidden", "a/.hidden",
		"A", "a/B", "ä", "a b", "a\\b", "a\x00b", "a\nb", "a%2fb", "-a", "a/-b", "a:b", "a*", "a?b", "a#b", "~",
		"tmp", "tmp/a", strings.Repeat("a", 129), strings.Repeat("a/", 256) + "a",
	} {
		refused := map[string]error{
			"Put":    b.Put(ctx, key, store.Bytes(nil)),
			"Create": b.Create(ctx, key, nil),
			"Delete": b.Delete(ctx, key),
		}
		_, refused["Get"] = read(ctx, b, key, 0, -1)
		_, refused["Stat"] = b.Stat(ctx, key)
		for method, err := range refused {
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s(%q) = %v; want the key refused", method, key, err)
			}
		}
	}
	if got := list(t, b, "", ""); len(got) != 0 {
		t.Errorf("List = %q after refused keys; want nothing", got)
	}
}

func wrongContent(t *testing.T, b store.Bucket) {
	right := []byte("the right bytes")
	c := store.Bytes(right)
	tests := []struct {
		name  string
		wrong store.Content
	}{
		{"too short", content(c.Digest, c.Size, right[:5])},
		{"empty", content(c.Digest, c.Size, nil)},
		{"too long", content(c.Digest, c.Size, append(bytes.Clone(right), "!"...))},
		{"a bit flipped", content(c.Digest, c.Size, []byte("the right bytdS"))},
		{"size too small", content(c.Digest, c.Size-1, right)},
		{"size too large", content(c.Digest, c.Size+1, right)},
		{"size negative", content(c.Digest, -1, right)},
		{"digest of others", content(store.Sum([]byte("other")), c.Size, right)},
	}
	put(t, b, "blobs/old", []byte("old"))
	for _, tt := range tests {
		for _, key := range []string{"blobs/new", "blobs/old"} {
			if err := b.Put(t.Context(), key, tt.wrong); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("%s: Put(%s) = %v; want ErrCorrupt", tt.name, key, err)
			}
		}
	}
	wantOnly(t, b, "blobs/old", "old")
}

func failingContent(t *testing.T, b store.Bucket) {
	broken := errors.New("the disk is gone")
	right := store.Bytes([]byte("the right bytes"))
	noOpen, noRead := right, right
	noOpen.Open = func() (io.ReadCloser, error) { return nil, broken }
	noRead.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("the right"), failingReader{broken})), nil
	}
	put(t, b, "blobs/old", []byte("old"))
	for name, c := range map[string]store.Content{"Open fails": noOpen, "Read fails midway": noRead} {
		for _, key := range []string{"blobs/new", "blobs/old"} {
			if err := b.Put(t.Context(), key, c); !errors.Is(err, broken) {
				t.Errorf("%s: Put(%s) = %v; want the content's error", name, key, err)
			}
		}
	}
	wantOnly(t, b, "blobs/old", "old")
}

func racingPuts(t *testing.T, b store.Bucket) {
	const writers = 4
	stop := make(chan struct{})
	var all sync.WaitGroup
	versions := map[string]bool{}
	for n := range writers {
		doc := bytes.Repeat([]byte{byte('a' + n)}, 200_000+n)
		versions[string(doc)] = true
		if n == 0 {
			put(t, b, "cache/x", doc)
		}
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := b.Put(t.Context(), "cache/x", store.Bytes(doc)); err != nil {
					t.Errorf("Put = %v", err)
					return
				}
			}
		})
	}
	for range rounds(60) {
		if got, err := read(t.Context(), b, "cache/x", 0, -1); err != nil || !versions[string(got)] {
			t.Errorf("Get = %d bytes, %v; want what one of the writers put", len(got), err)
		}
	}
	close(stop)
	all.Wait()
}

func create(t *testing.T, b store.Bucket) {
	ctx := t.Context()
	for _, key := range []string{"a/1", "a/2"} {
		for range 3 {
			if err := b.Create(ctx, key, []byte("entry of "+key)); err != nil {
				t.Errorf("Create(%s) = %v; want nil, the first time and again", key, err)
			}
		}
	}
	put(t, b, "a/put", []byte("entry"))
	tests := []struct {
		key, doc string
		want     error
	}{
		{"a/1", "entry of a/2", store.ErrConflict},
		{"a/1", "entry of a/", store.ErrConflict},
		{"a/1", "entry of a/1 and more", store.ErrConflict},
		{"a/1", "", store.ErrConflict},
		{"a/1", "entry of a/1", nil},
		{"a/put", "entry", nil},
		{"a/put", "other", store.ErrConflict},
		{"a/empty", "", nil},
		{"a/empty", "", nil},
		{"a/empty", "x", store.ErrConflict},
	}
	for _, tt := range tests {
		if err := b.Create(ctx, tt.key, []byte(tt.doc)); !errors.Is(err, tt.want) {
			t.Errorf("Create(%s, %q) = %v; want %v", tt.key, tt.doc, err, tt.want)
		}
	}
	if got := get(t, b, "a/1"); string(got) != "entry of a/1" {
		t.Errorf("Get(a/1) = %q; want what was created first", got)
	}
}

// racingCreates is what every log rests on: whoever is told that a slot is theirs finds
// their bytes in it, and nobody finds others.
func racingCreates(t *testing.T, b store.Bucket) {
	const racers = 16
	for round := range rounds(50) {
		key := fmt.Sprintf("envs/dev/log/%010d.json", round+1)
		var errs [racers]error
		var seen [racers][]byte
		start := make(chan struct{})
		var all sync.WaitGroup
		for n := range racers {
			all.Go(func() {
				<-start
				errs[n] = b.Create(t.Context(), key, entry(round, n))
				seen[n], _ = read(t.Context(), b, key, 0, -1)
			})
		}
		close(start)
		all.Wait()
		winner := -1
		for n, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("round %d: %d and %d both created %s", round, winner, n, key)
			case err == nil:
				winner = n
			case !errors.Is(err, store.ErrConflict):
				t.Fatalf("round %d: Create = %v; want nil or ErrConflict", round, err)
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody created %s", round, key)
		}
		for n := range racers {
			if !bytes.Equal(seen[n], entry(round, winner)) {
				t.Fatalf("round %d: %d saw %.20q after its Create; want the winner's bytes", round, n, seen[n])
			}
		}
	}
}

func entry(round, racer int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "round %d racer %d\n", round, racer), 100)
}

func deletes(t *testing.T, b store.Bucket) {
	ctx := t.Context()
	put(t, b, "a/b", []byte("1"))
	put(t, b, "a/c", []byte("2"))
	for _, key := range []string{"a/b", "a/b", "never", "a", "a/c/d"} {
		if err := b.Delete(ctx, key); err != nil {
			t.Errorf("Delete(%s) = %v; want nil", key, err)
		}
	}
	wantOnly(t, b, "a/c", "2")
	if err := b.Create(ctx, "a/b", []byte("3")); err != nil {
		t.Errorf("Create after Delete = %v; want nil", err)
	}
}

// cancelled expects every method to answer the context's error, and no object to
// appear.
func cancelled(t *testing.T, b store.Bucket) {
	put(t, b, "a/b", []byte("old"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	errs := map[string]error{
		"Put":    b.Put(ctx, "a/c", store.Bytes([]byte("new"))),
		"Create": b.Create(ctx, "a/d", []byte("new")),
		"Delete": b.Delete(ctx, "a/b"),
	}
	_, errs["Get"] = read(ctx, b, "a/b", 0, -1)
	_, errs["Stat"] = b.Stat(ctx, "a/b")
	for _, err := range b.List(ctx, "", "") {
		errs["List"] = err
	}
	for _, method := range []string{"Put", "Create", "Delete", "Get", "Stat", "List"} {
		if !errors.Is(errs[method], context.Canceled) {
			t.Errorf("%s with a cancelled context = %v; want context.Canceled", method, errs[method])
		}
	}
	cancelledMidway(t, b)
	wantOnly(t, b, "a/b", "old")
}

// cancelledMidway ends the context while content is being read for a Put.
func cancelledMidway(t *testing.T, b store.Bucket) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	doc := random(4 << 20)
	c := store.Bytes(doc)
	c.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(doc[:1<<20]), callReader{cancel}, bytes.NewReader(doc[1<<20:]))), nil
	}
	if err := b.Put(ctx, "a/c", c); !errors.Is(err, context.Canceled) {
		t.Errorf("Put whose context ends midway = %v; want context.Canceled", err)
	}
}
