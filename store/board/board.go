// Package board says which board runs what: an environment, a single image, or nothing
// from the network. Each board has a log of its assignments, and the newest counts.
package board

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"piimg/store"
	"piimg/store/yank"
)

// Mode is where a board boots from.
type Mode string

// The modes.
const (
	Net   Mode = "net"   // what its environment or image says
	Local Mode = "local" // its own medium: the front end has no file for it
	Off   Mode = "off"   // nothing at all: it is out of service, and known to be
	Unset Mode = "unset" // by its labels, its network and the default: whatever the front end gives to boards that nobody has set
)

// folder holds the logs of all boards.
const folder = "boards"

// version is the version of the payload.
const version = 1

// Assignment is one step of a board's log. The json form is what is stored.
type Assignment struct {
	store.Link
	Version int          `json:"v"`
	Board   ID           `json:"board"`
	Mode    Mode         `json:"mode"`
	Env     string       `json:"env,omitempty"` // for Net, this or Image
	Image   store.Digest `json:"image,omitzero"`
	Actor   string       `json:"actor"`
	Reason  string       `json:"reason"`
	Time    time.Time    `json:"time"` // UTC, whole seconds, by the clock of who set it
	Nonce   string       `json:"nonce"`
	Details

	Unchanged bool `json:"-"` // nothing was appended: the board was assigned to this already
}

// Options say what a board is to run, and who says so. Actor is required. With Mode Net,
// the default, exactly one of Env and Image is; with the other modes neither.
type Options struct {
	Mode   Mode
	Env    string // may have run nothing yet
	Image  store.Digest
	Actor  string
	Reason string

	// Details replace those that the board has; nil keeps them.
	Details *Details
	// Keep leaves what the board runs as it is. Mode, Env and Image are not looked at.
	Keep bool

	Trusted yank.Trusted // whose entries of the list of yanked images count; nil: all

	Now   func() time.Time // nil for the clock
	Nonce func() string    // nil for 128 random bits
}

// Set assigns the board. An Image has to be complete in the store; what is missing is
// named, by an error that wraps io/fs.ErrNotExist or store.ErrCorrupt. One that was yanked is
// refused with a [yank.Error]. Where the board
// is assigned to the same already, that assignment comes back, Unchanged. The error wraps
// store.ErrConflict and names the winner where somebody else sets the board meanwhile.
func Set(ctx context.Context, s *store.Store, id ID, o Options) (Assignment, error) {
	a, err := set(ctx, s, id, o)
	if err != nil {
		return Assignment{}, fmt.Errorf("assign board %s: %w", id, err)
	}
	return a, nil
}

func set(ctx context.Context, s *store.Store, id ID, o Options) (Assignment, error) {
	a := o.assignment(id)
	// The texts are not part of check: an old entry with a tab in its reason is no damage.
	if err := cmp.Or(a.check(id), store.CheckLine("actor", a.Actor), store.CheckLine("reason", a.Reason)); err != nil {
		return Assignment{}, err
	}
	lease := s.NewLease(store.LeaseOptions{}) // on nothing, where no image is named
	if !a.Image.IsZero() {
		if err := yank.Check(ctx, s, a.Image, o.Trusted); err != nil {
			return Assignment{}, err
		}
		held, err := s.HoldImage(ctx, store.LeaseOptions{Holder: a.Actor + ", for board " + string(id), Now: o.Now}, a.Image)
		if err != nil {
			return Assignment{}, err
		}
		lease = held
	}
	defer lease.Release(ctx)
	stored, err := logOf(s, id).Head(ctx, 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Assignment{}, err
	}
	if err == nil {
		head, err := Decode(stored, id)
		if err != nil {
			return Assignment{}, err
		}
		a = o.over(a, head)
		if head.Mode == a.Mode && head.Env == a.Env && head.Image == a.Image && head.Details.equal(a.Details) {
			head.Unchanged = true
			return head, nil
		}
	}
	return a.appendTo(ctx, s, lease, stored)
}

// appendTo appends a after head, while lease holds its image.
func (a Assignment) appendTo(ctx context.Context, s *store.Store, lease *store.Lease, head store.Entry) (Assignment, error) {
	log := logOf(s, a.Board)
	a.Link = log.Next(head)
	payload, err := json.Marshal(a)
	if err != nil {
		return Assignment{}, err
	}
	if err := lease.Confirm(ctx); err != nil {
		return Assignment{}, err
	}
	stored, err := log.Append(ctx, a.Link, payload)
	if errors.Is(err, store.ErrConflict) {
		return Assignment{}, a.lost(ctx, log, err)
	}
	if err != nil {
		return Assignment{}, err
	}
	if err := lease.Confirm(ctx); err != nil {
		return Assignment{}, fmt.Errorf("step %d is there, and has to be set anew: %w", a.Seq, err)
	}
	return Decode(stored, a.Board)
}

