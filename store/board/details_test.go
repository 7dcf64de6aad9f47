package board_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"piimg/store"
	"piimg/store/board"
	"piimg/store/mem"
)

var details = board.Details{
	Labels:    map[string]string{"role": "kiosk", "rack": "a1"},
	Vars:      map[string]string{"hostname": "kiosk-7"},
	Also:      []board.ID{"e4-5f-01-09-02-f7"},
	Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("192.0.2.7")},
}

func open(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Init(t.Context(), mem.New())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What a board is and what it runs change independently of each other.
func TestDetails(t *testing.T) {
	s := open(t)
	set := func(o board.Options) board.Assignment {
		t.Helper()
		o.Actor = "alice"
		a, err := board.Set(t.Context(), s, "91cdf03d", o)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := set(board.Options{Keep: true, Details: &details})
	if a.Mode != board.Unset || a.Labels["role"] != "kiosk" || a.Addresses[0] != netip.MustParseAddr("192.0.2.7") {
		t.Errorf("described: %+v", a)
	}
	if a = set(board.Options{Env: "prod"}); a.Env != "prod" || a.Vars["hostname"] != "kiosk-7" {
		t.Errorf("assigned: %+v", a)
	}
	if a = set(board.Options{Mode: board.Off}); a.Mode != board.Off || len(a.Also) != 1 {
		t.Errorf("switched off: %+v", a)
	}
	if a = set(board.Options{Keep: true, Details: &details}); !a.Unchanged || a.Mode != board.Off {
		t.Errorf("described the same: %+v", a)
	}
	if a = set(board.Options{Keep: true, Details: &board.Details{}}); a.Mode != board.Off || a.Labels != nil {
		t.Errorf("described with nothing: %+v", a)
	}
}

func TestDetailsThatAreRefused(t *testing.T) {
	s := open(t)
	for want, d := range map[string]board.Details{
		"label":          {Labels: map[string]string{"Role": "x"}},
		"label \"role\"": {Labels: map[string]string{"role": "a b"}},
		"variable":       {Vars: map[string]string{"host-name": "x"}},
		"more than 1024": {Vars: map[string]string{"x": strings.Repeat("x", 1025)}},
		"x":              {Vars: map[string]string{"x": "a\nb"}},
		"no other name":  {Also: []board.ID{"91cdf03d"}},
		"is no other":    {Also: []board.ID{"E4:5F:01:09:02:F7"}},
		"no address":     {Addresses: []netip.Addr{{}}},
	} {
		if _, err := board.Set(t.Context(), s, "91cdf03d", board.Options{Keep: true, Details: &d, Actor: "alice"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", d, err, want)
		}
	}
}

// A snapshot reads what is new, and one broken log costs its own board.
func TestSnapshot(t *testing.T) {
	s := open(t)
	for _, id := range []board.ID{"00000001", "00000002", "dc-a6-32-01-02-03"} {
		if _, err := board.Set(t.Context(), s, id, board.Options{Env: "prod", Actor: "alice"}); err != nil {
			t.Fatal(err)
		}
	}
	first, err := board.Snapshot(t.Context(), s, nil)
	if err != nil || len(first) != 3 || first["dc-a6-32-01-02-03"].Env != "prod" {
		t.Fatalf("snapshot: %v, %v", first, err)
	}
	if _, err := board.Set(t.Context(), s, "00000001", board.Options{Env: "dev", Actor: "alice"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Bucket().Create(t.Context(), "boards/00000002/log/0000000002.json", []byte("{")); err != nil {
		t.Fatal(err)
	}
	second, err := board.Snapshot(t.Context(), s, first)
	if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "00000002") {
		t.Errorf("snapshot with a broken log: %v", err)
	}
	want := map[board.ID]string{"00000001": "dev", "00000002": "prod", "dc-a6-32-01-02-03": "prod"}
	got := map[board.ID]string{}
	for id, a := range second {
		got[id] = a.Env
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
}

// slow is a bucket in which nothing is read before several readers wait, or whose reads end
// with cancel after so many.
type slow struct {
	store.Bucket
	together int
	arrived  chan struct{}
	reads    atomic.Int64
	last     int64
	cancel   func()
}

func (b *slow) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if strings.HasPrefix(key, "boards/") {
		if b.reads.Add(1) == b.last {
			b.cancel()
		}
		b.arrived <- struct{}{}
		for len(b.arrived) < b.together {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			runtime.Gosched()
		}
	}
	return b.Bucket.Get(ctx, key, off, n)
}

// A snapshot reads many logs at a time, and goes on where one was broken off.
func TestSnapshotOfAFleet(t *testing.T) {
	const boards = 100
	s := open(t)
	for n := range boards {
		if _, err := board.Set(t.Context(), s, board.ID(fmt.Sprintf("%08x", n)), board.Options{Env: "prod", Actor: "alice"}); err != nil {
			t.Fatal(err)
		}
	}
	slowly := func(b *slow) *store.Store {
		b.Bucket, b.arrived = s.Bucket(), make(chan struct{}, 2*boards)
		opened, err := store.Open(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		return opened
	}
	whole, err := board.Snapshot(t.Context(), slowly(&slow{together: 8}), nil)
	if err != nil || len(whole) != boards {
		t.Fatalf("%d boards, %v", len(whole), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	part, err := board.Snapshot(ctx, slowly(&slow{last: boards / 2, cancel: cancel}), nil)
	if !errors.Is(err, context.Canceled) || len(part) == 0 || len(part) == boards {
		t.Fatalf("broken off: %d boards, %v", len(part), err)
	}
	rest := &slow{}
	again, err := board.Snapshot(t.Context(), slowly(rest), part)
	if err != nil || len(again) != boards || rest.reads.Load() != int64(boards-len(part)) {
		t.Errorf("%d boards with %d reads after %d, %v", len(again), rest.reads.Load(), len(part), err)
	}
}

// A name that several boards claim is that of one of them, always the same.
func TestNames(t *testing.T) {
	all := map[board.ID]board.Assignment{}
	for id, also := range map[board.ID][]board.ID{
		"00000003": {"e4-5f-01-09-02-f7", "00000001"}, "00000002": {"e4-5f-01-09-02-f7"}, "00000001": {"e4-5f-01-09-02-f8"},
	} {
		all[id] = board.Assignment{Board: id, Details: board.Details{Also: also}}
	}
	for name, want := range map[board.ID]board.ID{
		"e4-5f-01-09-02-f7": "00000002", "e4-5f-01-09-02-f8": "00000001", "00000001": "00000001", "00000003": "00000003",
	} {
		for range 20 { // maps are gone through in another order each time
			if id, a, ok := board.Find(all, name); id != want || a.Board != want || !ok {
				t.Fatalf("%s is %s, %+v, %v, want %s", name, id, a, ok, want)
			}
		}
	}
	if id, _, ok := board.Find(all, "0000000f"); id != "0000000f" || ok {
		t.Errorf("a board that nobody has named is %s, %v", id, ok)
	}
}
