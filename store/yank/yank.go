// Package yank keeps the list of images that must not be used any more: a log like those of
// environments, with an entry for each image that was yanked or given back. Nothing of an
// image is removed by it; who makes an environment or a board run one asks here first.
package yank

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"piimg/store"
)

// Action is what an entry says of its image.
type Action string

// The actions.
const (
	Yanked    Action = "yank"
	GivenBack Action = "unyank"
)

// folder holds the one log.
const folder = "yanked"

const version = 1

// Entry is one entry of the list. The json form is what is stored, and what a signature
// covers.
type Entry struct {
	store.Link
	Version int          `json:"v"`
	Action  Action       `json:"action"`
	Image   store.Digest `json:"image"`
	Actor   string       `json:"actor"`
	Reason  string       `json:"reason"`
	Time    time.Time    `json:"time"` // UTC, whole seconds, by the clock of who appended
	Nonce   string       `json:"nonce"`

	Payload   []byte      `json:"-"` // as it is stored
	Sigs      []store.Sig `json:"-"`
	Unchanged bool        `json:"-"` // nothing was appended: it was so already
}

// Options say which image is yanked, by whom and why. All but Sign, Trusted and Now are
// required.
type Options struct {
	Image    store.Digest
	GiveBack bool // the image may be used again
	Actor    string
	Reason   string

	Sign    func(ctx context.Context, payload []byte) ([]store.Sig, error) // nil: the entry is not signed
	Trusted Trusted
	Now     func() time.Time // nil for the clock
}

// Trusted says by an error that the signatures of an entry do not count, which is asked of
// those that give back. Nil takes all.
type Trusted func(e Entry) error

// tries is how often Set tries to be the next of several: their entries do not exclude
// each other.
const tries = 20

// Set yanks an image or gives it back. Where that is so already, its entry comes back,
// Unchanged.
func Set(ctx context.Context, s *store.Store, o Options) (Entry, error) {
	e, err := o.set(ctx, s)
	if err != nil {
		return Entry{}, fmt.Errorf("%s %s: %w", o.action(), o.Image.Short(), err)
	}
	return e, nil
}

func (o Options) action() Action {
	if o.GiveBack {
		return GivenBack
	}
	return Yanked
}

func (o Options) set(ctx context.Context, s *store.Store) (Entry, error) {
	switch {
	case o.Image.IsZero():
		return Entry{}, errors.New("no image is given")
	case o.Actor == "" || o.Reason == "":
		return Entry{}, errors.New("say who does it and why: the actor or the reason is empty")
	}
	if err := cmp.Or(store.CheckLine("actor", o.Actor), store.CheckLine("reason", o.Reason)); err != nil {
		return Entry{}, err
	}
	for n := 1; ; n++ {
		e, err := o.try(ctx, s)
		if !errors.Is(err, store.ErrConflict) || n == tries {
			return e, err
		}
	}
}

func (o Options) try(ctx context.Context, s *store.Store) (Entry, error) {
	now, head, err := Read(ctx, s, o.Trusted)
	if err != nil {
		return Entry{}, err
	}
	if old, yanked := now[o.Image]; yanked != o.GiveBack {
		old.Unchanged = true
		return old, nil
	}
	e := Entry{
		Link: s.Log(folder).Next(head), Version: version, Action: o.action(), Image: o.Image,
		Actor: o.Actor, Reason: o.Reason, Time: o.now().UTC().Truncate(time.Second), Nonce: rand.Text(),
	}
	payload, err := json.Marshal(e)
	if err != nil {
		return Entry{}, err
	}
	var sigs []store.Sig
	if o.Sign != nil {
		if sigs, err = o.Sign(ctx, payload); err != nil {
			return Entry{}, err
		}
	}
	e.Payload, e.Sigs = payload, sigs
	if o.Trusted != nil && o.GiveBack {
		if err := o.Trusted(e); err != nil {
			return Entry{}, err
		}
	}
	_, err = s.Log(folder).Append(ctx, e.Link, payload, sigs...)
	return e, err
}

func (o Options) now() time.Time {
	if o.Now == nil {
		return time.Now()
	}
	return o.Now()
}

// Read is the list as it stands, by image, and the head of its log, zero if there is none.
// To yank is what keeps boards safe, so an entry that does so counts whoever signed it; one
// that gives back counts only if it is trusted.
func Read(ctx context.Context, s *store.Store, trusted Trusted) (map[store.Digest]Entry, store.Entry, error) {
	list := map[store.Digest]Entry{}
	var head store.Entry
	for stored, err := range s.Log(folder).All(ctx) {
		if err != nil {
			return nil, head, fmt.Errorf("list of yanked images: %w", err)
		}
		e, err := Decode(stored)
		if err != nil {
			return nil, head, fmt.Errorf("list of yanked images: entry %d: %w", stored.Seq, err)
		}
		head = stored
		switch {
		case e.Action == Yanked:
			list[e.Image] = e
		case trusted == nil || trusted(e) == nil:
			delete(list, e.Image)
		}
	}
	return list, head, nil
}

// Decode reads an entry of the log. The error wraps store.ErrCorrupt where it is none.
func Decode(stored store.Entry) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(stored.Payload, &e); err != nil {
		return Entry{}, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	switch {
	case e.Version != version:
		return Entry{}, fmt.Errorf("it has version %d, this piimg knows version %d", e.Version, version)
	case e.Image.IsZero() || e.Action != Yanked && e.Action != GivenBack:
		return Entry{}, fmt.Errorf("it does %q with image %q: %w", e.Action, e.Image, store.ErrCorrupt)
	}
	e.Payload, e.Sigs = stored.Payload, stored.Sigs
	return e, nil
}

// Error refuses an image that was yanked.
type Error struct{ Entry Entry }

func (e *Error) Error() string {
	return fmt.Sprintf("image %s was yanked by %s: %s", e.Entry.Image.Short(), e.Entry.Actor, e.Entry.Reason)
}

// Hint says what to do.
func (e *Error) Hint() string {
	return "if it may be used after all: piimg yank --undo " + e.Entry.Image.Short() + " --reason …"
}

// Check is an [Error] where image was yanked, and another error where the list cannot be
// read: what is not known is not allowed.
func Check(ctx context.Context, s *store.Store, image store.Digest, trusted Trusted) error {
	list, _, err := Read(ctx, s, trusted)
	if err != nil {
		return err
	}
	if e, yanked := list[image]; yanked {
		return &Error{e}
	}
	return nil
}
