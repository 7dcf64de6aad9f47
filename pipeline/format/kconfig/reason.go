package kconfig

import (
	"fmt"
	"slices"
	"strings"
)

// Why says of each difference why it came about, as far as the definitions tell.
func Why(differences []Difference, got Config, symbols []Symbol) []string {
	defined := map[string][]Symbol{}
	for _, s := range symbols {
		defined[s.Name] = append(defined[s.Name], s)
	}
	var all []string
	for _, d := range differences {
		all = append(all, fmt.Sprintf("%s: %s", d, reason(d, got, defined)))
	}
	return all
}

func (d Difference) String() string {
	switch {
	case d.Got == "" || d.Got == "n":
		return Setting{d.Name, d.Want}.String() + " was dropped"
	case d.Want == "n":
		return d.Name + " is " + d.Got + ", and was to be unset"
	}
	return fmt.Sprintf("%s is %s, and was to be %s", d.Name, d.Got, d.Want)
}

func reason(d Difference, got Config, defined map[string][]Symbol) string {
	definitions := defined[d.Name]
	if len(definitions) == 0 {
		return "no Config.in defines it" + similar(d.Name, defined)
	}
	if d.Want == "n" {
		return selectedBy(d.Name, got, defined)
	}
	reasons := []string{}
	for _, s := range definitions {
		if s.Legacy() {
			return legacy(s)
		}
		if r := dropped(s, d, got); !slices.Contains(reasons, r) {
			reasons = append(reasons, r)
		}
	}
	return strings.Join(reasons, "; or ")
}

// legacy is what Config.in.legacy advises.
func legacy(s Symbol) string {
	text := "legacy: " + s.Prompt
	if s.Help != "" {
		text += ": " + s.Help
	}
	return text
}

func dropped(s Symbol, d Difference, got Config) string {
	at := fmt.Sprintf(" (%s:%d)", s.File, s.Line)
	if terms := unmet(s.Depends, got); len(terms) > 0 {
		return "it depends on " + strings.Join(terms, " and ") + at
	}
	for _, other := range s.Siblings {
		if other != s.Name && got[other] == "y" {
			return "it is one of a choice, and " + other + " was taken" + at
		}
	}
	switch {
	case s.Prompt == "":
		return "nobody can set it, other symbols do" + at
	case d.Got != "" && d.Got != "n":
		return "the value is none that it can have" + at
	}
	return "a condition of the menu that it is in does not hold" + at
}

// selectedBy names those that turn a symbol on.
func selectedBy(name string, got Config, defined map[string][]Symbol) string {
	var by []string
	for _, definitions := range defined {
		for _, s := range definitions {
			if slices.Contains(s.Selects, name) && got[s.Name] == "y" && !slices.Contains(by, s.Name) {
				by = append(by, s.Name)
			}
		}
	}
	slices.Sort(by)
	if len(by) == 0 {
		return "its default cannot be changed here"
	}
	return "it is selected by " + strings.Join(by, ", ")
}

// similar names the symbol that is spelt most alike, if one is.
func similar(name string, defined map[string][]Symbol) string {
	best, length := "", 0
	for other := range defined {
		n := commonEnds(name, other)
		if n > length || n == length && other < best {
			best, length = other, n
		}
	}
	if 5*length < 4*max(len(name), len(best)) {
		return ": it was removed, or is misspelt"
	}
	return ": it was removed, or is misspelt; there is " + best
}

// commonEnds counts how much of the beginning and of the end two names share.
func commonEnds(a, b string) int {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	j := 0
	for j < min(len(a), len(b))-i && a[len(a)-1-j] == b[len(b)-1-j] {
		j++
	}
	return i + j
}
