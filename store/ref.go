package store

import (
	"fmt"
	"strconv"
	"strings"
)

// Ref is what a person calls an image, read but not yet looked up. Exactly one of
// Digest, Prefix and Env is set; Seq and Back belong to Env, and at most one of them is
// not 0.
type Ref struct {
	Digest Digest
	Prefix string // 8 to 63 lower-case hexadecimal digits, the first of a digest
	Env    string
	Seq    int64 // the step of Env, from 1 on; 0 stands for its head
	Back   int   // so many images back from Env's head
}

// minPrefix is the least number of digits that stand for a digest.
const minPrefix = 8

// refForms is the end of every error of ParseRef.
const refForms = "an image is named by sha256:<64 digits>, by 8 or more of its first digits, " +
	"by <env>, <env>@<step> or <env>~<images back>"

// ParseRef reads the name of an image: "sha256:<64 digits>", a prefix of at least 8
// digits with or without "sha256:", "prod" for the head of an environment, "prod@41"
// for its step 41, "prod~2" for its image two back; "prod~" is "prod~1". Digits of
// digests are hexadecimal and in lower case.
func ParseRef(s string) (Ref, error) {
	r, err := parseRef(s)
	if err != nil {
		return Ref{}, fmt.Errorf("image %q: %w; %s", s, err, refForms)
	}
	return r, nil
}

func parseRef(s string) (Ref, error) {
	digits, isDigest := strings.CutPrefix(s, digestPrefix)
	switch {
	case s == "":
		return Ref{}, fmt.Errorf("the name is empty")
	case isDigest || allHex.MatchString(s):
		return parseDigits(digits)
	case allHex.MatchString(strings.ToLower(s)):
		return Ref{}, fmt.Errorf("the digits of a digest are in lower case")
	}
	return parseEnvRef(s)
}

func parseDigits(digits string) (Ref, error) {
	switch {
	case digits != "" && !allHex.MatchString(digits):
		return Ref{}, fmt.Errorf("%q is not made of the digits 0-9 a-f", digits)
	case len(digits) < minPrefix:
		return Ref{}, fmt.Errorf("%d digits are too few", len(digits))
	case len(digits) > 2*len(Digest{}):
		return Ref{}, fmt.Errorf("%d digits are too many", len(digits))
	case len(digits) < 2*len(Digest{}):
		return Ref{Prefix: digits}, nil
	}
	d, err := ParseHex(digits)
	return Ref{Digest: d}, err
}

func parseEnvRef(s string) (Ref, error) {
	name, number := s, ""
	at := strings.IndexAny(s, "@~")
	if at >= 0 {
		name, number = s[:at], s[at+1:]
	}
	if err := CheckEnv(name); err != nil {
		return Ref{}, err
	}
	switch {
	case at < 0:
		return Ref{Env: name}, nil
	case s[at:] == "~":
		return Ref{Env: name, Back: 1}, nil
	}
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil || n == 0 {
		return Ref{}, fmt.Errorf("%q after %q is no number from 1 on", number, s[:at+1])
	}
	if s[at] == '@' {
		return Ref{Env: name, Seq: int64(n)}, nil
	}
	return Ref{Env: name, Back: int(n)}, nil
}

// String is the form that [ParseRef] reads.
func (r Ref) String() string {
	switch {
	case !r.Digest.IsZero():
		return r.Digest.String()
	case r.Prefix != "":
		return digestPrefix + r.Prefix
	case r.Seq != 0:
		return fmt.Sprintf("%s@%d", r.Env, r.Seq)
	case r.Back != 0:
		return fmt.Sprintf("%s~%d", r.Env, r.Back)
	}
	return r.Env
}
