package store

import "errors"

// Three conditions are told apart by callers; every error of this package and those
// below it that means one of them wraps it. Absence is io/fs.ErrNotExist.
var (
	// ErrCorrupt: stored bytes are not what their name or their format promises.
	ErrCorrupt = errors.New("corrupt")
	// ErrConflict: somebody else created the object first, with other bytes.
	ErrConflict = errors.New("conflict")
)
