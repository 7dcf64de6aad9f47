package recipes

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"piimg/store"
)

var (
	sourceName    = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)
	moduleVersion = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)
	modulePath    = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$`)
	commandPath   = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`)
)

// Text is what the recipe says of where s comes from: what lock files compare.
func (s Source) Text() string {
	switch {
	case s.Git != "":
		return s.Git + "@" + s.Rev
	case s.Deb != "":
		return strings.Join(append([]string{s.Deb}, s.Depends...), " ")
	}
	return cmp.Or(s.Module, s.Path, s.URL, s.Image)
}

func (r *reader) sourceTable(n *node) map[string]Source {
	r.sources, r.broken = map[string]Source{}, map[string]bool{}
	t := r.open(n)
	for _, name := range slices.Sorted(maps.Keys(t.m)) {
		el := t.get(name)
		before := len(r.errs)
		if !sourceName.MatchString(name) {
			r.fail(el, "use a-z, 0-9, underscore and dash, with a letter or digit first", "%q is not a name", name)
		}
		r.sources[name] = r.source(r.open(el))
		r.broken[name] = len(r.errs) > before
	}
	return r.sources
}

// origins are the keys of which a source has exactly one, with those that go with each.
var origins = []struct {
	key  string
	with []string
}{
	{"module", nil},
	{"path", nil},
	{"url", []string{"sha256"}},
	{"deb", []string{"archive", "suite", "components", "depends"}},
	{"git", []string{"rev"}},
	{"image", nil},
}

const originHint = "add one of module, path, url, deb, git and image"

func (r *reader) source(t *table) Source {
	said, with, stray := []*node{}, map[string]*node{}, map[string]*node{}
	for _, o := range origins {
		n := t.get(o.key)
		if n != nil {
			said = append(said, n)
		}
		for _, key := range o.with {
			with[key] = t.get(key)
			if n == nil {
				stray[key] = with[key]
			}
		}
	}
	if len(said) == 1 {
		t.mustWith(lastKey(said[0]))
	}
	clean := t.done()
	switch {
	case t.n == nil || len(said) == 0 && !clean:
		return Source{}
	case len(said) == 0:
		r.fail(t.n, originHint, "says no origin")
		return Source{}
	case len(said) > 1:
		r.fail(said[1], "keep one of them, or declare two sources", "stands beside %s", lastKey(said[0]))
		return Source{}
	}
	for _, o := range origins {
		for _, key := range o.with {
			if stray[key] != nil {
				r.fail(stray[key], withoutHint(o.key), "belongs to a source that is a %s", o.key)
			}
		}
	}
	return r.origin(said[0], with)
}

// mustWith asks for the keys without which the origin called key means nothing.
func (t *table) mustWith(key string) {
	switch key {
	case "url":
		t.must("sha256", `say what the url gives, as "sha256sum" prints it`)
	case "git":
		t.must("rev", `say which revision: a tag, a branch or a commit`)
	}
}

func withoutHint(key string) string {
	if key == "url" {
		return `take it out: everything else is pinned by "piimg lock"`
	}
	return "take it out"
}

// origin reads a source of one kind; with are the keys beside it.
func (r *reader) origin(n *node, with map[string]*node) Source {
	var s Source
	switch lastKey(n) {
	case "module":
		s.Module = r.module(n)
	case "path":
		if p, ok := r.str(n); ok {
			s.Path = r.beside(n, p, either)
		}
	case "url":
		s.URL, s.SHA256 = r.address(n), r.sha256(with["sha256"])
	case "deb":
		s = r.deb(n, with)
	case "git":
		s.Git, s.Rev = r.repository(n), r.revision(with["rev"])
	case "image":
		s.Image = r.image(n)
	}
	return s
}

func lastKey(n *node) string { return n.key[strings.LastIndexByte(n.key, '.')+1:] }

func (r *reader) module(n *node) string {
	s, ok := r.str(n)
	if !ok {
		return ""
	}
	p, version, hasVersion := strings.Cut(s, "@")
	switch {
	case !modulePath.MatchString(p):
		r.fail(n, "write path@version: github.com/gokrazy/kernel.rpi@v0.0.0-20251127164438-9778ec0261de", "%q is not the path of a Go module", p)
	case !hasVersion:
		r.fail(n, "ask for it: go list -m "+p+"@latest", "module %q has no version", p)
	case !moduleVersion.MatchString(version):
		r.fail(n, "ask for it: go list -m "+s, "%q is not a full version", version)
	}
	return s
}

