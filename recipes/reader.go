package recipes

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// reader turns nodes into a recipe and collects every mistake on the way.
type reader struct {
	root    *os.Root // folder of the main recipe
	boards  []Board  // all that piimg knows
	rules   []string // ids that the linter knows; nil if nobody says
	sources map[string]Source
	broken  map[string]bool // sources that are declared, but wrongly
	errs    Errors
}

func (r *reader) add(e *Error) { r.errs = append(r.errs, e) }

func (r *reader) fail(n *node, hint, format string, args ...any) {
	r.add(n.mistake(hint, format, args...))
}

// table reads the keys of one table. It remembers which keys it was asked for: all
// others are unknown. A table that is absent has no keys and no mistakes.
type table struct {
	*reader
	n     *node
	m     map[string]*node
	known []string
	lacks []*Error // what must be there and is not
}

// open is n as a table; n may be nil.
func (r *reader) open(n *node) *table {
	t := &table{reader: r, n: n}
	if n == nil {
		return t
	}
	m, ok := n.table()
	if !ok {
		r.fail(n, fmt.Sprintf("write [%s] on a line of its own, and its keys below", n.key), "must be a table, not %s", n.kind())
		t.n = nil
	}
	t.m = m
	return t
}

// get is the value of key, nil where the table lacks it.
func (t *table) get(key string) *node {
	if !slices.Contains(t.known, key) {
		t.known = append(t.known, key)
	}
	return t.m[key]
}

// must is get for a key that has to be there.
func (t *table) must(key, hint string) *node {
	n := t.get(key)
	if n == nil && t.n != nil {
		missing := *t.n
		missing.key = join(t.n.key, key)
		t.lacks = append(t.lacks, missing.mistake(hint, "is missing"))
	}
	return n
}

// done reports the keys that nobody asked for, and then those that are missing: a key
// that is only misspelt is one mistake. It says whether all keys were known.
func (t *table) done() bool {
	if t.n == nil {
		return true
	}
	clean := true
	for _, k := range t.n.order {
		if slices.Contains(t.known, k) {
			continue
		}
		clean = false
		guess := nearest(strings.TrimSuffix(k, "+"), t.known)
		t.lacks = slices.DeleteFunc(t.lacks, func(e *Error) bool { return guess != "" && e.Key == join(t.n.key, guess) })
		t.fail(t.m[k], suggest(strings.TrimSuffix(k, "+"), "keys here", t.known), "unknown key")
	}
	t.errs = append(t.errs, t.lacks...)
	t.lacks = nil
	return clean
}

// str is the string at n, and whether there is one.
func (r *reader) str(n *node) (string, bool) {
	if n == nil {
		return "", false
	}
	if !isText(n) {
		r.fail(n, quoteHint(n), "must be a string, not %s", n.kind())
		return "", false
	}
	return n.text(), true
}

// filled is str for a string that may not be empty.
func (r *reader) filled(n *node) (string, bool) {
	s, ok := r.str(n)
	if ok && s == "" {
		r.fail(n, "", "is empty")
		return "", false
	}
	return s, ok
}

func isText(n *node) bool {
	_, ok := n.value.(string)
	return ok
}

func quoteHint(n *node) string {
	switch n.value.(type) {
	case int64, float64, bool:
		return fmt.Sprintf(`put it into quotes: "%v"`, n.value)
	}
	return ""
}

// integer is the integer at n if it is between lo and hi.
func (r *reader) integer(n *node, lo, hi int64) (int64, bool) {
	if n == nil {
		return 0, false
	}
	v, ok := n.value.(int64)
	if !ok {
		hint := ""
		if isText(n) {
			hint = "write the number without quotes"
		}
		r.fail(n, hint, "must be an integer, not %s", n.kind())
		return 0, false
	}
	if v < lo || v > hi {
		r.fail(n, "", "%d is not between %d and %d", v, lo, hi)
		return 0, false
	}
	return v, true
}

// boolean is the boolean at n, false where there is none.
func (r *reader) boolean(n *node) bool {
	if n == nil {
		return false
	}
	v, ok := n.value.(bool)
	if !ok {
		r.fail(n, "write true or false", "must be a boolean, not %s", n.kind())
	}
	return v
}

// list are the elements of the list at n.
func (r *reader) list(n *node) []*node {
	if n == nil {
		return nil
	}
	l, ok := n.list()
	if !ok {
		hint := ""
		switch n.value.(type) {
		case map[string]*node:
			hint = fmt.Sprintf("write [[%s]] for each", n.key)
		case string:
			hint = fmt.Sprintf("write [%s]", quote(n.text()))
		}
		r.fail(n, hint, "must be a list, not %s", n.kind())
	}
	return l
}

// texts are the elements of the list at n that are strings. None is empty.
func (r *reader) texts(n *node) []*node {
	var out []*node
	for _, el := range r.list(n) {
		if _, ok := r.filled(el); ok {
			out = append(out, el)
		}
	}
	return out
}

// strs are texts as plain strings, never nil.
func (r *reader) strs(n *node) []string {
	out := []string{}
	for _, el := range r.texts(n) {
		out = append(out, el.text())
	}
	return out
}

// oneOf is the string at n if it is one of words, and the first word otherwise.
func (r *reader) oneOf(n *node, words ...string) string {
	s, ok := r.str(n)
	if !ok {
		return words[0]
	}
	if !slices.Contains(words, s) {
		r.fail(n, suggest(s, "values", words), "unknown value %q", s)
		return words[0]
	}
	return s
}

func quote(s string) string { return fmt.Sprintf("%q", s) }
