// Package env says which image each environment runs, and keeps every answer it ever
// gave. An environment is an append-only log; its highest entry is its head.
//
// Promote and Rollback append, and nothing ever changes or goes. Of several callers
// that append at the same time one wins, and the others learn who.
package env

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"piimg/store"
)

// Action is how an entry came to be.
type Action string

// The actions.
const (
	Promoted   Action = "promote"
	RolledBack Action = "rollback"
)

// folder holds the logs of all environments.
const folder = "envs"

// version is the version of the payload.
const version = 1

// Entry is one step of an environment: from Time on it runs Image. The json form is
// what is stored, and what a signature covers.
type Entry struct {
	store.Link
	Version int          `json:"v"`
	Env     string       `json:"env"`
	Action  Action       `json:"action"`
	Image   store.Digest `json:"image"`
	From    store.Digest `json:"from"`             // what ran before; zero in step 1
	Source  *Source      `json:"source,omitempty"` // where Image was promoted from
	Actor   string       `json:"actor"`
	Reason  string       `json:"reason"`
	Time    time.Time    `json:"time"`             // UTC, whole seconds, by the clock of who appended
	Nonce   string       `json:"nonce"`            // tells two entries apart that are the same otherwise
	Force   bool         `json:"force"`            // a refusal was overridden
	Expires time.Time    `json:"expires,omitzero"` // from then on nothing is promoted from here; boards go on

	Digest    store.Digest `json:"-"` // of the stored envelope
	Payload   []byte       `json:"-"` // as it is stored: what signatures cover
	Sigs      []store.Sig  `json:"-"`
	Unchanged bool         `json:"-"` // nothing was appended: this was the head already
}

// Source is where an image was promoted from: an environment and its step, of another store
// where Store is that store's id. Of an image that was named by its digest in another store
// only Store is set.
type Source struct {
	Store string `json:"store,omitempty"`
	Env   string `json:"env,omitempty"`
	Seq   int64  `json:"seq,omitempty"`
}

// String is "staging@97", "staging@97 of store ABC…", or "store ABC…".
func (s Source) String() string {
	step := fmt.Sprintf("%s@%d", s.Env, s.Seq)
	switch {
	case s.Store == "":
		return step
	case s.Env == "":
		return "store " + s.Store
	}
	return step + " of store " + s.Store
}

// Head is the newest entry of the environment called name. The error wraps
// io/fs.ErrNotExist and names the environments that there are where this is none.
func Head(ctx context.Context, s *store.Store, name string) (Entry, error) {
	head, err := head(ctx, s, name)
	if err == nil && head.Seq == 0 {
		err = unknown(ctx, s, name)
	}
	return head, err
}

// head is the newest entry, and the zero Entry where there is none.
func head(ctx context.Context, s *store.Store, name string) (Entry, error) {
	if err := store.CheckEnv(name); err != nil {
		return Entry{}, err
	}
	e, err := logOf(s, name).Head(ctx, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{}, nil
	}
	if err != nil {
		return Entry{}, fmt.Errorf("environment %s: %w", name, err)
	}
	return Decode(e, name)
}

// History is every entry of the environment called name, the oldest first, with each
// checked to follow the one before.
func History(ctx context.Context, s *store.Store, name string) ([]Entry, error) {
	if err := store.CheckEnv(name); err != nil {
		return nil, err
	}
	var all []Entry
	var last Entry
	for stored, err := range logOf(s, name).All(ctx) {
		if err != nil {
			return nil, fmt.Errorf("environment %s: %w", name, err)
		}
		e, err := Decode(stored, name)
		if err != nil {
			return nil, err
		}
		if err := follows(e, last); err != nil {
			return nil, err
		}
		all, last = append(all, e), e
	}
	if len(all) == 0 {
		return nil, unknown(ctx, s, name)
	}
	return all, nil
}

// Recent is the last n entries of the environment called name, the newest first, with each
// checked to follow the one before. Only these are read, and one more.
func Recent(ctx context.Context, s *store.Store, name string, n int) ([]Entry, error) {
	head, err := Head(ctx, s, name)
	if err != nil {
		return nil, err
	}
	p := newPast(ctx, s, head)
	if _, err := p.at(max(1, head.Seq-int64(n))); err != nil {
		return nil, err
	}
	return p.steps[:min(n, len(p.steps))], nil
}

// List is the names of the environments that have run an image, sorted. It reads no
// entry, so one whose log is broken is listed too.
func List(ctx context.Context, s *store.Store) ([]string, error) {
	return s.Logs(ctx, folder)
}

func logOf(s *store.Store, name string) store.Log { return s.Log(folder + "/" + name) }

// at is the entry numbered seq.
func at(ctx context.Context, s *store.Store, name string, seq int64) (Entry, error) {
	e, err := logOf(s, name).At(ctx, seq)
	if err != nil {
		return Entry{}, fmt.Errorf("environment %s: %w", name, err)
	}
	return Decode(e, name)
}

// Decode reads the payload of an entry of the environment called name. The error wraps
// store.ErrCorrupt where it is none.
func Decode(stored store.Entry, name string) (Entry, error) {
	var e Entry
	err := json.Unmarshal(stored.Payload, &e)
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	case e.Version != version:
		err = fmt.Errorf("it has version %d, this piimg knows version %d", e.Version, version)
	case e.Env != name:
		err = fmt.Errorf("it is of environment %q: %w", e.Env, store.ErrCorrupt)
	case e.Image.IsZero():
		err = fmt.Errorf("it names no image: %w", store.ErrCorrupt)
	case e.Action != Promoted && e.Action != RolledBack:
		err = fmt.Errorf("its action is %q: %w", e.Action, store.ErrCorrupt)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("environment %s: step %d: %w", name, stored.Seq, err)
	}
	e.Digest, e.Payload, e.Sigs = stored.Digest, stored.Payload, stored.Sigs
	return e, nil
}

// follows checks that e is the entry after last; the zero Entry comes before the first.
func follows(e, last Entry) error {
	if e.Seq != last.Seq+1 || e.Prev != last.Digest || e.From != last.Image {
		return fmt.Errorf("environment %s: step %d does not follow step %d: %w", e.Env, e.Seq, last.Seq, store.ErrCorrupt)
	}
	return nil
}

// absent is an io/fs.ErrNotExist that says by itself what there is not.
type absent string

func (a absent) Error() string        { return string(a) }
func (a absent) Is(target error) bool { return target == fs.ErrNotExist }

// unknown is the error for an environment without entries.
func unknown(ctx context.Context, s *store.Store, name string) error {
	known, err := List(ctx, s)
	switch {
	case err != nil:
		return err
	case len(known) == 0:
		return absent(fmt.Sprintf("environment %s is not known: there is none yet", name))
	}
	return absent(fmt.Sprintf("environment %s is not known: there are %s", name, strings.Join(known, ", ")))
}
