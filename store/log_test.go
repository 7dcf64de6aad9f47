package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
	"piimg/store/mem"
)

// step is the payload of the tests' logs.
type step struct {
	store.Link
	Text string `json:"text"`
}

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Init(t.Context(), mem.New())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func appendStep(t *testing.T, l store.Log, head store.Entry, text string) (store.Entry, error) {
	t.Helper()
	link := l.Next(head)
	payload, err := json.Marshal(step{link, text})
	if err != nil {
		t.Fatal(err)
	}
	return l.Append(t.Context(), link, payload)
}

// newLog has n entries, and returns them.
func newLog(t *testing.T, s *store.Store, n int) (store.Log, []store.Entry) {
	t.Helper()
	l := s.Log("envs/dev")
	entries := make([]store.Entry, 1, n+1)
	for i := range n {
		e, err := appendStep(t, l, entries[i], fmt.Sprint("step ", i+1))
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	return l, entries[1:]
}

func all(t *testing.T, l store.Log) ([]store.Entry, error) {
	t.Helper()
	var entries []store.Entry
	for e, err := range l.All(t.Context()) {
		if err != nil {
			return entries, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func entryKey(seq int) string { return fmt.Sprintf("envs/dev/log/%010d.json", seq) }

func TestLog(t *testing.T) {
	l, want := newLog(t, newStore(t), 12)
	got, err := all(t, l)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("All, want what Append returned -, got +:\n%s", diff)
	}
	for hint := range int64(13) {
		head, err := l.Head(t.Context(), hint)
		if diff := cmp.Diff(want[11], head); err != nil || diff != "" {
			t.Errorf("Head(%d) = %v, want -, got +:\n%s", hint, err, diff)
		}
	}
	for _, seq := range []int64{1, 7, 12} {
		e, err := l.At(t.Context(), seq)
		if diff := cmp.Diff(want[seq-1], e); err != nil || diff != "" {
			t.Errorf("At(%d) = %v, want -, got +:\n%s", seq, err, diff)
		}
	}
	for _, seq := range []int64{0, 13, 1e12} {
		if _, err := l.At(t.Context(), seq); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("At(%d) = %v; want fs.ErrNotExist", seq, err)
		}
	}
}

func TestLogEnvelope(t *testing.T) {
	s := newStore(t)
	newLog(t, s, 1)
	const want = `{"payload":"eyJzZXEiOjEsInByZXYiOiIiLCJ0ZXh0Ijoic3RlcCAxIn0=","sigs":[]}`
	if got := object(t, s.Bucket(), entryKey(1)); got != want {
		t.Errorf("stored entry = %s; want %s", got, want)
	}
}

func TestEmptyLog(t *testing.T) {
	l := newStore(t).Log("envs/dev")
	if _, err := l.Head(t.Context(), 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Head of an empty log = %v; want fs.ErrNotExist", err)
	}
	if got, err := all(t, l); err != nil || len(got) != 0 {
		t.Errorf("All of an empty log = %v, %v; want nothing", got, err)
	}
}

func TestLogConflict(t *testing.T) {
	l, entries := newLog(t, newStore(t), 3)
	again, err := appendStep(t, l, entries[1], "step 3")
	if diff := cmp.Diff(entries[2], again); err != nil || diff != "" {
		t.Errorf("the same Append again = %v; want the same entry:\n%s", err, diff)
	}
	if _, err := appendStep(t, l, entries[1], "other"); !errors.Is(err, store.ErrConflict) {
		t.Errorf("Append of another entry 3 = %v; want ErrConflict", err)
	}
	if head, err := l.Head(t.Context(), 0); err != nil || head.Digest != entries[2].Digest {
		t.Errorf("Head after a conflict = %+v, %v; want entry 3 as it was", head, err)
	}
}

func TestAppendRefuses(t *testing.T) {
	s := newStore(t)
	l, entries := newLog(t, s, 1)
	link := l.Next(entries[0])
	payload := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	tests := []struct {
		name    string
		link    store.Link
		payload []byte
	}{
		{"no JSON", link, []byte("x")},
		{"no link", link, []byte("{}")},
		{"another number", link, payload(step{store.Link{Seq: 3, Prev: link.Prev}, ""})},
		{"another predecessor", link, payload(step{store.Link{Seq: 2}, ""})},
		{"number 0", store.Link{}, payload(step{})},
		{"number below 0", store.Link{Seq: -1}, payload(step{store.Link{Seq: -1}, ""})},
		{"too long to be read", link, payload(step{link, strings.Repeat("x", 256<<10)})},
	}
	for _, tt := range tests {
		if e, err := l.Append(t.Context(), tt.link, tt.payload); err == nil {
			t.Errorf("%s: Append = %+v; want an error", tt.name, e)
		}
	}
	if head, err := l.Head(t.Context(), 0); err != nil || head.Seq != 1 {
		t.Errorf("Head = %d, %v; want 1", head.Seq, err)
	}
}

// TestDamagedLog damages entry 2 of 4.
func TestDamagedLog(t *testing.T) {
	replace := func(doc string) func(*testing.T, store.Bucket) {
		return func(t *testing.T, b store.Bucket) { putObject(t, b, entryKey(2), doc) }
	}
	tests := []struct {
		name   string
		damage func(*testing.T, store.Bucket)
		head   bool // whether Head finds it
		at     bool // whether At(2) does
	}{
		{"gap", func(t *testing.T, b store.Bucket) { deleteObject(t, b, entryKey(2)) }, true, true},
		{"empty", replace(""), false, true},
		{"torn", func(t *testing.T, b store.Bucket) {
			doc := object(t, b, entryKey(2))
			putObject(t, b, entryKey(2), doc[:len(doc)/2])
		}, false, true},
		{"no payload", replace(`{"sigs":[]}`), false, true},
		{"payload is no base64", replace(`{"payload":"*","sigs":[]}`), false, true},
		{"entry of another place", func(t *testing.T, b store.Bucket) {
			putObject(t, b, entryKey(2), object(t, b, entryKey(1)))
		}, false, true},
		{"written anew", func(t *testing.T, b store.Bucket) {
			doc := object(t, b, entryKey(2))
			putObject(t, b, entryKey(2), strings.Replace(doc, `"sigs":[]`, `"sigs":[ ]`, 1))
		}, false, false},
		{"too long", replace(strings.Repeat(" ", 257<<10)), false, true},
		{"another object between", func(t *testing.T, b store.Bucket) {
			putObject(t, b, "envs/dev/log/0000000002.json.bak", "x")
		}, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore(t)
			l, _ := newLog(t, s, 4)
			tt.damage(t, s.Bucket())
			got, err := all(t, l)
			if !damage(err) || len(got) > 2 {
				t.Errorf("All = %d entries, %v; want the damage found", len(got), err)
			}
			wantOneLine(t, err)
			if _, err := l.Head(t.Context(), 0); damage(err) != tt.head {
				t.Errorf("Head = %v; damage found: want %v", err, tt.head)
			}
			_, err = l.At(t.Context(), 2)
			if damage(err) != tt.at {
				t.Errorf("At(2) = %v; damage found: want %v", err, tt.at)
			}
			wantOneLine(t, err)
		})
	}
}

func wantOneLine(t *testing.T, err error) {
	t.Helper()
	if err != nil && strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q is longer than a line", err)
	}
}