// lost says who has the step that a was to be.
func (a Assignment) lost(ctx context.Context, log store.Log, conflict error) error {
	stored, err := log.At(ctx, a.Seq)
	if err != nil {
		return fmt.Errorf("%w, and who came first is not known: %w", conflict, err)
	}
	winner, err := Decode(stored, a.Board)
	if err != nil {
		return fmt.Errorf("%w, and who came first is not known: %w", conflict, err)
	}
	return fmt.Errorf("step %d (%s by %s) came first: %w", winner.Seq, winner.target(), winner.Actor, store.ErrConflict)
}

func (o Options) assignment(id ID) Assignment {
	mode, now, nonce := o.Mode, o.Now, o.Nonce
	if mode == "" {
		mode = Net
	}
	if o.Keep {
		mode, o.Env, o.Image = Unset, "", store.Digest{}
	}
	if now == nil {
		now = time.Now
	}
	if nonce == nil {
		nonce = rand.Text
	}
	a := Assignment{
		Version: version, Board: id, Mode: mode, Env: o.Env, Image: o.Image,
		Actor: o.Actor, Reason: o.Reason, Time: now().UTC().Truncate(time.Second), Nonce: nonce(),
	}
	if o.Details != nil {
		a.Details = o.Details.sorted()
	}
	return a
}

// check says what is wrong with a as an assignment of the board id.
func (a Assignment) check(id ID) error {
	if known, err := ParseID(string(id)); err != nil || known != id {
		return fmt.Errorf("%q is not the id of a board", id)
	}
	switch {
	case a.Board != id:
		return fmt.Errorf("the assignment is of board %q", a.Board)
	case a.Mode != Net && a.Mode != Local && a.Mode != Off && a.Mode != Unset:
		return fmt.Errorf("mode %q is none of %s, %s, %s, %s", a.Mode, Net, Local, Off, Unset)
	case a.Mode != Net && (a.Env != "" || !a.Image.IsZero()):
		return errors.New("a board that does not boot by assignment has no environment and no image")
	case a.Mode == Net && (a.Env != "") == !a.Image.IsZero():
		return errors.New("a board has an environment or an image, one of the two")
	case a.Actor == "":
		return errors.New("say who does it: the actor is empty")
	case a.Env != "":
		if err := store.CheckEnv(a.Env); err != nil {
			return err
		}
	}
	return a.Details.check(id)
}

// target is what a board was assigned to, for people.
func (a Assignment) target() string {
	switch {
	case a.Mode != Net:
		return string(a.Mode)
	case a.Env != "":
		return a.Env
	}
	return a.Image.Short()
}

// Get is the newest assignment of a board. The error wraps io/fs.ErrNotExist where it
// never had one.
func Get(ctx context.Context, s *store.Store, id ID) (Assignment, error) {
	if known, err := ParseID(string(id)); err != nil || known != id {
		return Assignment{}, fmt.Errorf("%q is not the id of a board", id)
	}
	stored, err := logOf(s, id).Head(ctx, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return Assignment{}, neverSet(id)
	}
	if err != nil {
		return Assignment{}, err // it names the log, and so the board
	}
	a, err := Decode(stored, id)
	if err != nil {
		return Assignment{}, fmt.Errorf("board %s: %w", id, err)
	}
	return a, nil
}

// History is all assignments of a board, the oldest first. The error wraps
// io/fs.ErrNotExist where it never had one, and store.ErrCorrupt where the log is broken.
func History(ctx context.Context, s *store.Store, id ID) ([]Assignment, error) {
	if known, err := ParseID(string(id)); err != nil || known != id {
		return nil, fmt.Errorf("%q is not the id of a board", id)
	}
	var all []Assignment
	for stored, err := range logOf(s, id).All(ctx) {
		if err != nil {
			return nil, err // it names the log, and so the board
		}
		a, err := Decode(stored, id)
		if err != nil {
			return nil, fmt.Errorf("board %s: %w", id, err)
		}
		all = append(all, a)
	}
	if len(all) == 0 {
		return nil, neverSet(id)
	}
	return all, nil
}

func neverSet(id ID) error { return fmt.Errorf("board %s was never set: %w", id, fs.ErrNotExist) }

// List is the boards that have an assignment, sorted. It reads no entry, so one whose
// log is broken is listed too.
func List(ctx context.Context, s *store.Store) ([]ID, error) {
	names, err := s.Logs(ctx, folder)
	if err != nil {
		return nil, err
	}
	var ids []ID
	for _, name := range names {
		ids = append(ids, ID(name))
	}
	return ids, nil
}

func logOf(s *store.Store, id ID) store.Log { return s.Log(folder + "/" + string(id)) }

// Decode reads the payload of an entry of the log of the board id. The error wraps
// store.ErrCorrupt where it is none.
func Decode(stored store.Entry, id ID) (Assignment, error) {
	var a Assignment
	if err := json.Unmarshal(stored.Payload, &a); err != nil {
		return Assignment{}, fmt.Errorf("step %d: %w: %w", stored.Seq, store.ErrCorrupt, err)
	}
	if a.Version != version {
		return Assignment{}, fmt.Errorf("step %d has version %d, this piimg knows version %d", stored.Seq, a.Version, version)
	}
	if err := a.check(id); err != nil {
		return Assignment{}, fmt.Errorf("step %d: %w: %w", stored.Seq, err, store.ErrCorrupt)
	}
	return a, nil
}
