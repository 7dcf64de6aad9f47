package recipes

import (
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// The TOML library knows the line of a key and keeps it to itself, under the name
// without indices: the last of several [[initramfs.file]] wins, and an element of a list
// has no line at all. So the values are the library's and the lines are found here, by a
// second walk over the same text. The walk only has to be right about texts that the
// library has accepted: it skips values, and what it found is compared with the library's
// own list of keys before anybody relies on it.

// place is where a key or a list element stands.
type place struct {
	line int    // from 1
	seq  int    // counts places in the order of the text
	raw  string // a value without quotes or brackets, as written: 0o755
}

// layout maps key paths, such as "initramfs.file[2].mode", to places.
type layout map[string]place

// scanner walks over a TOML text. bad is set where the text is not what it expects,
// and ends the walk.
type scanner struct {
	src   string
	off   int
	line  int
	at    layout
	count map[string]int // array of tables to the number of its tables so far
	keys  []string       // what toml.MetaData.Keys has, as strings
	depth int            // of values in values
	bad   bool
}

// maxDepth is how deep lists and inline tables may be nested; a recipe needs three.
const maxDepth = 32

// scan finds the places of src. md is what the library found in the same text. The error
// lacks the name of the file.
func scan(src string, md toml.MetaData) (layout, *Error) {
	for _, bom := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"} { // as the library does
		if s, ok := strings.CutPrefix(src, bom); ok {
			src = s
			break
		}
	}
	s := &scanner{src: src, line: 1, at: layout{}, count: map[string]int{}}
	s.document()
	if s.depth > maxDepth {
		return nil, &Error{Line: s.line, Msg: fmt.Sprintf("values are nested more than %d deep", maxDepth)}
	}
	want := make([]string, 0, len(md.Keys()))
	for _, k := range md.Keys() {
		want = append(want, k.String())
	}
	if s.bad || !slices.Equal(s.keys, want) {
		return nil, &Error{Line: s.line, Msg: "the keys of this file cannot be told apart", Help: "write its tables as [name], one key on each line"}
	}
	return s.at, nil
}

func (s *scanner) document() {
	var table []string // of the last header, without indices
	var path string    // the same with indices
	for {
		s.blank()
		if s.bad || s.off >= len(s.src) {
			return
		}
		line := s.line
		switch {
		case s.skip("[["):
			table = s.key()
			s.expect("]]")
			path = s.openElement(table, line)
		case s.skip("["):
			table = s.key()
			s.expect("]")
			path = s.open("", table, line)
			s.set(path, line)
		default:
			s.assignment(path, table)
			continue
		}
		s.keys = append(s.keys, toml.Key(table).String())
	}
}

// assignment reads "key = value" below a table.
func (s *scanner) assignment(path string, table []string) {
	line := s.line
	parts := s.key()
	s.expect("=")
	if s.bad {
		return
	}
	key := slices.Concat(table, parts)
	s.keys = append(s.keys, toml.Key(key).String())
	s.value(s.open(path, parts, line), key)
}

// open is the path of key below the table at path, with the index of the latest element
// wherever it goes through an array of tables. Tables that are new get a place.
func (s *scanner) open(path string, key []string, line int) string {
	for i, k := range key {
		path = join(path, k)
		s.add(path, line)
		if n := s.count[path]; n > 0 && i < len(key)-1 {
			path = element(path, n-1)
		}
	}
	return path
}

// openElement starts a new table of an array of tables.
func (s *scanner) openElement(key []string, line int) string {
	array := s.open("", key, line)
	path := element(array, s.count[array])
	s.count[array]++
	s.add(path, line)
	return path
}

// add notes a place, unless the path has one.
func (s *scanner) add(path string, line int) {
	if _, ok := s.at[path]; !ok {
		s.at[path] = place{line: line, seq: len(s.at)}
	}
}

// set moves the place of a path to line: a header says more than what implied it.
func (s *scanner) set(path string, line int) {
	if p, ok := s.at[path]; ok {
		s.at[path] = place{line: line, seq: p.seq}
	}
}

