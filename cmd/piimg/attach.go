package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"time"

	"piimg/store"
	"piimg/store/board"
	"piimg/store/open"
	"piimg/store/serve"
)

// How long a store may take to be opened before it counts as away: boards wait meanwhile,
// where there is something to serve.
const (
	openWithin  = 10 * time.Second
	knownWithin = 3 * time.Second
)

// attachment is a store that may be away: a front end that has served it before starts
// without it, and opens it when it is back. It is safe for concurrent use.
type attachment struct {
	id   string // of the store
	open func(context.Context) (*store.Store, error)

	guard *guard // of what boards are given

	mu     sync.Mutex
	store  *store.Store // nil while it is away
	boards map[board.ID]board.Assignment
}

var (
	_ serve.Fleet    = (*attachment)(nil)
	_ serve.Registry = (*attachment)(nil)
	_ serve.Library  = (*attachment)(nil)
	_ serve.Source   = (*attachment)(nil)
)

// attach is a store that is open.
func attach(s *store.Store) *attachment { return &attachment{id: s.ID(), store: s} }

// attach opens the store for a front end whose cache is in dir. One that does not answer is
// the store that was there before, if there was one.
func (a *app) attach(ctx context.Context, dir string) (*attachment, error) {
	where, err := a.location()
	if err != nil {
		return nil, err
	}
	id, known := a.remembered(dir, where)
	patience := openWithin
	if known {
		patience = knownWithin
	}
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err := a.openStore(patient)
	if err == nil {
		return attach(s), a.remember(dir, where, s.ID())
	}
	if ctx.Err() != nil || !a.away(patient, where) || !known && !open.Remote(where) {
		return nil, err
	}
	if !known {
		return nil, hint(err, "a front end that has served this store before starts without it, and serves what it has")
	}
	a.ui.warn("the store is away: serving the last known good images until it is back (%v)", err)
	return &attachment{id: id, open: a.openStore}, nil
}

// away says whether the store does not answer at all, as opposed to an answer that nothing
// can be made of. A folder that is not there, or is empty, may be a disk that is not mounted.
func (a *app) away(ctx context.Context, where string) bool {
	b, err := a.bucket(ctx)
	if err != nil {
		return false
	}
	_, err = b.Stat(ctx, "piimg-store.json")
	if open.Remote(where) && errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return err != nil && !errors.Is(err, fs.ErrPermission)
}

// remembrance is what is kept of a store, to find its cache while it is away.
type remembrance struct {
	Location string `json:"location"` // without secrets
	ID       string `json:"id"`
}

func rememberedFile(dir, where string) string {
	return filepath.Join(dir, "stores", store.Sum([]byte(open.Shown(where))).Hex()+".json")
}

func (a *app) remember(dir, where, id string) error {
	if got, ok := a.remembered(dir, where); ok && got == id {
		return nil
	}
	file := rememberedFile(dir, where)
	doc, err := json.Marshal(remembrance{open.Shown(where), id})
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o755)
	}
	if err == nil {
		err = replaceFile(file, func(w io.Writer) error { _, err := w.Write(doc); return err })
	}
	if err != nil {
		return fmt.Errorf("remember the store: %w", err)
	}
	return nil
}

func (a *app) remembered(dir, where string) (string, bool) {
	var r remembrance
	doc, err := os.ReadFile(rememberedFile(dir, where))
	if err != nil || json.Unmarshal(doc, &r) != nil || r.Location != open.Shown(where) {
		return "", false
	}
	return r.ID, r.ID != ""
}

// get is the store, which is opened where it was away.
func (t *attachment) get(ctx context.Context) (*store.Store, error) {
	t.mu.Lock()
	s := t.store
	t.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := t.open(ctx)
	if err != nil {
		return nil, err
	}
	if s.ID() != t.id {
		return nil, hint(fmt.Errorf("the store that is there now is %s, this front end has served %s: %w", s.ID(), t.id, store.ErrCorrupt),
			"if that is meant, start piimg serve anew")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.store = s
	return s, nil
}

// Board asks nobody.
func (t *attachment) Board(name string) (string, bool) { return fleet{}.Board(name) }

// Assigned is that of the store.
func (t *attachment) Assigned(ctx context.Context, id string) (serve.Assignment, error) {
	s, err := t.get(ctx)
	if err != nil {
		return serve.Assignment{}, unknown{err}
	}
	return fleet{s, t.guard}.Assigned(ctx, id)
}

// Boards is what the store says of each board. Those that cannot be served are left out.
func (t *attachment) Boards(ctx context.Context) (map[string]serve.Assignment, error) {
	s, err := t.get(ctx)
	if err != nil {
		return nil, unknown{err}
	}
	t.mu.Lock()
	before := t.boards
	t.mu.Unlock()
	now, broken := board.Snapshot(ctx, s, before)
	if now == nil {
		return nil, broken
	}
	t.mu.Lock()
	t.boards = now
	t.mu.Unlock()
	if ctx.Err() != nil {
		return nil, broken // the next look goes on from here
	}
	all := map[string]serve.Assignment{}
	for id, a := range now {
		found, err := fleet{s, t.guard}.assignment(ctx, a)
		if err != nil {
			broken = errors.Join(broken, err)
			continue
		}
		all[string(id)] = found
	}
	return all, broken
}

// Head is that of the store.
func (t *attachment) Head(ctx context.Context, env string, good serve.Head) (serve.Head, error) {
	s, err := t.get(ctx)
	if err != nil {
		return serve.Head{}, unknown{err}
	}
	return fleet{s, t.guard}.Head(ctx, env, good)
}

// Referrers are those of the store.
func (t *attachment) Referrers(ctx context.Context, image store.Digest) iter.Seq2[store.Referrer, error] {
	return func(yield func(store.Referrer, error) bool) {
		s, err := t.get(ctx)
		if err != nil {
			yield(store.Referrer{}, unknown{err})
			return
		}
		s.Referrers(ctx, image)(yield)
	}
}

// Find is that of the store.
func (t *attachment) Find(ctx context.Context, d store.Digest) (store.Blob, error) {
	s, err := t.get(ctx)
	if err != nil {
		return store.Blob{}, unknown{err}
	}
	return s.Blobs().Find(ctx, d)
}

// Open is that of the store.
func (t *attachment) Open(ctx context.Context, b store.Blob) (io.ReadCloser, error) {
	s, err := t.get(ctx)
	if err != nil {
		return nil, unknown{err}
	}
	return s.Blobs().Open(ctx, b)
}

// unknown is the error of a store that cannot be opened: that there is none is no answer to
// what a board runs.
type unknown struct{ err error }

func (u unknown) Error() string { return u.err.Error() }
