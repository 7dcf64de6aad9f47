package recipes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// loader reads a recipe and what it extends.
type loader struct {
	dir  string   // folder of the main recipe, as in the name given to Load
	root *os.Root // the same folder
	docs []*node  // roots of the documents read, extended ones before those that extend them
	read map[string]bool
	errs Errors
}

// follow reads the document at rel, a path below the main recipe's folder, and before it
// everything that it extends. Each document is read once, at its first mention: where two
// extended recipes share a base, the base comes first and is applied once. by is the
// value that names rel, nil for the recipe itself; chain are the documents being followed.
func (l *loader) follow(rel string, by *node, chain []string) {
	if slices.Contains(chain, rel) {
		l.add(by.mistake("take one of these extends out", "goes round in a circle: %s", strings.Join(append(chain, rel), " > ")))
		return
	}
	if l.read[rel] {
		return
	}
	l.read[rel] = true
	root, err := l.document(rel, by)
	if err != nil {
		l.add(err)
		return
	}
	for _, n := range l.extends(root) {
		if next, ok := l.extended(n); ok {
			l.follow(next, n, append(slices.Clone(chain), rel))
		}
	}
	l.docs = append(l.docs, root)
}

// document reads and parses the file at rel.
func (l *loader) document(rel string, by *node) (*node, *Error) {
	d := &document{file: filepath.Join(l.dir, filepath.FromSlash(rel)), dir: path.Dir(rel)}
	src, err := readBelow(l.root, rel)
	if err != nil && by != nil {
		return nil, unreadable(by, rel, err)
	}
	if err != nil {
		return nil, &Error{File: d.file, Msg: reason(err), Err: err}
	}
	root, err := d.parse(string(src))
	if err != nil {
		var e *Error
		errors.As(err, &e)
		return nil, e
	}
	return root, nil
}

// readBelow reads a regular file.
func readBelow(root *os.Root, rel string) ([]byte, error) {
	info, err := root.Stat(rel)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: rel, Err: errNotFile}
	}
	return root.ReadFile(rel)
}

// extends are the values of the extends key.
func (l *loader) extends(root *node) []*node {
	m, _ := root.table()
	n := m["extends"]
	switch {
	case n == nil:
		return nil
	case isText(n):
		return []*node{n}
	}
	list, ok := n.list()
	if !ok {
		l.add(n.mistake("", "must be a string or a list of strings, not %s", n.kind()))
		return nil
	}
	return slices.DeleteFunc(slices.Clone(list), func(n *node) bool {
		if !isText(n) {
			l.add(n.mistake("", "must be a string, not %s", n.kind()))
		}
		return !isText(n)
	})
}

// extended is the path below the main recipe's folder that n names.
func (l *loader) extended(n *node) (string, bool) {
	rel, err := below(n, n.text())
	if err != nil {
		l.add(err)
		return "", false
	}
	return rel, true
}

func (l *loader) add(e *Error) { l.errs = append(l.errs, e) }

// merged is all documents in one. Its place is the main recipe's.
func (l *loader) merged() *node {
	main := l.docs[len(l.docs)-1]
	all := &node{doc: main.doc, line: 1, value: map[string]*node{}}
	for _, d := range l.docs {
		all = l.merge("", all, d)
	}
	return all
}

// merge lays the table over on the table base. path is where they are in the recipe.
func (l *loader) merge(path string, base, over *node) *node {
	old, _ := base.table()
	new, _ := over.table()
	out := &node{doc: over.doc, line: over.line, key: over.key, order: slices.Clone(base.order)}
	m := make(map[string]*node, len(old)+len(new))
	for k, n := range old {
		m[k] = n
	}
	out.value = m
	for _, written := range over.order {
		n := new[written]
		key, appends := appendKey(written, n)
		if appends && new[key] != nil {
			l.add(n.mistake(fmt.Sprintf("write %q to replace the list, or %q to append to it", key, written), "stands beside %q", key))
			continue
		}
		before := m[key]
		after := l.value(join(path, key), before, n, appends)
		if after == nil {
			continue
		}
		if before == nil {
			out.order = append(out.order, key)
		}
		m[key] = after
	}
	return out
}

// appendKey is the key that a written key is about, and whether it appends. A table is
// never appended to, so that [config."pi3+"] stays the filter of the Pi 3B+.
func appendKey(written string, n *node) (key string, appends bool) {
	key, appends = strings.CutSuffix(written, "+")
	if _, ok := n.table(); ok || key == "" {
		return written, false
	}
	return key, appends
}

// value is what becomes of one key. old is nil where no document had it before.
// The result is nil if there is still none.
func (l *loader) value(path string, old, n *node, appends bool) *node {
	if appends {
		return l.append(path, old, n)
	}
	_, newTable := n.table()
	_, oldTable := old.table()
	switch {
	case newTable && wholeTable(path):
		return n
	case newTable && (old == nil || oldTable):
		return l.merge(path, l.orEmpty(old, n), n)
	case newTable: // the older value is the mistake: keep it for whoever reads it
		return old
	}
	return n
}

// wholeTable says which tables replace one another: a source is one thing, and half of
// one with half of another is none.
func wholeTable(path string) bool {
	key, ok := strings.CutPrefix(path, "sources.")
	return ok && key != ""
}

func (l *loader) orEmpty(old, n *node) *node {
	if old != nil {
		return old
	}
	return &node{doc: n.doc, line: n.line, key: n.key, value: map[string]*node{}}
}

// append is the list old with the list n after it. In config.txt one line is a list too.
func (l *loader) append(path string, old, n *node) *node {
	added, ok := n.list()
	if !ok {
		l.add(n.mistake(`a key that ends in "+" appends to a list`, "must be a list, not %s", n.kind()))
		return old
	}
	if old == nil {
		return n
	}
	list, ok := old.list()
	if !ok && strings.HasPrefix(path, "config.") {
		list, ok = []*node{old}, true
	}
	if !ok {
		return old // and whoever reads it says what it should have been
	}
	return &node{doc: n.doc, line: n.line, key: n.key, value: slices.Concat(list, added)}
}
