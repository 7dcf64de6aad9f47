// Package kconfig reads what the configuration language of Linux and Buildroot writes, and
// says why a configuration does not hold what was asked for: kconfig itself drops a symbol
// that it does not know, or whose conditions do not hold, without a word.
//
// Of the language (Documentation/kbuild/kconfig-language.rst) it reads what such an answer
// needs: symbols with their prompts, conditions, selects and help, and the choices they
// are in. Conditions of files that include a file are not seen.
package kconfig

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Config are the values of symbols, as written: y, n, a number or a text in quotes.
type Config map[string]string

var (
	assigned = regexp.MustCompile(`^([A-Za-z0-9_]+)=(.*)$`)
	unset    = regexp.MustCompile(`^# ([A-Za-z0-9_]+) is not set$`)
)

// Setting is one line of a configuration.
type Setting struct {
	Name, Value string // "n" for "is not set"
}

// ParseLine reads one line, and says whether it sets something.
func ParseLine(line string) (Setting, bool) {
	line = strings.TrimRight(line, "\r\n")
	if m := assigned.FindStringSubmatch(line); m != nil {
		return Setting{m[1], m[2]}, true
	}
	if m := unset.FindStringSubmatch(line); m != nil {
		return Setting{m[1], "n"}, true
	}
	return Setting{}, false
}

func (s Setting) String() string {
	if s.Value == "n" {
		return "# " + s.Name + " is not set"
	}
	return s.Name + "=" + s.Value
}

// Parse reads a configuration, of which later lines win.
func Parse(text string) Config {
	c := Config{}
	for line := range strings.Lines(text) {
		if s, ok := ParseLine(line); ok {
			c[s.Name] = s.Value
		}
	}
	return c
}

// Lines are the settings of a configuration in their order.
func Lines(text string) []Setting {
	var all []Setting
	for line := range strings.Lines(text) {
		if s, ok := ParseLine(line); ok {
			all = append(all, s)
		}
	}
	return all
}

// Merge lays settings over those of a base: what they set is taken out of it, so that
// nothing is set twice.
func Merge(base, over []Setting) []Setting {
	names := map[string]bool{}
	for _, s := range over {
		names[s.Name] = true
	}
	merged := slices.DeleteFunc(slices.Clone(base), func(s Setting) bool { return names[s.Name] })
	return append(merged, over...)
}

// Text is a configuration of these settings.
func Text(settings []Setting) string {
	var b strings.Builder
	for _, s := range settings {
		fmt.Fprintln(&b, s)
	}
	return b.String()
}

// Difference is a symbol that is not as it was asked for.
type Difference struct {
	Name, Want string
	Got        string // "" where the configuration has no such symbol
}

// Compare are the settings that got does not hold, sorted by name.
func Compare(want []Setting, got Config) []Difference {
	last := map[string]string{}
	for _, s := range want {
		last[s.Name] = s.Value
	}
	var all []Difference
	for _, name := range slices.Sorted(maps.Keys(last)) {
		is, there := got[name]
		if last[name] == is || last[name] == "n" && !there {
			continue
		}
		all = append(all, Difference{name, last[name], is})
	}
	return all
}
