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
