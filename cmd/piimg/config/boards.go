package config

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// Target is what boards get: one of the keys.
type Target struct {
	Env  string `toml:"env"`  // what this environment runs
	Mode string `toml:"mode"` // "local": nothing, so that they use their own disk; "off": nothing, and that is known; "net", which may be left out: env
}

func (t Target) check() error {
	switch t.Mode {
	case "":
	case "net":
		if t.Env == "" {
			return errors.New("mode is net, say which environment: env = \"prod\"")
		}
	case "local", "off":
		if t.Env != "" {
			return errors.New("env and mode are there, say one of them")
		}
	default:
		return fmt.Errorf("mode %q is none of net, local, off", t.Mode)
	}
	return nil
}

// Rule is a [[serve.rule]]: what boards with these labels get.
type Rule struct {
	Labels map[string]string `toml:"labels"` // all of them
	Target
}

// Place is a [[serve.network]]: what boards in a network get, and whether secrets may be sent
// there. What TFTP sends to whom is the [tftp] table's.
type Place struct {
	Prefix  netip.Prefix `toml:"prefix"`  // such as 10.1.0.0/16
	Secrets bool         `toml:"secrets"` // files that are secret may be sent there, for everybody to read
	Target
}

// File is a [[serve.file]]: a file that boards get in their initramfs.
type File struct {
	Path     string            `toml:"path"`     // on the board
	Mode     string            `toml:"mode"`     // octal; "0644"
	Owner    string            `toml:"owner"`    // numbers, "0:0"
	Content  string            `toml:"content"`  // a template
	From     string            `toml:"from"`     // or a file of this host; its name is a template
	Template bool              `toml:"template"` // what that file says is one too
	Labels   map[string]string `toml:"labels"`   // of the boards that get it; none for all
	Secret   bool              `toml:"secret"`   // only for networks with secrets

	Where string `toml:"-"` // file:line of the table
}

// Bits is the mode of f.
func (f File) Bits() (uint32, error) {
	if f.Mode == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(f.Mode, 8, 32)
	if err != nil || n > 0o7777 {
		return 0, fmt.Errorf("serve.file %s: mode %q is no octal number such as 0644", f.Path, f.Mode)
	}
	return uint32(n), nil
}

// IDs is the owner of f.
func (f File) IDs() (uid, gid uint32, err error) {
	if f.Owner == "" {
		return 0, 0, nil
	}
	user, group, ok := strings.Cut(f.Owner, ":")
	u, err1 := strconv.ParseUint(user, 10, 32)
	g, err2 := strconv.ParseUint(group, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("serve.file %s: owner %q is not two numbers such as 0:0", f.Path, f.Owner)
	}
	return uint32(u), uint32(g), nil
}

// Board is one board of a list.
type Board struct {
	Board     string            `toml:"board"`
	Env       string            `toml:"env"`
	Image     string            `toml:"image"`
	Mode      string            `toml:"mode"`
	Also      []string          `toml:"also"`
	Addresses []string          `toml:"addresses"`
	Labels    map[string]string `toml:"labels"`
	Vars      map[string]string `toml:"vars"`

	Where string `toml:"-"` // file:line
}

// LoadBoards reads a list of boards: TOML with a [[board]] for each, or CSV with a header,
// by the end of the file's name. A column or key that is not known is an error.
func LoadBoards(file string) ([]Board, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var boards []Board
	switch filepath.Ext(file) {
	case ".csv":
		boards, err = boardsOfCSV(file, string(text))
	case ".toml":
		boards, err = boardsOfTOML(file, string(text))
	default:
		err = errors.New("the name ends neither in .toml nor in .csv")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return boards, nil
}

func boardsOfTOML(file, text string) ([]Board, error) {
	var list struct {
		Board []Board `toml:"board"`
	}
	md, err := toml.Decode(text, &list)
	if err != nil {
		return nil, err
	}
	if unknown := md.Undecoded(); len(unknown) > 0 {
		return nil, fmt.Errorf("unknown key %s", unknown[0])
	}
	where := tables(file, text, "board")
	for n := range list.Board {
		list.Board[n].Where = where(n)
	}
	return list.Board, nil
}

// tables says as file:line where table n of a list of tables begins in text, and as file
// alone where it is not written as one. toml keeps no places.
func tables(file, text, key string) func(n int) string {
	header := regexp.MustCompile(`^\s*\[\[\s*` + strings.ReplaceAll(regexp.QuoteMeta(key), `\.`, `\s*\.\s*`) + `\s*\]\]`)
	var lines []int
	for n, line := range strings.Split(text, "\n") {
		if header.MatchString(line) {
			lines = append(lines, n+1)
		}
	}
	return func(n int) string {
		if n >= len(lines) {
			return file
		}
		return fmt.Sprintf("%s:%d", file, lines[n])
	}
}

// boardsOfCSV reads columns named as the keys of TOML; lists have blanks between, and each
// label and variable has a column of its own, label:rack and var:hostname. Spreadsheets write
// a byte order mark, and semicolons where the comma is for fractions.
func boardsOfCSV(file, text string) ([]Board, error) {
	text = strings.TrimPrefix(text, "\ufeff")
	in := csv.NewReader(strings.NewReader(text))
	in.TrimLeadingSpace, in.Comment = true, '#'
	if first, _, _ := strings.Cut(text, "\n"); strings.Contains(first, ";") && !strings.Contains(first, ",") {
		in.Comma = ';'
	}
	header, err := in.Read()
	if err != nil {
		return nil, fmt.Errorf("read the header: %w", err)
	}
	var boards []Board
	for {
		row, err := in.Read()
		if err == io.EOF {
			return boards, nil
		}
		if err != nil {
			return nil, err
		}
		line, _ := in.FieldPos(0)
		b := Board{Labels: map[string]string{}, Vars: map[string]string{}, Where: fmt.Sprintf("%s:%d", file, line)}
		for n, column := range header {
			if err := b.set(strings.TrimSpace(column), strings.TrimSpace(row[n])); err != nil {
				return nil, err
			}
		}
		boards = append(boards, b)
	}
}

// set sets what a column says.
func (b *Board) set(column, value string) error {
	kind, name, _ := strings.Cut(column, ":")
	switch {
	case column == "board":
		b.Board = value
	case column == "env":
		b.Env = value
	case column == "image":
		b.Image = value
	case column == "mode":
		b.Mode = value
	case column == "also":
		b.Also = strings.Fields(value)
	case column == "addresses":
		b.Addresses = strings.Fields(value)
	case value == "" && (kind == "label" || kind == "var"):
	case kind == "label" && name != "":
		b.Labels[name] = value
	case kind == "var" && name != "":
		b.Vars[name] = value
	default:
		return fmt.Errorf("unknown column %q", column)
	}
	return nil
}
