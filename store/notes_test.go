package store_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"piimg/store"
)

func TestNotes(t *testing.T) {
	s := newStore(t)
	key, other := store.Sum([]byte("key")), store.Sum([]byte("other"))
	if err := s.Notes("lint").Put(t.Context(), key, []string{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := s.Notes("lint").Get(t.Context(), key, &got); err != nil || strings.Join(got, " ") != "a b" {
		t.Errorf("Get = %q, %v", got, err)
	}
	for _, err := range []error{s.Notes("lint").Get(t.Context(), other, &got), s.Notes("size").Get(t.Context(), key, &got)} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what nobody remembered: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Notes("lint").Get(ctx, other, &got); !errors.Is(err, context.Canceled) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("cancelled: %v", err)
	}
}

// Whatever is wrong with a note, the answer is that there is none.
func TestNoteMisses(t *testing.T) {
	key, other := store.Sum([]byte("key")), store.Sum([]byte("other"))
	name := func(k store.Digest) string { return "cache/lint/" + k.Hex()[:2] + "/" + k.Hex() + ".json" }
	for what, damage := range map[string]func(string) string{
		"empty":      func(string) string { return "" },
		"half":       func(doc string) string { return doc[:len(doc)/2] },
		"too long":   func(doc string) string { return doc + strings.Repeat(" ", 4<<20) },
		"wrong type": func(doc string) string { return strings.Replace(doc, `["a"]`, `{"a":1}`, 1) },
		"of another": func(doc string) string { return strings.Replace(doc, key.Hex(), other.Hex(), 1) },
	} {
		s := newStore(t)
		if err := s.Notes("lint").Put(t.Context(), key, []string{"a"}); err != nil {
			t.Fatal(err)
		}
		putObject(t, s.Bucket(), name(key), damage(object(t, s.Bucket(), name(key))))
		var got []string
		if err := s.Notes("lint").Get(t.Context(), key, &got); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
}