func (r *reader) address(n *node) string {
	s, ok := r.str(n)
	if !ok {
		return ""
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" && u.Scheme != "file":
		r.fail(n, "write it in full: https://example.org/rootfs.cpio.gz", "is not an address")
	case u.Scheme != "http" && u.Scheme != "https":
		r.fail(n, "use http or https, or path for something beside the recipe", "scheme %q is not known", u.Scheme)
	case u.User != nil: // and never repeat it
		r.fail(n, "recipes hold no secrets: use an address that needs none, or fetch it yourself and say path", "has a user or a password in it")
	case u.Fragment != "":
		r.fail(n, "take #… out: it never reaches the server", "has a fragment")
	}
	return s
}

func (r *reader) sha256(n *node) string {
	s, ok := r.str(n)
	if !ok {
		return ""
	}
	if _, err := store.ParseHex(s); err != nil {
		r.fail(n, `write what "sha256sum" prints, without a prefix`, "%q is not 64 lower-case hexadecimal digits", s)
	}
	return s
}

// sourceRef is the name of a declared source at n.
func (r *reader) sourceRef(n *node) string {
	s, ok := r.filled(n)
	if ok {
		r.declared(n, s)
	}
	return s
}

// declared checks that a source of that name is.
func (r *reader) declared(n *node, name string) bool {
	if _, ok := r.sources[name]; !ok {
		hint := suggest(name, "sources", slices.Collect(maps.Keys(r.sources)))
		if hint == "" {
			hint = fmt.Sprintf("add [%s] with module, path, url, deb, git or image", join("sources", name))
		}
		r.fail(n, hint, "source %q is not declared", name)
		return false
	}
	return !r.broken[name]
}

// ref is the file, or by what a folder or a pattern, that n names.
func (r *reader) ref(n *node, what refKind) Ref {
	s, ok := r.filled(n)
	if !ok {
		return Ref{}
	}
	ref := ParseRef(s)
	switch {
	case what != aPattern && isPattern(ref.Path) && r.sources[ref.Source].Deb == "" && ref.Source != FromBuildroot: // versions are in a package's paths
		r.fail(n, "write the name in full", "%q is a pattern, and only one thing can be meant here", s)
	case !strings.Contains(s, ":") && what == aPattern:
		ref.Path = r.matching(n, ref.Path)
	case !strings.Contains(s, ":"):
		ref.Path = r.beside(n, ref.Path, what.want())
	case r.declared(n, ref.Source) && r.pathInSource(n, ref.Path):
		r.inPathSource(n, ref, what)
	}
	return ref
}

type refKind int

const (
	refFile refKind = iota
	refFolder
	aPattern
)

func (k refKind) want() want {
	if k == refFolder {
		return aFolder
	}
	return aFile
}

// pathInSource checks a path or a pattern as such.
func (r *reader) pathInSource(n *node, p string) bool {
	switch _, err := path.Match(p, ""); {
	case p == "":
		r.fail(n, `write "source:path"`, "names no path in the source")
	case err != nil:
		r.fail(n, badPatternHint, "pattern %q is malformed", p)
	case strings.HasPrefix(p, "/") || !fs.ValidPath(p):
		r.fail(n, "write it relative to the source, without . and ..", "path %q is not a path in a source", p)
	default:
		return true
	}
	return false
}

// inPathSource looks for what ref names, if its source lies beside the recipe. All other
// sources are looked at when they are there.
func (r *reader) inPathSource(n *node, ref Ref, what refKind) {
	dir := r.sources[ref.Source].Path
	if dir == "" {
		return
	}
	if info, err := r.root.Stat(dir); err == nil && !info.IsDir() {
		if ok, _ := path.Match(ref.Path, path.Base(dir)); !ok {
			r.fail(n, fmt.Sprintf("write %q", ref.Source+":"+path.Base(dir)), "source %q is one file, %s", ref.Source, path.Base(dir))
		}
		return
	}
	here := *n
	here.doc = &document{file: n.doc.file, dir: dir, source: true}
	if what == aPattern {
		r.matching(&here, ref.Path)
		return
	}
	r.beside(&here, ref.Path, what.want())
}
