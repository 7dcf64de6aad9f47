package configtxt

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// Limits of the firmware, in bytes.
const (
	LineLimit = 98 // of a line; the rest of it is not seen (documentation of config.txt; older firmware: 78)
	WordLimit = 64 // of the name in an initramfs or include line (the scan pattern in start4.elf is %64s)

	sectionLimit = 60 // of the inside of [section] (the scan pattern in start4.elf is [%60c])
)

// directives are the words that are followed by white space instead of "=".
var directives = []string{"initramfs", "include"}

// Parse splits text into lines. Text beyond the limits of the firmware (98 characters a
// line, everything after the first byte that is not ASCII) is kept in Text and left out of Key and Value.
//
// A line ends with LF or CR LF. Property names are taken as written: "kernel =x" sets
// "kernel ", which nothing reads.
func Parse(file string, text []byte) []Line {
	var lines []Line
	ended := false
	for n := 1; len(text) > 0; n++ {
		raw, rest, _ := bytes.Cut(text, []byte{'\n'})
		text = rest
		l := Line{File: file, Number: n, Text: strings.TrimSuffix(string(raw), "\r"), Kind: Junk}
		if !ended {
			var seen string
			seen, ended = visible(l.Text)
			l.classify(seen)
		}
		lines = append(lines, l)
	}
	return lines
}

// visible is the part of a line that the firmware sees, and whether parsing ends in it.
func visible(text string) (seen string, ended bool) {
	notASCII := strings.IndexFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
	if notASCII >= 0 {
		text = text[:notASCII]
	}
	return text[:min(len(text), LineLimit)], notASCII >= 0
}

func (l *Line) classify(seen string) {
	switch {
	case strings.TrimSpace(seen) == "":
		if seen == l.Text {
			l.Kind = Blank
		}
	case seen[0] == '#':
		l.Kind = Comment
	case seen[0] == '[':
		l.section(seen)
	default:
		if !l.directive(seen) {
			l.property(seen)
		}
	}
}

func (l *Line) section(seen string) {
	inside, _, ok := strings.Cut(seen[1:], "]")
	if ok && len(inside) <= sectionLimit {
		l.Kind, l.Value = Section, inside
	}
}

func (l *Line) directive(seen string) bool {
	for _, word := range directives {
		rest, ok := strings.CutPrefix(seen, word)
		value := strings.TrimSpace(rest)
		if ok && value != "" && (rest[0] == ' ' || rest[0] == '\t') {
			l.Kind, l.Key, l.Value = Directive, word, value
			return true
		}
	}
	return false
}

func (l *Line) property(seen string) {
	key, value, ok := strings.Cut(seen, "=")
	if ok && key != "" {
		l.Kind, l.Key, l.Value = Property, key, value
	}
}
