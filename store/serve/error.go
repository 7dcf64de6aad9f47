package serve

import (
	"errors"
	"io/fs"
)

// trouble is an error of the front end's own: the store is away, a blob is missing, the
// disk is full. It never passes for io/fs.ErrNotExist, whatever is behind it, because
// to a board that would mean that the file does not exist.
type trouble struct{ err error }

func (t trouble) Error() string { return t.err.Error() }

// Is finds what errors.Is looks for in the error behind t, but for io/fs.ErrNotExist.
func (t trouble) Is(target error) bool {
	return target != fs.ErrNotExist && errors.Is(t.err, target)
}

// Refused is the error of a Fleet that knows what a board has been told, and that it must
// not have it: what boards get that nobody has told anything is not for this one.
type Refused struct{ Err error }

func (r Refused) Error() string { return r.Err.Error() }

// Unwrap is the reason.
func (r Refused) Unwrap() error { return r.Err }
