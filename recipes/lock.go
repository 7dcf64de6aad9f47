package recipes

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"piimg/store"
)

// Lock pins the sources of a recipe. It lies beside the recipe, under its name and
// ".lock", and is meant to be committed with it.
type Lock struct {
	Sources map[string]Pin
}

// Pin is one pinned source.
type Pin struct {
	Kind    string       // "module", "file", "dir", "url", "deb", "git" or "image"
	From    string       // what the recipe said when it was pinned, as [Source.Text]; another text makes the pin stale
	Version string       // of a module, as resolved; of packages, "name:arch=version …"; of git, the commit; the digest of an image
	Sum     string       // of a module: its h1 sum, as go.sum has it; of packages: "sha256:…" of each file
	Digest  store.Digest // of a file: of its bytes; of a folder: of its tree; of an image: its name
	Size    int64        // of all bytes
}

// lockVersion is the only version of the file's form so far.
const lockVersion = 1

const lockHint = `make the file anew with "piimg lock"`

// LockFile is where the lock of a recipe lies: pi4.lock beside pi4.toml.
func LockFile(recipeFile string) string {
	return strings.TrimSuffix(recipeFile, ".toml") + ".lock"
}

// LoadLock reads a lock file, as strictly as a recipe. Its error is an *[Error] or
// [Errors], and fs.ErrNotExist where there is no file.
func LoadLock(file string) (*Lock, error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, &Error{File: file, Msg: reason(err), Help: `make it with "piimg lock"`, Err: err}
	}
	root, err := (&document{file: file, dir: "."}).parse(string(src))
	if err != nil {
		return nil, err
	}
	r := &reader{}
	l := r.lock(r.open(root))
	return l, r.errs.err([]string{file})
}

func (r *reader) lock(t *table) *Lock {
	if n := t.must("version", lockHint); n != nil {
		if v, ok := n.value.(int64); !ok || v != lockVersion {
			r.fail(n, "use the piimg that wrote it, or a newer one", "this piimg reads version %d only", lockVersion)
			return &Lock{} // the rest may mean anything
		}
	}
	l := &Lock{Sources: map[string]Pin{}}
	sources := r.open(t.get("sources"))
	for _, name := range slices.Sorted(maps.Keys(sources.m)) {
		l.Sources[name] = r.pin(r.open(sources.get(name)))
	}
	t.done()
	return l
}

func (r *reader) pin(t *table) Pin {
	var p Pin
	p.Kind = r.oneOf(t.must("kind", lockHint), "dir", "deb", "file", "git", "image", "module", "url")
	p.From, _ = r.filled(t.must("from", lockHint))
	r.resolved(t, &p)
	n := t.must("digest", lockHint)
	if s, ok := r.str(n); ok {
		d, err := store.ParseDigest(s)
		if err != nil {
			r.fail(n, "", "%s", err)
		}
		p.Digest = d
	}
	p.Size, _ = r.integer(t.must("size", lockHint), 0, 1<<62)
	t.done()
	return p
}

// resolved reads what was found out about a source: each kind has its own.
func (r *reader) resolved(t *table, p *Pin) {
	version, sum := t.get, t.get
	must := func(key string) *node { return t.must(key, lockHint) }
	switch p.Kind {
	case "module", "deb":
		version, sum = must, must
	case "git", "image":
		version = must
	}
	p.Version, _ = r.filled(version("version"))
	p.Sum, _ = r.filled(sum("sum"))
	if p.Kind == "module" && p.Sum != "" && !strings.HasPrefix(p.Sum, "h1:") {
		r.fail(t.m["sum"], "", "%q does not start with h1:", p.Sum)
	}
	if p.Kind == "deb" && len(strings.Fields(p.Version)) != len(strings.Fields(p.Sum)) {
		r.fail(t.m["sum"], lockHint, "has not one sum for each package of version")
	}
}

// Write writes the lock to file, in one step: a reader sees the old file or the new one.
func (l *Lock) Write(file string) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".lock-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // nothing is left to remove after the rename
	if err := writeSynced(tmp, l.text()); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return os.Rename(tmp.Name(), file)
}

// writeSynced writes b to f for every user to read, and closes f.
func writeSynced(f *os.File, b []byte) error {
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// text is the lock as TOML, sorted by source.
func (l *Lock) text() []byte {
	var b bytes.Buffer
	b.WriteString("# What the recipe of this name is built from, written by \"piimg lock\". Commit it and do not edit it.\n\n")
	fmt.Fprintf(&b, "version = %d\n", lockVersion)
	for _, name := range slices.Sorted(maps.Keys(l.Sources)) {
		p := l.Sources[name]
		fmt.Fprintf(&b, "\n[%s]\n", join("sources", name))
		for _, kv := range []struct{ key, value string }{
			{"kind", p.Kind}, {"from", p.From}, {"version", p.Version}, {"sum", p.Sum}, {"digest", p.digest()},
		} {
			if kv.value != "" {
				fmt.Fprintf(&b, "%-7s = %s\n", kv.key, tomlString(kv.value))
			}
		}
		fmt.Fprintf(&b, "%-7s = %d\n", "size", p.Size)
	}
	return b.Bytes()
}

func (p Pin) digest() string {
	if p.Digest.IsZero() {
		return ""
	}
	return p.Digest.String()
}

// pin is the pin of a source; l may be nil.
func (l *Lock) pin(name string) (Pin, bool) {
	if l == nil {
		return Pin{}, false
	}
	p, ok := l.Sources[name]
	return p, ok
}

// Stale is a source for which recipe and lock do not agree.
type Stale struct {
	Source string
	Why    Staleness
	Text   string // for people: "is not pinned"
}

// Staleness is how a lock can disagree with its recipe.
type Staleness int

const (
	Missing     Staleness = iota // declared, and not pinned
	Superfluous                  // pinned, and no longer declared
	Changed                      // declared otherwise than when it was pinned
)

// Stale are the sources for which the lock does not say what r says, sorted by name. It
// looks at texts only: whether a folder still holds what was pinned is for the reader of
// that folder to tell. l may be nil, and pins nothing then.
func (l *Lock) Stale(r *Recipe) []Stale {
	var out []Stale
	for name, s := range r.Sources {
		p, ok := l.pin(name)
		switch {
		case !ok:
			out = append(out, Stale{name, Missing, "is not pinned"})
		case !s.hasKind(p.Kind) || s.Text() != p.From:
			out = append(out, Stale{name, Changed, fmt.Sprintf("was pinned as the %s %s, and the recipe says the %s %s", p.Kind, p.From, s.kind(), s.Text())})
		case s.SHA256 != "" && s.SHA256 != p.Digest.Hex():
			out = append(out, Stale{name, Changed, "was pinned with another sha256 than the recipe says"})
		}
	}
	if l != nil {
		for name := range l.Sources {
			if _, ok := r.Sources[name]; !ok {
				out = append(out, Stale{name, Superfluous, "is pinned, and the recipe does not declare it"})
			}
		}
	}
	slices.SortFunc(out, func(a, b Stale) int { return strings.Compare(a.Source, b.Source) })
	return out
}

// hasKind says whether a pin of that kind can be one of s.
func (s Source) hasKind(kind string) bool {
	return kind == s.kind() || s.Path != "" && (kind == "file" || kind == "dir")
}

// kind is the key of the recipe that says what s is.
func (s Source) kind() string {
	for _, k := range []struct{ kind, value string }{
		{"module", s.Module}, {"url", s.URL}, {"deb", s.Deb}, {"git", s.Git}, {"image", s.Image},
	} {
		if k.value != "" {
			return k.kind
		}
	}
	return "path"
}
