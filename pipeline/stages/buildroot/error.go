package buildroot

import "errors"

// Error is something that a person has to do something about.
type Error struct {
	Key  string // of the recipe, where one is to blame
	Text string
	Help string
}

func (e *Error) Error() string { return e.Text }

// Hint is what to do about it.
func (e *Error) Hint() string { return e.Help }

// keyOf is the key of the recipe that an error is about, "" where it is about none.
func keyOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Key
	}
	return ""
}
