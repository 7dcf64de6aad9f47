package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"strings"
	"time"
)

const (
	pinFolder   = "pins/"
	inUseFolder = "inuse/"
	maxPinLen   = 64 << 10
	maxInUseLen = 4 << 20
)

// Pin keeps an image from being collected for as long as the pin is there.
type Pin struct {
	Name   string    `json:"name"`
	Image  Digest    `json:"image"`
	Actor  string    `json:"actor"`
	Reason string    `json:"reason"`
	Time   time.Time `json:"time"` // UTC, whole seconds, by the clock of who pinned
}

func (p Pin) check() error {
	if !nameForm.MatchString(p.Name) {
		return fmt.Errorf("pin %q: use 1 to 63 of a-z 0-9 . _ -, the first a letter or digit", p.Name)
	}
	return cmp.Or(CheckLine("actor", p.Actor), CheckLine("reason", p.Reason))
}

func (p Pin) key() string { return pinFolder + p.Name + ".json" }

// Pin pins an image, which has to be complete. The error wraps ErrConflict where there is
// another pin of that name; a pin of the same image stays as it is, and is no error.
func (s *Store) Pin(ctx context.Context, p Pin) error {
	if err := p.check(); err != nil {
		return err
	}
	l, err := s.HoldImage(ctx, LeaseOptions{Holder: p.Actor + ", for pin " + p.Name}, p.Image)
	if err != nil {
		return fmt.Errorf("pin %s: %w", p.Name, err)
	}
	defer l.Release(ctx)
	doc, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if len(doc) > maxPinLen {
		return fmt.Errorf("pin %s: %d bytes are more than %d", p.Name, len(doc), maxPinLen)
	}
	if err := l.Confirm(ctx); err != nil {
		return fmt.Errorf("pin %s: %w", p.Name, err)
	}
	err = s.bucket.Create(ctx, p.key(), doc)
	if errors.Is(err, ErrConflict) {
		if other, perr := s.pin(ctx, p.key()); perr == nil && other.Image == p.Image {
			return nil
		} else if perr == nil {
			err = fmt.Errorf("it pins %s already: %w", other.Image.Short(), ErrConflict)
		}
	}
	if err == nil {
		err = l.Confirm(ctx)
	}
	if err != nil {
		return fmt.Errorf("pin %s: %w", p.Name, err)
	}
	return nil
}

// Unpin removes a pin and returns what it was. The error wraps io/fs.ErrNotExist where
// there is none of that name. One that cannot be read is removed as well.
func (s *Store) Unpin(ctx context.Context, name string) (Pin, error) {
	p := Pin{Name: name}
	if err := p.check(); err != nil {
		return Pin{}, err
	}
	was, err := s.pin(ctx, p.key())
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return Pin{}, fmt.Errorf("pin %s: %w", name, err)
	}
	if err := s.bucket.Delete(ctx, p.key()); err != nil {
		return Pin{}, fmt.Errorf("pin %s: %w", name, err)
	}
	return was, nil
}

// Pins yields all pins, ordered by name. An error is that of one pin, whose name it comes
// with, and the next one follows; only where they cannot be listed, or ctx has ended, is it
// the last.
func (s *Store) Pins(ctx context.Context) iter.Seq2[Pin, error] {
	return func(yield func(Pin, error) bool) {
		for info, err := range s.bucket.List(ctx, pinFolder, "") {
			if err != nil {
				yield(Pin{}, fmt.Errorf("list pins: %w", err))
				return
			}
			p, err := s.pin(ctx, info.Key)
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed meanwhile
			}
			if err != nil {
				p.Name = strings.TrimSuffix(path.Base(info.Key), ".json")
			}
			if !yield(p, err) || err != nil && ctx.Err() != nil {
				return
			}
		}
	}
}

func (s *Store) pin(ctx context.Context, key string) (Pin, error) {
	doc, err := readObject(ctx, s.bucket, key, maxPinLen)
	if err != nil {
		return Pin{}, err
	}
	var p Pin
	err = json.Unmarshal(doc, &p)
	if err == nil {
		err = p.check()
	}
	if err == nil && (p.key() != key || p.Image.IsZero()) {
		err = fmt.Errorf("it is pin %q of %q", p.Name, p.Image)
	}
	if err != nil {
		return Pin{}, fmt.Errorf("read %s: %w: %w", key, ErrCorrupt, err)
	}
	return p, nil
}

// InUse is what one front end serves.
type InUse struct {
	Front  string    `json:"front"` // its name: 1 to 63 of a-z 0-9 . _ -
	Images []Digest  `json:"images"`
	Seen   time.Time `json:"-"` // when it last said so, by the clock of the store
}

func (u InUse) key() string { return inUseFolder + u.Front + ".json" }

// ReportInUse says what a front end serves. It has to have all of it in its own cache.
func (s *Store) ReportInUse(ctx context.Context, u InUse) error {
	if !nameForm.MatchString(u.Front) {
		return fmt.Errorf("front end %q: use 1 to 63 of a-z 0-9 . _ -, the first a letter or digit", u.Front)
	}
	doc, err := json.Marshal(u)
	if err != nil {
		return err
	}
	return s.bucket.Put(ctx, u.key(), Bytes(doc))
}

// InUse yields what front ends have last said that they serve, however long ago. Errors
// are as those of Pins.
func (s *Store) InUse(ctx context.Context) iter.Seq2[InUse, error] {
	return func(yield func(InUse, error) bool) {
		for info, err := range s.bucket.List(ctx, inUseFolder, "") {
			if err != nil {
				yield(InUse{}, fmt.Errorf("list what front ends use: %w", err))
				return
			}
			u, err := s.inUse(ctx, info)
			if !yield(u, err) || err != nil && ctx.Err() != nil {
				return
			}
		}
	}
}

func (s *Store) inUse(ctx context.Context, info Info) (InUse, error) {
	u := InUse{Front: strings.TrimSuffix(path.Base(info.Key), ".json"), Seen: info.Time}
	doc, err := readObject(ctx, s.bucket, info.Key, maxInUseLen)
	if err != nil {
		return u, err
	}
	got := u
	if err := json.Unmarshal(doc, &got); err != nil || got.key() != info.Key {
		return u, fmt.Errorf("read %s: no report of that front end: %w", info.Key, ErrCorrupt)
	}
	return got, nil
}