func damage(err error) bool {
	return errors.Is(err, store.ErrCorrupt) || errors.Is(err, fs.ErrNotExist)
}

func TestLogs(t *testing.T) {
	s := newStore(t)
	for _, name := range []string{"prod", "prod-eu", "prod0", "prod.x", "dev", "staging"} {
		l := s.Log("envs/" + name)
		head := store.Entry{}
		for range 3 {
			e, err := appendStep(t, l, head, name)
			if err != nil {
				t.Fatal(err)
			}
			head = e
		}
	}
	for _, key := range []string{"envs/readme", "envs/none/other/x.json", "envs/zz", "boards/b/log/0000000001.json"} {
		putObject(t, s.Bucket(), key, "x")
	}
	got, err := s.Logs(t.Context(), "envs")
	want := []string{"dev", "prod", "prod-eu", "prod.x", "prod0", "staging"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Logs(envs) = %v, want -, got +:\n%s", err, diff)
	}
	if got, err := s.Logs(t.Context(), "none"); err != nil || len(got) != 0 {
		t.Errorf("Logs(none) = %q, %v; want nothing", got, err)
	}
}

// FuzzDecodeEntry: whatever an envelope holds, it is an entry or ErrCorrupt, and what was
// read is read again from what is written of it.
func FuzzDecodeEntry(f *testing.F) {
	doc, err := store.EncodeEntry([]byte(`{"seq":1,"prev":"","text":"x"}`), []store.Sig{{KeyID: "k", SSHSig: "s"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(doc)
	f.Add([]byte(`{"payload":"e30=","sigs":null}`))
	f.Add([]byte(`{"payload":"eyJzZXEiOi0xfQ==","sigs":[{}]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		e, link, err := store.DecodeEntry(doc)
		if err != nil {
			if !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("%v does not wrap ErrCorrupt", err)
			}
			return
		}
		again, err := store.EncodeEntry(e.Payload, e.Sigs)
		if err != nil {
			return // base64 of another spelling may make it longer
		}
		e2, link2, err := store.DecodeEntry(again)
		if err != nil || link2 != link || e.Seq != link.Seq || string(e2.Payload) != string(e.Payload) || len(e2.Sigs) != len(e.Sigs) {
			t.Errorf("%+v, then %+v, %v", e, e2, err)
		}
	})
}
