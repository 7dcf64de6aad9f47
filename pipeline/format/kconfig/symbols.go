package kconfig

import (
	"io/fs"
	"path"
	"strings"
)

// Symbol is one definition of a symbol.
type Symbol struct {
	Name     string
	File     string // as the caller of Scan names it
	Line     int    // from 1 on
	Prompt   string // "" where nobody can set it but other symbols
	Depends  []string
	Selects  []string
	Help     string
	Siblings []string // all of the choice that it is in
}

// Legacy says whether it is kept for those only who used it once: Buildroot refuses to
// build with it.
func (s Symbol) Legacy() bool { return path.Base(s.File) == "Config.in.legacy" }

// Scan reads the definitions in all files of fsys whose names begin with Config.in, and
// calls them by prefix and path.
func Scan(fsys fs.FS, prefix string) ([]Symbol, error) {
	var all []Symbol
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasPrefix(d.Name(), "Config.in") {
			return err
		}
		text, err := fs.ReadFile(fsys, name)
		if err == nil {
			all = append(all, read(path.Join(prefix, name), string(text))...)
		}
		return err
	})
	return all, err
}

// scanner reads one file. Of the block that it is in, it knows the conditions.
type scanner struct {
	file    string
	symbols []Symbol
	ifs     []string
	choice  *[]string // names in the choice that is open
	choices map[int]*[]string
	open    bool // the last symbol goes on
	help    bool
	indent  int // of the help's first line, 0 before it
}

func read(file, text string) []Symbol {
	s := &scanner{file: file, choices: map[int]*[]string{}}
	lines := strings.Split(text, "\n")
	for n := 0; n < len(lines); n++ {
		line, at := lines[n], n+1
		for strings.HasSuffix(line, `\`) && n+1 < len(lines) {
			n++
			line = strings.TrimSuffix(line, `\`) + " " + strings.TrimSpace(lines[n])
		}
		s.line(line, at)
	}
	for i, names := range s.choices {
		s.symbols[i].Siblings = *names
	}
	return s.symbols
}

func (s *scanner) line(line string, at int) {
	text := strings.TrimSpace(line)
	if s.help && s.helpLine(line, text) {
		return
	}
	word, rest, _ := strings.Cut(strings.ReplaceAll(text, "\t", " "), " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "config", "menuconfig":
		s.symbols = append(s.symbols, Symbol{Name: rest, File: s.file, Line: at, Depends: append([]string(nil), s.ifs...)})
		if s.choice != nil {
			*s.choice = append(*s.choice, rest)
			s.choices[len(s.symbols)-1] = s.choice
		}
		s.open = true
	case "if":
		s.ifs, s.open = append(s.ifs, rest), false
	case "endif":
		s.ifs, s.open = s.ifs[:max(0, len(s.ifs)-1)], false
	case "choice":
		s.choice, s.open = &[]string{}, false
	case "endchoice":
		s.choice, s.open = nil, false
	case "menu", "endmenu", "comment", "source", "mainmenu":
		s.open = false
	default:
		if s.open {
			s.attribute(&s.symbols[len(s.symbols)-1], word, rest)
		}
	}
}

func (s *scanner) attribute(sym *Symbol, word, rest string) {
	switch word {
	case "bool", "tristate", "string", "int", "hex", "prompt":
		if p := quoted(rest); p != "" {
			sym.Prompt = p
		}
	case "depends":
		sym.Depends = append(sym.Depends, withoutComment(strings.TrimPrefix(rest, "on ")))
	case "select":
		name, _, _ := strings.Cut(withoutComment(rest), " ")
		sym.Selects = append(sym.Selects, name)
	case "help", "---help---":
		s.help, s.indent = true, 0
	}
}

// helpLine takes a line of help: they are indented at least as the first one is.
func (s *scanner) helpLine(line, text string) bool {
	if text == "" {
		return true
	}
	indent := 0
	for _, c := range line {
		if c == '\t' {
			indent += 8 - indent%8
		} else if c == ' ' {
			indent++
		} else {
			break
		}
	}
	if s.indent == 0 {
		s.indent = indent
	}
	if indent < s.indent || indent == 0 {
		s.help = false
		return false
	}
	if s.open {
		sym := &s.symbols[len(s.symbols)-1]
		sym.Help = strings.TrimSpace(sym.Help + " " + text)
	}
	return true
}

func quoted(s string) string {
	if len(s) < 2 || s[0] != '"' {
		return ""
	}
	text, _, _ := strings.Cut(s[1:], `"`)
	return text
}

func withoutComment(s string) string {
	s, _, _ = strings.Cut(s, "#")
	return strings.TrimSpace(s)
}
