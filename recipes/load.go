package recipes

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// LoadOptions are what a recipe does not say about itself. The zero value is usual.
type LoadOptions struct {
	// Epoch, where it is set, is used in place of the recipe's: the caller's
	// SOURCE_DATE_EPOCH, in Unix seconds.
	Epoch *int64

	// Rules are the ids of the linter's rules, which is what a recipe can ignore. Where they
	// are nil, what it ignores is not checked.
	Rules []string
}

// Load reads the recipe in file, and what it extends, and checks everything that can be
// checked without a source: README.md lists the keys. Its error is an *[Error] or
// [Errors] with every mistake; a file that is missing is fs.ErrNotExist as well.
func Load(file string) (*Recipe, error) { return LoadOptions{}.Load(file) }

// Load is [Load] with options.
func (o LoadOptions) Load(file string) (*Recipe, error) {
	boards, err := Boards()
	if err != nil {
		return nil, err
	}
	dir, base := filepath.Split(file)
	root, err := os.OpenRoot(filepath.Clean(dir))
	if err != nil {
		return nil, &Error{File: file, Msg: reason(err), Err: err}
	}
	defer root.Close()

	l := &loader{dir: filepath.Clean(dir), root: root, read: map[string]bool{}}
	l.follow(base, nil, nil)
	if len(l.errs) > 0 { // what else is wrong depends on the text that is not there
		return nil, l.errs.err(l.files())
	}
	all := l.merged()
	r := &reader{root: root, boards: boards, rules: o.Rules, errs: l.errs}
	recipe := r.recipe(all)
	recipe.File = file
	recipe.where = map[string]Pos{}
	note(recipe.where, "", all)
	o.override(r, all, recipe)
	if err := r.errs.err(l.files()); err != nil {
		return nil, err
	}
	return recipe, nil
}

// override puts the epoch of the options in place.
func (o LoadOptions) override(r *reader, all *node, recipe *Recipe) {
	if o.Epoch == nil {
		return
	}
	recipe.Epoch = *o.Epoch
	if e := *o.Epoch; e < DefaultEpoch || e > maxEpoch {
		r.add(&Error{File: all.doc.file, Key: "epoch", Msg: fmt.Sprintf("SOURCE_DATE_EPOCH: %d is not between %d and %d", e, DefaultEpoch, maxEpoch), Help: epochHint})
	}
}

// files are the documents in the order in which they are applied.
func (l *loader) files() []string {
	var files []string
	for _, d := range l.docs {
		files = append(files, d.doc.file)
	}
	return files
}

// note writes down where each value below n came from. path is its path in the recipe.
func note(where map[string]Pos, path string, n *node) {
	if path != "" {
		where[path] = n.pos()
	}
	if m, ok := n.table(); ok {
		for k, v := range m {
			note(where, join(path, k), v)
		}
	}
	if l, ok := n.list(); ok {
		for i, v := range l {
			note(where, element(path, i), v)
		}
	}
}

// maxEpoch is the largest time that a cpio header holds, in Unix seconds.
const maxEpoch = 1<<32 - 1

const epochHint = "times in an image start in 1980, where FAT's clock starts"

const dayHint = `write the day of the oldest EEPROM release in the fleet: "2024-04-15"`

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// recipe reads the whole.
func (r *reader) recipe(all *node) *Recipe {
	t := r.open(all)
	t.get("extends")
	out := &Recipe{
		Name:       r.name(t.must("name", `add name = "pi4-netboot", a word for images of this recipe`)),
		Epoch:      r.epoch(t.get("epoch")),
		Boards:     r.boardList(t.must("boards", `add boards = ["pi4b"], the models that boot the image`)),
		Bootloader: r.date(t.get("bootloader")),
		Sources:    r.sourceTable(t.get("sources")),
	}
	r.sources = maps.Clone(out.Sources)
	out.Buildroot = r.buildroot(r.open(t.get("buildroot")))
	out.Kernel = r.kernel(r.open(t.must("kernel", "add [kernel] with file and cmdline")))
	out.DTB = r.dtb(r.open(t.must("dtb", `add [dtb] with files = ["kernel:*.dtb"]`)), out.Kernel)
	out.Firmware = r.firmware(t, out.Boards)
	out.Config = r.config(t.get("config"))
	out.Output = r.output(r.open(t.get("output")))
	out.Lint = r.lint(r.open(t.get("lint")))
	uroot := t.get("uroot")
	if n := t.get("initramfs"); n != nil {
		out.Initramfs = r.initramfs(r.open(n), uroot != nil)
		if k := t.m["kernel"]; out.Initramfs.Name == out.Kernel.Name && k != nil {
			r.fail(n, "give one of them another name", "is called %q, as the kernel is", out.Kernel.Name)
		}
	}
	if uroot != nil {
		out.URoot = r.uroot(r.open(uroot))
	}
	t.done()
	return out
}

func (r *reader) name(n *node) string {
	s, ok := r.str(n)
	if ok && !namePattern.MatchString(s) {
		r.fail(n, "use 1 to 63 of a-z, 0-9, dot, underscore and dash, with a letter or digit first", "%q is not a name", s)
	}
	return s
}

func (r *reader) epoch(n *node) int64 {
	if n == nil {
		return DefaultEpoch
	}
	v, ok := n.value.(int64)
	switch {
	case !ok:
		r.fail(n, `write Unix seconds, as "date +%s" prints them`, "must be an integer, not %s", n.kind())
	case v < DefaultEpoch || v > maxEpoch:
		r.fail(n, epochHint, "%d is not between %d and %d", v, int64(DefaultEpoch), int64(maxEpoch))
	}
	return v
}

func (r *reader) boardList(n *node) []string {
	if n == nil {
		return nil
	}
	known := boardNames(r.boards)
	list := r.texts(n)
	if l, ok := n.list(); ok && len(l) == 0 {
		r.fail(n, suggest("", "boards", known), "names no board")
	}
	return r.distinct(list, func(el *node) {
		if !slices.Contains(known, el.text()) {
			r.fail(el, suggest(el.text(), "boards", known), "board %q is not known", el.text())
		}
	})
}

// distinct are the texts of list; check looks at each one that was not there before.
func (r *reader) distinct(list []*node, check func(*node)) []string {
	out := []string{}
	for _, el := range list {
		if slices.Contains(out, el.text()) {
			r.fail(el, "", "%q stands twice in the list", el.text())
			continue
		}
		out = append(out, el.text())
		check(el)
	}
	return out
}

// date is a day: a string, or a date of TOML.
func (r *reader) date(n *node) string {
	if n == nil {
		return ""
	}
	if t, ok := n.value.(time.Time); ok && t.Location().String() == "date-local" {
		return t.Format(time.DateOnly)
	}
	if _, ok := n.value.(time.Time); ok {
		r.fail(n, dayHint, "must be a day, without a time")
		return ""
	}
	s, ok := r.str(n)
	if !ok {
		return ""
	}
	if _, err := time.Parse(time.DateOnly, s); err != nil {
		r.fail(n, dayHint, "%q is not a day", s)
	}
	return s
}

// Path is where rel, a path that the recipe says, lies in the file system.
func (r *Recipe) Path(rel string) string {
	return filepath.Join(filepath.Dir(r.File), filepath.FromSlash(rel))
}
