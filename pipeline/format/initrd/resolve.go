package initrd

import (
	"path"
	"slices"
	"strings"

	"piimg/pipeline/format/newc"
)

// builtin are the folders of the archive that is part of every kernel
// (usr/default_cpio_list).
var builtin = []string{".", "dev", "root"}

// Resolve is the path of an entry's name with the symlinks above its last element
// followed. Without its folder an entry cannot be made.
func (t *Tree) Resolve(name string) (string, error) {
	name, _, err := t.resolve(name)
	return name, err
}

// resolve is Resolve, and says what it took.
func (t *Tree) resolve(name string) (string, int64, error) {
	name = Clean(name)
	dir, last := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	if dir == "" || t.isDir(dir) {
		return name, 0, nil
	}
	dir, steps, err := t.follow(dir, 40) // MAXSYMLINKS of the kernel
	if err != nil {
		return "", steps, err
	}
	return path.Join(dir, last), steps, nil
}

func (t *Tree) isDir(dir string) bool {
	n := t.nodes[dir]
	return n != nil && n.Type() == newc.Dir || n == nil && slices.Contains(builtin, dir)
}

// follow resolves a folder's path element by element, and says what it took: about as
// many nanoseconds.
func (t *Tree) follow(dir string, links int) (to string, steps int64, err error) {
	at, rest := ".", dir
	for rest != "" {
		var element string
		element, rest, _ = strings.Cut(rest, "/")
		next := path.Join(at, element)
		if next == ".." {
			next = "."
		}
		steps += int64(len(next)) + stepCost
		n := t.nodes[next]
		switch {
		case t.isDir(next):
			at = next
		case n == nil || n.Type() != newc.Symlink:
			return "", steps, errParent
		case links == 0:
			return "", steps, errLoop
		default:
			links--
			if strings.HasPrefix(n.Target, "/") {
				at = "."
			}
			rest = strings.Trim(n.Target+"/"+rest, "/")
			steps += int64(len(rest))
		}
	}
	return at, steps, nil
}
