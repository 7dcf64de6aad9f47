package serve

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"piimg/store"
)

// maxNameLen bounds a requested name, in bytes: the longest path, a prefix, slashes.
const maxNameLen = 512

// splitName is the elements of a requested name. Leading and doubled slashes are the
// firmware's habit and count as one. Whatever a file system or a URL could read as
// something else is not found, here and now: nothing below sees such a name.
func splitName(name string) ([]string, error) {
	if len(name) > maxNameLen || strings.HasSuffix(name, "/") || !plainBytes(name) || hasEscape(name) {
		return nil, notFound(name)
	}
	elems := slices.DeleteFunc(strings.Split(name, "/"), func(e string) bool { return e == "" })
	if len(elems) == 0 || slices.Contains(elems, ".") || slices.Contains(elems, "..") {
		return nil, notFound(name)
	}
	return elems, nil
}

// plainBytes says whether name is printable ASCII without blanks and backslashes.
func plainBytes(name string) bool {
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' || c == '\\' {
			return false
		}
	}
	return true
}

// hasEscape finds what is left of a name that somebody escaped twice, such as %2e.
func hasEscape(name string) bool {
	for n := 0; n+2 < len(name); n++ {
		if name[n] == '%' && isHex(name[n+1]) && isHex(name[n+2]) {
			return true
		}
	}
	return false
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// notFound is the error for a name that stands for nothing.
func notFound(name string) error {
	return fmt.Errorf("open %q: %w", name, fs.ErrNotExist)
}

// target is what a requested name stands for; exactly one of board, image and env is
// set, and none where only the client's address can tell.
type target struct {
	board string
	image store.Digest
	env   string
	path  string // of the file in the image
}

// netInstall is the folder that a bootloader asks below over HTTP where its EEPROM says no
// HTTP_PATH.
const netInstall = "net_install"

// parse reads a requested name.
func (f *Front) parse(name string) (target, error) {
	elems, err := splitName(name)
	if err != nil {
		return target{}, err
	}
	if store.Reserved(elems[0]) {
		return parseReserved(name, elems)
	}
	if elems[0] == netInstall && len(elems) > 1 {
		return target{path: strings.Join(elems[1:], "/")}, nil // the board is told by its address
	}
	if len(elems) > 1 {
		if id, ok := f.cfg.Fleet.Board(elems[0]); ok {
			return target{board: f.canonical(id), path: strings.Join(elems[1:], "/")}, nil
		}
	}
	return target{path: strings.Join(elems, "/")}, nil
}

func parseReserved(name string, elems []string) (target, error) {
	if len(elems) < 3 {
		return target{}, notFound(name)
	}
	file := strings.Join(elems[2:], "/")
	switch elems[0] {
	case "by-digest":
		if d, err := store.ParseDigest(elems[1]); err == nil {
			return target{image: d, path: file}, nil
		}
	case "env":
		if store.CheckEnv(elems[1]) == nil {
			return target{env: elems[1], path: file}, nil
		}
	}
	return target{}, notFound(name)
}