// value skips a value, and notes the places inside it.
func (s *scanner) value(path string, key []string) {
	if s.depth++; s.depth > maxDepth { // and stays above it
		s.bad = true
		return
	}
	s.space()
	switch s.peek() {
	case '"', '\'':
		s.text()
	case '[':
		s.list(path, key)
	case '{':
		s.inline(path, key)
	default:
		start := s.off
		s.until(",]}#\n")
		p := s.at[path]
		p.raw = strings.TrimSpace(s.src[start:s.off])
		s.at[path] = p
	}
	if s.depth <= maxDepth {
		s.depth--
	}
}

func (s *scanner) list(path string, key []string) {
	s.expect("[")
	for i := 0; !s.bad; i++ {
		s.blank()
		if s.skip("]") {
			return
		}
		el := element(path, i)
		s.add(el, s.line)
		s.value(el, key)
		s.blank()
		if !s.skip(",") && s.peek() != ']' {
			s.bad = true
		}
	}
}

func (s *scanner) inline(path string, key []string) {
	s.expect("{")
	for !s.bad {
		s.blank()
		if s.skip("}") {
			return
		}
		s.assignment(path, key)
		s.blank()
		if !s.skip(",") && s.peek() != '}' {
			s.bad = true
		}
	}
}

// key reads a key with its dots.
func (s *scanner) key() []string {
	var parts []string
	for !s.bad {
		s.space()
		parts = append(parts, s.part())
		s.space()
		if !s.skip(".") {
			break
		}
	}
	return parts
}

func (s *scanner) part() string {
	start := s.off
	if c := s.peek(); c != '"' && c != '\'' {
		s.until(" \t\r\n.=[]{},#\"'")
		s.bad = s.bad || s.off == start
		return s.src[start:s.off]
	}
	s.text()
	var v struct{ K string }
	if _, err := toml.Decode("K = "+s.src[start:s.off], &v); err != nil {
		s.bad = true
	}
	return v.K
}

// text skips a string of any of the four kinds.
func (s *scanner) text() {
	quote := s.src[s.off : s.off+1]
	long := strings.Repeat(quote, 3)
	end := quote
	if strings.HasPrefix(s.src[s.off:], long) {
		end = long
	}
	s.advance(len(end))
	for !strings.HasPrefix(s.src[s.off:], end) {
		n := 1
		if quote == `"` && s.peek() == '\\' {
			n = 2
		}
		if s.advance(n); s.bad {
			return
		}
	}
	s.advance(len(end))
	for range 2 { // """a""""" ends in two quotes of its own
		if end == long && !s.bad {
			s.skip(quote)
		}
	}
}

// blank skips white space, line ends and comments; space stays on its line.
func (s *scanner) blank() {
	for s.off < len(s.src) {
		switch s.src[s.off] {
		case ' ', '\t', '\r', '\n':
			s.advance(1)
		case '#':
			s.until("\n")
		default:
			return
		}
	}
}

func (s *scanner) space() {
	for s.peek() == ' ' || s.peek() == '\t' {
		s.advance(1)
	}
}

func (s *scanner) until(stop string) {
	if n := strings.IndexAny(s.src[s.off:], stop); n >= 0 {
		s.off += n // no line ends: every stop holds one
		return
	}
	s.off = len(s.src)
}

func (s *scanner) peek() byte {
	if s.off < len(s.src) {
		return s.src[s.off]
	}
	return 0
}

func (s *scanner) skip(token string) bool {
	if !strings.HasPrefix(s.src[s.off:], token) {
		return false
	}
	s.advance(len(token))
	return true
}

func (s *scanner) expect(token string) {
	s.space()
	if !s.skip(token) {
		s.bad = true
	}
}

// advance goes n bytes on and counts the lines.
func (s *scanner) advance(n int) {
	if s.off+n > len(s.src) {
		s.off, s.bad = len(s.src), true
		return
	}
	s.line += strings.Count(s.src[s.off:s.off+n], "\n")
	s.off += n
}

// join and element build key paths: a.b, a."b c", a[0].
func join(path, key string) string {
	k := toml.Key{key}.String()
	if path == "" {
		return k
	}
	return path + "." + k
}

func element(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
