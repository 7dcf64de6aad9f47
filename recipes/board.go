package recipes

import (
	"cmp"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync"

	"piimg/pipeline/format/configtxt"
)

//go:embed boards/*.toml
var boardFiles embed.FS

// Board is a model of Raspberry Pi: what its firmware knows about it, and what piimg has
// to know besides.
type Board struct {
	configtxt.Board

	Title    string   // for people: "Raspberry Pi 4 Model B"
	Ethernet bool     // has a port of its own that it can boot from
	EEPROM   bool     // its bootloader is in an EEPROM, and not among the boot files
	ROMFiles []string // what the boot ROM itself asks for, such as bootcode.bin
	Notes    string   // what an operator should know; may be empty
}

// Boards are the boards that piimg knows, sorted by name. An error is a mistake in one of
// the files that are built in, so that only a developer ever sees it.
func Boards() ([]Board, error) {
	boards, err := builtIn()
	return slices.Clone(boards), err
}

// builtIn reads the files that are built in, once: they cannot change.
var builtIn = sync.OnceValues(func() ([]Board, error) { return readBoards(boardFiles) })

// BoardByName is the board of that name. Its error has a hint with the nearest name.
func BoardByName(name string) (Board, error) {
	boards, err := builtIn()
	if err != nil {
		return Board{}, err
	}
	for _, b := range boards {
		if b.Model == name {
			return b, nil
		}
	}
	return Board{}, &unknownBoard{name, suggest(name, "boards", boardNames(boards))}
}

type unknownBoard struct{ name, hint string }

func (e *unknownBoard) Error() string { return fmt.Sprintf("board %q is not known", e.name) }
func (e *unknownBoard) Hint() string  { return e.hint }

// Is says that an unknown board is something that does not exist.
func (e *unknownBoard) Is(target error) bool { return target == fs.ErrNotExist }

func boardNames(boards []Board) []string {
	names := make([]string, len(boards))
	for i, b := range boards {
		names[i] = b.Model
	}
	return names
}

// readBoards reads boards/*.toml of fsys.
func readBoards(fsys fs.FS) ([]Board, error) {
	files, err := fs.Glob(fsys, "boards/*.toml")
	if err != nil {
		return nil, err
	}
	var boards []Board
	var errs Errors
	for _, file := range files {
		b, err := readBoard(fsys, file)
		errs = append(errs, Mistakes(err)...)
		boards = append(boards, b)
	}
	if err := errs.err(files); err != nil {
		return nil, err
	}
	slices.SortFunc(boards, func(a, b Board) int { return cmp.Compare(a.Model, b.Model) })
	return boards, nil
}

// readBoard reads one board. Its error is an *Error or Errors.
func readBoard(fsys fs.FS, file string) (Board, error) {
	src, err := fs.ReadFile(fsys, file)
	if err != nil {
		return Board{}, &Error{File: file, Msg: reason(err), Err: err}
	}
	root, err := (&document{file: file, dir: "."}).parse(string(src))
	if err != nil {
		return Board{}, err
	}
	r := &reader{}
	b := r.board(r.open(root))
	if want := b.Model + ".toml"; path.Base(file) != want && b.Model != "" {
		r.add(&Error{File: file, Line: 1, Key: "name", Msg: fmt.Sprintf("%q is not the name of the file", b.Model), Help: "rename the file to " + want})
	}
	return b, r.errs.err([]string{file})
}

func (r *reader) board(t *table) Board {
	var b Board
	b.Model, _ = r.filled(t.must("name", "the word that recipes use, as the file is called"))
	b.Title, _ = r.filled(t.must("title", "the name for people"))
	b.Filters = r.strs(t.must("filters", "the [words] of config.txt that this board obeys"))
	typ, _ := r.integer(t.must("type", "the type field of the revision code"), 0, 0xff)
	b.Type = int(typ)
	b.Platform = r.oneOf(t.must("platform", "the property in overlay_map.dtb"), "bcm2835", "bcm2711", "bcm2712")
	b.Arm64 = r.boolean(t.get("arm64"))
	b.OnlyArm64 = r.boolean(t.get("only_arm64"))
	b.Ethernet = r.boolean(t.get("ethernet"))
	b.Starts = r.strs(t.get("starts"))
	b.Fixups = r.strs(t.get("fixups"))
	b.Kernels = r.strs(t.must("kernels", "64-bit kernel names, in the order in which they are looked for"))
	b.Kernels32 = r.strs(t.get("kernels32"))
	b.DTBs = r.strs(t.must("dtbs", "device tree names, in the order in which they are looked for"))
	b.Upstream = r.strs(t.get("upstream_dtbs"))
	b.ArmStubs = r.strs(t.get("armstubs"))
	b.ROMFiles = r.strs(t.get("rom_files"))
	b.EEPROM = r.boolean(t.get("eeprom"))
	b.Notes, _ = r.str(t.get("notes"))
	if n := t.m["fixups"]; n != nil && len(b.Fixups) != len(b.Starts) {
		r.fail(n, "name the fixup of each of starts, in the same order", "%d fixups for %d starts", len(b.Fixups), len(b.Starts))
	}
	t.done()
	return b
}
