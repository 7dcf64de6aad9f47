package board_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
	"piimg/store/board"
	"piimg/store/mem"
	"piimg/store/yank"
)

func TestParseID(t *testing.T) {
	tests := map[string]board.ID{
		"3d1d1c36":           "3d1d1c36",
		"3D1D1C36":           "3d1d1c36",
		"0x3d1d1c36":         "3d1d1c36",
		"0X3D1D1C36":         "3d1d1c36",
		"100000003d1d1c36":   "3d1d1c36",
		"10000000 3d1d1c36":  "",
		"0x100000003d1d1c36": "3d1d1c36",
		"DC-A6-32-01-02-03":  "dc-a6-32-01-02-03",
		"dc-a6-32-01-02-03":  "dc-a6-32-01-02-03",
		"dc:a6:32:01:02:03":  "dc-a6-32-01-02-03",
		"DC:A6:32:01:02:03":  "dc-a6-32-01-02-03",
		"dca632010203":       "dc-a6-32-01-02-03",
		"DCA632010203":       "dc-a6-32-01-02-03",

		"":                            "",
		"0x":                          "",
		"0x0x3d1d1c36":                "",
		"3d1d1c3":                     "",
		"3d1d1c367":                   "",
		"3d1d1c3g":                    "",
		"100000003d1d1c3":             "",
		"0000000100000003d1d1c36":     "",
		"0xdca632010203":              "",
		"dc:a6-32:01:02:03":           "",
		"dc:a632:01:02:03":            "",
		"dc-a6-32-01-02":              "",
		"dc-a6-32-01-02-03-04":        "",
		"01-dc-a6-32-01-02-03":        "",
		"dc_a6_32_01_02_03":           "",
		"3d1d1c36/":                   "",
		"../3d1d1c36":                 "",
		"3d1d1c36\n":                  "",
		" 3d1d1c36":                   "",
		"prod":                        "",
		"٣d1d1c36":                    "",
		strings.Repeat("3d1d1c36", 8): "",
	}
	for in, want := range tests {
		got, err := board.ParseID(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("ParseID(%q) = %q, %v; want %q", in, got, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), "dc-a6-32-01-02-03") {
			t.Errorf("ParseID(%q) = %v; want the error to say what is allowed", in, err)
		}
	}
}

// FuzzParseID: an id is its own spelling, and safe in a key.
func FuzzParseID(f *testing.F) {
	for _, s := range []string{"3d1d1c36", "0x100000003D1D1C36", "DC:A6:32:01:02:03", "dca632010203"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := board.ParseID(s)
		if err != nil {
			return
		}
		if again, err := board.ParseID(string(id)); err != nil || again != id {
			t.Errorf("ParseID(%q) = %q, and of this %q, %v", s, id, again, err)
		}
		if err := store.CheckKey("boards/" + string(id)); err != nil {
			t.Error(err)
		}
	})
}

