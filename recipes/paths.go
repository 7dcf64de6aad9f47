package recipes

import (
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

var (
	errNotFile   = errors.New("is not a file")
	errNotFolder = errors.New("is not a folder")
)

// below is the path that n says, relative to the main recipe's folder: what stands in an
// extended recipe is relative to that one. It says nothing about what lies there.
func below(n *node, said string) (string, *Error) {
	switch {
	case said == "":
		return "", n.mistake("", "is empty")
	case strings.Contains(said, `\`):
		return "", n.mistake("separate folders by /", "path %q has a backslash", said)
	case path.IsAbs(said):
		return "", n.mistake("write it relative to the recipe", "path %q is absolute", said)
	}
	rel := path.Join(n.doc.dir, said)
	if !filepath.IsLocal(rel) {
		return "", n.mistake("keep everything that a recipe uses in its folder, or declare a module or a url",
			"path %q leaves the folder of the recipe", said)
	}
	return rel, nil
}

// unreadable is the mistake that rel, named by n, cannot be used.
func unreadable(n *node, rel string, err error) *Error {
	e := n.mistake("", "%q %s", rel, reason(err))
	e.Err = err
	if errors.Is(err, fs.ErrNotExist) && !n.doc.source {
		e.Help = "paths are relative to the file that says them, here " + n.doc.file
	}
	return e
}

// reason is err without the operation and the path.
func reason(err error) string {
	var pe *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR): // below a file there is nothing
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read"
	case errors.As(err, &pe) && strings.Contains(pe.Err.Error(), "escapes"): // of os.Root, which exports no error
		return "leads out of the recipe's folder by a symbolic link"
	case errors.As(err, &pe):
		return pe.Err.Error()
	}
	return err.Error()
}

// beside is the path that n says, of something of kind want that exists.
func (r *reader) beside(n *node, said string, want want) string {
	rel, err := below(n, said)
	if err != nil {
		r.add(err)
		return ""
	}
	info, statErr := r.root.Stat(rel)
	switch {
	case statErr != nil:
	case want == aFolder && !info.IsDir():
		statErr = errNotFolder
	case want == aFile && !info.Mode().IsRegular():
		statErr = errNotFile
	case want == either && !info.IsDir() && !info.Mode().IsRegular():
		statErr = errNotFile
	}
	if statErr != nil {
		r.add(unreadable(n, rel, statErr))
	}
	return rel
}

type want int

const (
	either want = iota
	aFile
	aFolder
)

// matching is the pattern that n says, of at least one file beside the recipe.
func (r *reader) matching(n *node, said string) string {
	rel, err := below(n, said)
	if err != nil {
		r.add(err)
		return ""
	}
	found, globErr := fs.Glob(r.root.FS(), rel)
	switch {
	case globErr != nil:
		r.fail(n, badPatternHint, "pattern %q is malformed", said)
	case len(found) == 0:
		r.fail(n, "", "%q matches no file", rel)
	}
	return rel
}

const badPatternHint = "* and ? stand for characters other than /, [a-z] for one of several; close every ["

// isPattern says whether s has characters with a meaning in patterns.
func isPattern(s string) bool { return strings.ContainsAny(s, `*?[`) }

// inImage checks a path inside an image or an initramfs and says whether it is good.
func (r *reader) inImage(n *node, p string) bool {
	switch {
	case p == "":
		r.fail(n, "", "is empty")
	case strings.HasPrefix(p, "/"):
		r.fail(n, "write "+quote(strings.TrimLeft(p, "/")), "path %q starts with a slash", p)
	case p == ".." || strings.HasPrefix(path.Clean(p), "../"):
		r.fail(n, "", "path %q leaves the archive", p)
	case path.Clean(p) != p || p == ".":
		r.fail(n, "write "+quote(path.Clean(p)), "path %q is not in its shortest form", p)
	case strings.ContainsFunc(p, isControl):
		r.fail(n, "", "path %q has a control character", p)
	default:
		return true
	}
	return false
}

func isControl(c rune) bool { return c < 0x20 || c == 0x7f }
