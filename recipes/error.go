package recipes

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Error is one mistake in a recipe, a lock file or a board, at the place where it was
// written: a value that came in through extends names the extended file.
type Error struct {
	File string // as given to Load, or relative to that file's folder joined with it
	Line int    // from 1; 0 where no line of the file is to blame
	Key  string // full path as written, such as "initramfs.file[2].mode"; may be empty
	Msg  string // what is wrong, without a full stop
	Help string // what to do about it; may be empty
	Err  error  // the cause, such as fs.ErrNotExist; may be nil
}

// Error is "file:line: key: message", without the parts that are unknown.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Key != "" {
		b.WriteString(": " + e.Key)
	}
	b.WriteString(": " + e.Msg)
	return b.String()
}

// Hint says what to do, in one line; it may be empty.
func (e *Error) Hint() string { return e.Help }

func (e *Error) Unwrap() error { return e.Err }

// Errors are all the mistakes of a recipe: the files in the order in which they are
// applied, the recipe itself last, and each from its first line to its last.
type Errors []*Error

// Error is one line for each mistake.
func (l Errors) Error() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

func (l Errors) Unwrap() []error {
	errs := make([]error, len(l))
	for i, e := range l {
		errs[i] = e
	}
	return errs
}

// Mistakes are the mistakes behind an error of this package, for a caller that prints
// each with its hint. It is nil where err holds none.
func Mistakes(err error) []*Error {
	var l Errors
	if errors.As(err, &l) {
		return l
	}
	var e *Error
	if errors.As(err, &e) {
		return []*Error{e}
	}
	return nil
}

// err is nil for no mistake, the *Error itself for one, and a sorted Errors for more.
func (l Errors) err(files []string) error {
	slices.SortStableFunc(l, func(a, b *Error) int {
		return cmp.Or(
			cmp.Compare(slices.Index(files, a.File), slices.Index(files, b.File)),
			cmp.Compare(a.Line, b.Line))
	})
	l = slices.CompactFunc(l, func(a, b *Error) bool {
		return a.Error() == b.Error()
	})
	switch len(l) {
	case 0:
		return nil
	case 1:
		return l[0]
	}
	return l
}
