package recipes

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/BurntSushi/toml"
)

// maxFile is the size in bytes above which a file is no recipe.
const maxFile = 256 << 10

// document is one TOML file.
type document struct {
	file string // for people
	dir  string // what its paths are relative to: its folder below the main recipe's, with slashes

	source bool // dir is a source instead
}

// node is one value of a document, with its place.
type node struct {
	doc  *document
	line int
	key  string // as written: initramfs.file[2].mode

	raw   string   // a number as written: 0o755
	value any      // string, int64, float64, bool, time.Time, []*node or map[string]*node
	order []string // the keys of a table, as written
}

func (n *node) pos() Pos { return Pos{n.doc.file, n.line} }

func (n *node) table() (map[string]*node, bool) {
	if n == nil {
		return nil, false
	}
	m, ok := n.value.(map[string]*node)
	return m, ok
}

func (n *node) list() ([]*node, bool) {
	if n == nil {
		return nil, false
	}
	l, ok := n.value.([]*node)
	return l, ok
}

// text is the value of a node that is known to be a string.
func (n *node) text() string {
	s, _ := n.value.(string)
	return s
}

// mistake is a mistake at n.
func (n *node) mistake(hint, format string, args ...any) *Error {
	return &Error{File: n.doc.file, Line: n.line, Key: n.key, Msg: fmt.Sprintf(format, args...), Help: hint}
}

// kind is the type of the value with its article, for people.
func (n *node) kind() string {
	switch n.value.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case bool:
		return "a boolean"
	case time.Time:
		return "a date"
	case []*node:
		return "a list"
	}
	return "a table"
}

// parse reads a TOML text. Its error is always an *Error.
func (d *document) parse(src string) (root *node, err error) {
	defer func() { // the library panics on bugs of its own
		if r := recover(); r != nil {
			root, err = nil, &Error{File: d.file, Line: 1, Msg: fmt.Sprintf("not readable as TOML: %v", r)}
		}
	}()
	if len(src) > maxFile {
		return nil, &Error{File: d.file, Msg: fmt.Sprintf("larger than %d KiB", maxFile>>10)}
	}
	var values map[string]any
	md, err := toml.Decode(src, &values)
	if err != nil {
		return nil, d.syntax(src, err)
	}
	at, fault := scan(src, md)
	if fault != nil {
		fault.File = d.file
		return nil, fault
	}
	return d.build(at, "", values), nil
}

// build joins the values of the library with their places.
func (d *document) build(at layout, path string, v any) *node {
	n := &node{doc: d, line: max(1, at[path].line), key: path, raw: at[path].raw}
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]*node, len(v))
		for k, x := range v {
			m[k] = d.build(at, join(path, k), x)
		}
		n.value = m
		n.order = slices.SortedFunc(maps.Keys(m), func(a, b string) int {
			return cmp.Compare(at[m[a].key].seq, at[m[b].key].seq)
		})
	case []map[string]any:
		l := make([]*node, len(v))
		for i, x := range v {
			l[i] = d.build(at, element(path, i), x)
		}
		n.value = l
	case []any:
		l := make([]*node, len(v))
		for i, x := range v {
			l[i] = d.build(at, element(path, i), x)
		}
		n.value = l
	default:
		n.value = v
	}
	return n
}

// syntax puts a mistake that the library found into our form.
func (d *document) syntax(src string, err error) *Error {
	var pe toml.ParseError
	if !errors.As(err, &pe) {
		return &Error{File: d.file, Line: 1, Msg: err.Error()}
	}
	msg, _, _ := strings.Cut(strings.TrimSuffix(pe.Message, "."), "\n")
	if r := []rune(msg); len(r) > 1 && unicode.IsUpper(r[0]) && !unicode.IsUpper(r[1]) {
		r[0] = unicode.ToLower(r[0])
		msg = string(r)
	}
	e := &Error{File: d.file, Line: max(1, pe.Position.Line), Key: pe.LastKey, Msg: msg, Help: syntaxHint(msg)}
	if !onLine(src, e.Line, e.Key) {
		e.Key = "" // it is one further up
	}
	return e
}

// onLine says whether the last part of key stands on a line of src.
func onLine(src string, line int, key string) bool {
	lines := strings.Split(src, "\n")
	last := strings.Trim(key[strings.LastIndexByte(key, '.')+1:], `"`)
	return line <= len(lines) && strings.Contains(lines[line-1], last)
}

// syntaxHints are what to do about the syntax errors that recipes really run into: a
// part of the library's message, and the hint.
var syntaxHints = []struct{ in, hint string }{
	{"leading zeroes", `write modes as strings: mode = "0644"`},
	{"already been defined", "say each key once, and open each [table] once"},
	{"newlines not allowed within inline tables", "write a [table] with one key on each line"},
	{"array terminator", "close the list with ]"},
	{"to end table name", `quote it: [config."board-type=0x11"]`},
	{"bare keys cannot contain", `quote it: [config."board-type=0x11"], "overlays+" = […]`},
	{"strings cannot contain newlines", `use """ for a text of several lines`},
	{"invalid escape", "use '…' for a text with backslashes"},
	{"expected value but found", `put texts into quotes: "…"`},
	{"UTF-8", "save the file as UTF-8"},
}

func syntaxHint(msg string) string {
	for _, h := range syntaxHints {
		if strings.Contains(msg, h.in) {
			return h.hint
		}
	}
	return ""
}
