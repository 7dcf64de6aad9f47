package board

import (
	"fmt"
	"regexp"
	"strings"
)

// ID names a board: the last 8 hexadecimal digits of its serial number, or else its
// MAC address with dashes, both in lower case.
type ID string

var (
	serialForm = regexp.MustCompile(`^([0-9a-f]{8})?([0-9a-f]{8})$`)
	macForm    = regexp.MustCompile(`^([0-9a-f]{2})([:-]?)([0-9a-f]{2})([:-]?)([0-9a-f]{2})([:-]?)([0-9a-f]{2})([:-]?)([0-9a-f]{2})([:-]?)([0-9a-f]{2})$`)
)

// ParseID reads any of the ways in which a board's name is written: a serial of 8 or 16
// hexadecimal digits, with or without 0x, or a MAC address with colons, with dashes or
// as 12 digits, in either case.
func ParseID(s string) (ID, error) {
	low := strings.ToLower(s)
	if m := serialForm.FindStringSubmatch(strings.TrimPrefix(low, "0x")); m != nil {
		return ID(m[2]), nil
	}
	if m := macForm.FindStringSubmatch(low); m != nil && sameSeparators(m) {
		return ID(strings.Join([]string{m[1], m[3], m[5], m[7], m[9], m[11]}, "-")), nil
	}
	return "", fmt.Errorf("board %q: use the 8 last or all 16 hexadecimal digits of its serial number, "+
		"or its MAC address such as dc-a6-32-01-02-03", s)
}

// sameSeparators says whether what stands between the bytes of a MAC is always the same.
func sameSeparators(m []string) bool {
	return m[2] == m[4] && m[2] == m[6] && m[2] == m[8] && m[2] == m[10]
}
