package store

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	allHex   = regexp.MustCompile(`^[0-9a-f]+$`)
)

// Reserved says whether name is a first path element that the front end keeps for
// itself, so that it names no environment, no board and no folder of an image.
func Reserved(name string) bool {
	switch name {
	case "by-digest", "env", "v2", "chain", "report", "metrics", "healthz", "readyz", "store":
		return true
	}
	return false
}

// CheckEnv says what is wrong with the name of an environment. A name of hexadecimal
// digits alone is refused: it could be meant as a digest or as a board's serial.
func CheckEnv(name string) error {
	switch {
	case !nameForm.MatchString(name):
		return fmt.Errorf("environment %q: use 1 to 63 of a-z 0-9 . _ -, the first a letter or digit", name)
	case strings.Contains(name, ".."):
		return fmt.Errorf("environment %q: two dots in a row are not allowed", name)
	case allHex.MatchString(name):
		return fmt.Errorf("environment %q: a name of hexadecimal digits alone could be a digest or a board", name)
	case Reserved(name):
		return fmt.Errorf("environment %q: the name is reserved", name)
	}
	return nil
}

// CheckLine says what is wrong with a text that people will read in a terminal or a log,
// such as an actor or a reason; what names it. It has to be UTF-8 without control
// characters, line ends among them, and without those that turn the direction of text:
// they could show something else than is there.
func CheckLine(what, text string) error {
	if !utf8.ValidString(text) {
		return fmt.Errorf("the %s is not UTF-8 text", what)
	}
	for _, r := range text {
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control) {
			return fmt.Errorf("the %s has the control character %U: leave it out", what, r)
		}
	}
	return nil
}