func newStore(t *testing.T) (*store.Store, store.Digest) {
	t.Helper()
	s, err := store.Init(t.Context(), mem.New())
	if err != nil {
		t.Fatal(err)
	}
	c := store.Bytes([]byte("{}"))
	if _, err := s.Blobs().Put(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	d, err := s.PutImage(t.Context(), store.Image{
		Name: "test", Config: c.Blob(), Files: []store.File{store.NewFile("kernel8.img", 0o644, c.Blob())},
	}, store.Record{})
	if err != nil {
		t.Fatal(err)
	}
	return s, d
}

func TestSetAndGet(t *testing.T) {
	s, image := newStore(t)
	const id = board.ID("3d1d1c36")
	if _, err := board.Get(t.Context(), s, id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get before Set = %v; want fs.ErrNotExist", err)
	}
	tests := []struct {
		o         board.Options
		seq       int64
		unchanged bool
	}{
		{board.Options{Env: "prod", Actor: "alice"}, 1, false},
		{board.Options{Env: "prod", Actor: "bob", Mode: board.Net}, 1, true},
		{board.Options{Image: image, Actor: "alice", Reason: "a test"}, 2, false},
		{board.Options{Image: image, Actor: "alice"}, 2, true},
		{board.Options{Mode: board.Local, Actor: "alice"}, 3, false},
		{board.Options{Mode: board.Local, Actor: "alice"}, 3, true},
		{board.Options{Env: "prod", Actor: "alice"}, 4, false},
	}
	for _, tt := range tests {
		set, err := board.Set(t.Context(), s, id, tt.o)
		if err != nil || set.Seq != tt.seq || set.Unchanged != tt.unchanged {
			t.Errorf("Set(%+v) = %+v, %v; want step %d, unchanged %v", tt.o, set, err, tt.seq, tt.unchanged)
		}
		set.Unchanged = false
		got, err := board.Get(t.Context(), s, id)
		if diff := cmp.Diff(set, got); err != nil || diff != "" {
			t.Errorf("Get after Set(%+v) = %v, want -, got +:\n%s", tt.o, err, diff)
		}
	}
}

// TestGolden holds what is stored, to the byte.
func TestGolden(t *testing.T) {
	s, image := newStore(t)
	fixed := board.Options{
		Actor: "alice", Reason: "new rack",
		Now:   func() time.Time { return time.Date(2026, 11, 22, 19, 4, 5, 999, time.FixedZone("CET", 3600)) },
		Nonce: func() string { return "NONCE" },
	}
	const tail = `"actor":"alice","reason":"new rack","time":"2026-11-22T18:04:05Z","nonce":"NONCE"}`
	tests := []struct {
		id     board.ID
		change func(*board.Options)
		want   string
	}{
		{"3d1d1c36", func(o *board.Options) { o.Env = "prod" },
			`{"seq":1,"prev":"","v":1,"board":"3d1d1c36","mode":"net","env":"prod",` + tail},
		{"dc-a6-32-01-02-03", func(o *board.Options) { o.Image = image },
			`{"seq":1,"prev":"","v":1,"board":"dc-a6-32-01-02-03","mode":"net","image":"` + image.String() + `",` + tail},
		{"00000000", func(o *board.Options) { o.Mode = board.Local },
			`{"seq":1,"prev":"","v":1,"board":"00000000","mode":"local",` + tail},
	}
	for _, tt := range tests {
		o := fixed
		tt.change(&o)
		if _, err := board.Set(t.Context(), s, tt.id, o); err != nil {
			t.Fatal(err)
		}
		stored, err := s.Log("boards/"+string(tt.id)).Head(t.Context(), 0)
		if diff := cmp.Diff(tt.want, string(stored.Payload)); err != nil || diff != "" {
			t.Errorf("payload = %v, want -, got +:\n%s", err, diff)
		}
	}
	got, err := board.List(t.Context(), s)
	if want := []board.ID{"00000000", "3d1d1c36", "dc-a6-32-01-02-03"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("List = %q, %v; want %q", got, err, want)
	}
}

func TestSetRefuses(t *testing.T) {
	s, image := newStore(t)
	tests := []struct {
		name   string
		id     board.ID
		o      board.Options
		target error
		text   string
	}{
		{"neither", "3d1d1c36", board.Options{Actor: "x"}, nil, "one of the two"},
		{"both", "3d1d1c36", board.Options{Env: "prod", Image: image, Actor: "x"}, nil, "one of the two"},
		{"local with env", "3d1d1c36", board.Options{Mode: board.Local, Env: "prod", Actor: "x"}, nil, "no environment and no image"},
		{"local with image", "3d1d1c36", board.Options{Mode: board.Local, Image: image, Actor: "x"}, nil, "no environment and no image"},
		{"mode", "3d1d1c36", board.Options{Mode: "usb", Env: "prod", Actor: "x"}, nil, `mode "usb" is none of net, local, off, unset`},
		{"no actor", "3d1d1c36", board.Options{Env: "prod"}, nil, "the actor is empty"},
		{"escape in actor", "3d1d1c36", board.Options{Env: "prod", Actor: "x\x1b[2J"}, nil, "the actor has the control character U+001B"},
		{"tab in reason", "3d1d1c36", board.Options{Env: "prod", Actor: "x", Reason: "a\tb"}, nil, "the reason has the control character U+0009"},
		{"bad env", "3d1d1c36", board.Options{Env: "beef", Actor: "x"}, nil, `environment "beef"`},
		{"other spelling", "3D1D1C36", board.Options{Env: "prod", Actor: "x"}, nil, "not the id of a board"},
		{"traversal", "../envs/prod", board.Options{Env: "prod", Actor: "x"}, nil, "not the id of a board"},
		{"no such image", "3d1d1c36", board.Options{Image: store.Sum(nil), Actor: "x"}, fs.ErrNotExist, store.Sum(nil).Short()},
		{"a blob", "3d1d1c36", board.Options{Image: store.Sum([]byte("{}")), Actor: "x"}, store.ErrCorrupt, "manifest"},
	}
	for _, tt := range tests {
		_, err := board.Set(t.Context(), s, tt.id, tt.o)
		if err == nil || (tt.target != nil && !errors.Is(err, tt.target)) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: Set = %v; want %q in the error, which wraps %v", tt.name, err, tt.text, tt.target)
		}
	}
	if err := s.Bucket().Delete(t.Context(), store.BlobKey(store.Sum([]byte("{}")))); err != nil {
		t.Fatal(err)
	}
	if _, err := board.Set(t.Context(), s, "3d1d1c36", board.Options{Image: image, Actor: "x"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Set of an incomplete image = %v; want fs.ErrNotExist", err)
	}
	if got, err := board.List(t.Context(), s); err != nil || len(got) != 0 {
		t.Errorf("List = %q, %v; want none", got, err)
	}
	if _, err := board.Get(t.Context(), s, "../envs/prod"); err == nil {
		t.Error("Get took a path for a board")
	}
}

func TestRacingSets(t *testing.T) {
	s, _ := newStore(t)
	const racers = 16
	var mu sync.Mutex
	winners := map[int64]string{}
	var all sync.WaitGroup
	for n := range racers {
		all.Go(func() {
			a, err := board.Set(t.Context(), s, "3d1d1c36", board.Options{Env: fmt.Sprintf("rack-%d", n), Actor: fmt.Sprint(n)})
			if errors.Is(err, store.ErrConflict) && strings.Contains(err.Error(), "(rack-") {
				return
			}
			if err != nil {
				t.Errorf("Set = %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if other, twice := winners[a.Seq]; twice {
				t.Errorf("%s and %s were both told that step %d is theirs", other, a.Actor, a.Seq)
			}
			winners[a.Seq] = a.Actor
		})
	}
	all.Wait()
	head, err := board.Get(t.Context(), s, "3d1d1c36")
	if err != nil || head.Seq != int64(len(winners)) || winners[head.Seq] != head.Actor {
		t.Errorf("Get = %+v, %v; want the last of the winners %v", head, err, winners)
	}
}

func TestRefusedEntries(t *testing.T) {
	good := board.Assignment{Version: 1, Board: "3d1d1c36", Mode: board.Net, Env: "prod", Actor: "x"}
	tests := map[string]func(*board.Assignment){
		"newer version":    func(a *board.Assignment) { a.Version = 2 },
		"of another board": func(a *board.Assignment) { a.Board = "00000000" },
		"unknown mode":     func(a *board.Assignment) { a.Mode = "usb" },
		"nothing to run":   func(a *board.Assignment) { a.Env = "" },
	}
	for name, change := range tests {
		s, _ := newStore(t)
		l := s.Log("boards/3d1d1c36")
		a := good
		change(&a)
		a.Link = l.Next(store.Entry{})
		payload, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Append(t.Context(), a.Link, payload); err != nil {
			t.Fatal(err)
		}
		if got, err := board.Get(t.Context(), s, "3d1d1c36"); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: Get = %+v, %v; want it refused", name, got, err)
		}
	}
}

// TestErrorsOfALog: each is one line, and names the board once.
func TestErrorsOfALog(t *testing.T) {
	const id, key = board.ID("3d1d1c36"), "boards/3d1d1c36/log/0000000001.json"
	wrongType := `{"payload":"` + base64.StdEncoding.EncodeToString([]byte(`{"seq":1,"prev":"","v":"one"}`)) + `","sigs":[]}`
	tests := []struct{ name, key, doc, want string }{
		{"never set", "boards/x", "", "board 3d1d1c36 was never set: file does not exist"},
		{"no envelope", key, "nonsense", "read boards/3d1d1c36/log/0000000001.json: corrupt: invalid character"},
		{"a stray object", key + ".bak", "", "list boards/3d1d1c36: boards/3d1d1c36/log/0000000001.json.bak is no log entry"},
		{"a gap", "boards/3d1d1c36/log/0000000002.json", "", "list boards/3d1d1c36: entry 2 follows entry 0"},
		{"wrong type", key, wrongType, "board 3d1d1c36: step 1: corrupt: json"},
	}
	for _, tt := range tests {
		s, _ := newStore(t)
		if err := s.Bucket().Put(t.Context(), tt.key, store.Bytes([]byte(tt.doc))); err != nil {
			t.Fatal(err)
		}
		_, get := board.Get(t.Context(), s, id)
		_, history := board.History(t.Context(), s, id)
		for name, err := range map[string]error{"Get": get, "History": history} {
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %s = %v; want %s", tt.name, name, err, tt.want)
			}
		}
	}
}

