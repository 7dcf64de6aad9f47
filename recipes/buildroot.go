package recipes

import (
	"path"
	"regexp"
	"strings"
)

// FromBuildroot is the source that stands for what the buildroot stage makes.
const FromBuildroot = "buildroot"

// Buildroot is the [buildroot] table: a system that Buildroot compiles.
type Buildroot struct {
	Tree      string   `json:"tree"`                // source: Buildroot's own tree, or a tarball of it
	Defconfig string   `json:"defconfig,omitempty"` // configuration of the tree to start from
	Options   []string `json:"options"`             // lines of a configuration, without blanks around them
	External  []string `json:"external,omitempty"`  // external trees, beside the recipe
	Overlays  []string `json:"overlays,omitempty"`  // folders beside the recipe
	Jobs      int      `json:"-"`                   // processes at once; shapes no byte
}

var (
	defconfigName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*_defconfig$`)
	optionLine    = regexp.MustCompile(`^([A-Za-z0-9_]+)=(y|n|-?[0-9]+|0x[0-9A-Fa-f]+|"(?:[^"\\]|\\.)*")$`)
	optionUnset   = regexp.MustCompile(`^# ([A-Za-z0-9_]+) is not set$`)
)

// OptionName is the symbol that a line of a configuration sets, "" where it is no such line.
func OptionName(line string) string {
	for _, form := range []*regexp.Regexp{optionLine, optionUnset} {
		if m := form.FindStringSubmatch(line); m != nil {
			return m[1]
		}
	}
	return ""
}

// buildroot is the [buildroot] table. What it makes can be named as a source then.
func (r *reader) buildroot(t *table) *Buildroot {
	if t.n == nil {
		return nil
	}
	if _, taken := r.sources[FromBuildroot]; taken {
		r.fail(t.n, "call the source of Buildroot's tree otherwise: [sources.tree]", "stands for what Buildroot makes, and a source has that name")
	}
	b := &Buildroot{
		Tree:    r.sourceRef(t.must("tree", "name the source that is Buildroot's tree")),
		Options: r.options(t.get("options")),
	}
	if n := t.get("base_defconfig"); n != nil {
		if s, ok := r.filled(n); ok && !defconfigName.MatchString(s) {
			r.fail(n, `write the name of a file in configs/: "raspberrypi4_64_defconfig"`, "%q is not the name of a configuration", s)
		}
		b.Defconfig = n.text()
	}
	for _, el := range r.texts(t.get("external")) {
		b.External = append(b.External, r.external(el))
	}
	for _, el := range r.texts(t.get("overlays")) {
		b.Overlays = append(b.Overlays, r.beside(el, el.text(), aFolder))
	}
	if n, ok := r.integer(t.get("jobs"), 1, 1024); ok {
		b.Jobs = int(n)
	}
	if b.Defconfig == "" && len(b.Options) == 0 {
		r.fail(t.n, "add base_defconfig, options or both", "says nothing of what is to be built")
	}
	t.done()
	r.sources[FromBuildroot] = Source{}
	return b
}

// external is a folder that Buildroot takes for an external tree.
func (r *reader) external(n *node) string {
	rel := r.beside(n, n.text(), aFolder)
	for _, file := range []string{"external.desc", "Config.in", "external.mk"} {
		if _, err := r.root.Stat(path.Join(rel, file)); rel != "" && err != nil {
			r.fail(n, "an external tree has external.desc, Config.in and external.mk, which may be empty but for the first", "%q has no %s", rel, file)
			break
		}
	}
	return rel
}

// ours are options that piimg sets itself, with what to say in the recipe.
var ours = map[string]string{
	"BR2_DL_DIR":     "downloads are shared in piimg's cache",
	"BR2_CCACHE_DIR": "the cache of ccache is shared in piimg's cache",
	"BR2_JLEVEL":     "say jobs, or --jobs",
	"BR2_HOST_DIR":   "it lies in the output folder",
	"BR2_DEFCONFIG":  "say base_defconfig",
}

// options are lines of a configuration, each symbol once. Blanks around = are kconfig's way
// to ignore a line without a word, so they are refused.
func (r *reader) options(n *node) []string {
	first := map[string]string{}
	return r.distinct(r.texts(n), func(el *node) {
		line := el.text()
		name := OptionName(line)
		switch {
		case name == "" && regexp.MustCompile(`^[A-Za-z0-9_]+=`).MatchString(line):
			r.fail(el, `values are y, n, numbers and texts in double quotes: 'BR2_TARGET_GENERIC_HOSTNAME="pi"'`, "%s is no line of a configuration", line)
		case name == "":
			r.fail(el, `write "BR2_X=y", "# BR2_X is not set" or 'BR2_X="text"', without blanks around =`, "%q is no line of a configuration", line)
		case first[name] != "":
			r.fail(el, "keep one of them", "%s is set twice, first by %s", name, first[name])
		case ours[name] != "":
			r.fail(el, ours[name], "%s is piimg's to set", name)
		case strings.Contains(line, `\n`):
			r.fail(el, "", "%s has a line break in it", name)
		}
		first[name] = line
	})
}

// needsBuildroot says that n, which names what Buildroot makes, needs the table.
func (r *reader) needsBuildroot(n *node) {
	if _, ok := r.sources[FromBuildroot]; !ok {
		r.fail(n, "add [buildroot] with tree and options", "needs a [buildroot] table")
	}
}