// TestDamagedNeighbour: a broken log stays listed, and no other board suffers.
func TestDamagedNeighbour(t *testing.T) {
	s, _ := newStore(t)
	ids := []board.ID{"00000000", "3d1d1c36"}
	for _, id := range ids {
		if _, err := board.Set(t.Context(), s, id, board.Options{Env: "prod", Actor: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Bucket().Put(t.Context(), "boards/00000000/log/0000000001.json", store.Bytes([]byte("nonsense"))); err != nil {
		t.Fatal(err)
	}
	if got, err := board.List(t.Context(), s); err != nil || !slices.Equal(got, ids) {
		t.Errorf("List = %q, %v; want %q", got, err, ids)
	}
	if _, err := board.Get(t.Context(), s, "00000000"); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Get of the broken log = %v; want ErrCorrupt", err)
	}
	if got, err := board.Get(t.Context(), s, "3d1d1c36"); err != nil || got.Env != "prod" {
		t.Errorf("Get of the other = %+v, %v; want prod", got, err)
	}
}

// TestLostToNonsense: somebody else came first, with an entry that cannot be read.
func TestLostToNonsense(t *testing.T) {
	s, _ := newStore(t)
	s, err := store.Open(t.Context(), beaten{s.Bucket(), "boards/3d1d1c36/log/0000000001.json"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = board.Set(t.Context(), s, "3d1d1c36", board.Options{Env: "prod", Actor: "x"})
	const want = "who came first is not known: read boards/3d1d1c36/log/0000000001.json: corrupt"
	if !errors.Is(err, store.ErrConflict) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("Set = %v; want ErrConflict and %s", err, want)
	}
}

// beaten is a bucket where somebody else always creates key first, with nonsense.
type beaten struct {
	store.Bucket
	key string
}

func (b beaten) Create(ctx context.Context, key string, doc []byte) error {
	if key == b.key {
		if err := b.Put(ctx, key, store.Bytes([]byte("nonsense"))); err != nil {
			return err
		}
	}
	return b.Bucket.Create(ctx, key, doc)
}

// TestOldTexts: an entry from before control characters were refused still counts.
func TestOldTexts(t *testing.T) {
	s, _ := newStore(t)
	l := s.Log("boards/3d1d1c36")
	a := board.Assignment{Link: l.Next(store.Entry{}), Version: 1, Board: "3d1d1c36", Mode: board.Local, Actor: "x", Reason: "a\tb"}
	payload, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), a.Link, payload); err != nil {
		t.Fatal(err)
	}
	if got, err := board.Get(t.Context(), s, "3d1d1c36"); err != nil || !cmp.Equal(got, a) {
		t.Errorf("Get = %+v, %v; want %+v", got, err, a)
	}
}

func TestUnsetAndHistory(t *testing.T) {
	s, err := store.Init(t.Context(), mem.New())
	if err != nil {
		t.Fatal(err)
	}
	const id = board.ID("91cdf03d")
	if _, err := board.History(t.Context(), s, id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("History of a board that was never set = %v", err)
	}
	for _, o := range []board.Options{{Env: "prod"}, {Mode: board.Local}, {Mode: board.Unset}, {Mode: board.Unset}} {
		o.Actor = "alice"
		if _, err := board.Set(t.Context(), s, id, o); err != nil {
			t.Fatal(err)
		}
	}
	steps, err := board.History(t.Context(), s, id)
	var modes []board.Mode
	for _, a := range steps {
		modes = append(modes, a.Mode)
	}
	if d := cmp.Diff([]board.Mode{board.Net, board.Local, board.Unset}, modes); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

// TestYankedImages: no board is set to one.
func TestYankedImages(t *testing.T) {
	s, img := newStore(t)
	if _, err := yank.Set(t.Context(), s, yank.Options{Image: img, Actor: "bob", Reason: "bad"}); err != nil {
		t.Fatal(err)
	}
	_, err := board.Set(t.Context(), s, "3d1d1c36", board.Options{Image: img, Actor: "alice"})
	var yanked *yank.Error
	if !errors.As(err, &yanked) {
		t.Errorf("Set = %v; want a yank.Error", err)
	}
}
