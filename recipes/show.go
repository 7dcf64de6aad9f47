package recipes

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"piimg/pipeline/format/sdcard"
)

// Show writes the recipe as TOML after extends and defaults, each key with the place that
// it came from. The same place, read as a recipe in the same folder, is the same recipe.
func (r *Recipe) Show(w io.Writer) error {
	var b bytes.Buffer
	s := &show{r: r, w: tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.StripEscape)}
	s.recipe()
	if err := s.w.Flush(); err != nil {
		return err
	}
	_, err := b.WriteTo(w)
	return err
}

// number are the values of config.txt that an integer of TOML gives back unchanged.
var number = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,17})$`)

// show writes the keys of one table after another.
type show struct {
	r    *Recipe
	w    *tabwriter.Writer
	path string // of the table, with indices
}

func (s *show) recipe() {
	r := s.r
	s.text("name", r.Name)
	s.line("epoch", fmt.Sprint(r.Epoch))
	s.list("boards", r.Boards)
	s.optional("bootloader", r.Bootloader)
	for _, name := range slices.Sorted(maps.Keys(r.Sources)) {
		src := r.Sources[name]
		s.table(join("sources", name))
		s.optional("module", src.Module)
		s.optional("path", src.Path)
		s.optional("url", src.URL)
		s.optional("sha256", src.SHA256)
		s.optional("deb", src.Deb)
		s.optionalList("depends", src.Depends)
		s.optional("archive", src.Archive)
		s.optional("suite", src.Suite)
		s.optionalList("components", src.Components)
		s.optional("git", src.Git)
		s.optional("rev", src.Rev)
		s.optional("image", src.Image)
	}
	s.table("kernel")
	s.text("file", r.Kernel.File.String())
	s.text("name", r.Kernel.Name)
	s.text("cmdline", r.Kernel.Cmdline)
	s.optional("licence", r.Kernel.Licence.String())
	s.dtb(r.DTB)
	if r.Firmware.From != "" {
		s.table("firmware")
		s.text("from", r.Firmware.From)
		s.optionalList("files", r.Firmware.Files)
	}
	for _, section := range r.Config {
		s.section(section)
	}
	if r.Initramfs != nil {
		s.initramfs(r.Initramfs)
	}
	if b := r.Buildroot; b != nil {
		s.table("buildroot")
		s.text("tree", b.Tree)
		s.optional("base_defconfig", b.Defconfig)
		s.optionalList("options", b.Options)
		s.optionalList("external", b.External)
		s.optionalList("overlays", b.Overlays)
		if b.Jobs > 0 {
			s.line("jobs", fmt.Sprint(b.Jobs))
		}
	}
	if o := r.Output; o != nil {
		s.table("output")
		s.flag("boot_img", o.BootImg)
		s.optional("boot_key", o.BootKey)
		s.optional("efi", o.EFI.String())
		s.flag("sdcard_img", o.SDCardImg)
		if o.SDCardSize > 0 {
			s.text("sdcard_size", sdcard.FormatSize(o.SDCardSize))
		}
		s.optional("sdcard_label", o.SDCardLabel)
	}
	if u := r.URoot; u != nil {
		s.table("uroot")
		s.text("from", u.From)
		s.list("commands", u.Commands)
		s.text("init", u.Init)
		s.text("shell", u.Shell)
	}
	if ignored := r.Ignored(); len(ignored) > 0 {
		s.table("lint.ignore")
		for _, rule := range slices.Sorted(maps.Keys(ignored)) {
			s.text(rule, ignored[rule])
		}
	}
}

func (s *show) dtb(d DTB) {
	s.table("dtb")
	files := make([]string, len(d.Files))
	for i, f := range d.Files {
		files[i] = f.String()
	}
	s.list("files", files)
	s.list("overlays", d.Overlays)
	s.optional("overlays_from", d.OverlaysFrom.String())
	s.optionalList("ship", d.Ship)
}

// section writes the lines of one filter. Lines with one key are one list.
func (s *show) section(section Section) {
	path := "config"
	if section.Filter != "" {
		path = join(path, section.Filter)
	}
	s.table(path)
	values := map[string][]string{}
	var keys []string
	for _, l := range section.Lines {
		if values[l.Key] == nil {
			keys = append(keys, l.Key)
		}
		values[l.Key] = append(values[l.Key], l.Value)
	}
	for _, k := range keys {
		if v := values[k]; len(v) > 1 {
			s.list(k, v)
		} else if number.MatchString(v[0]) {
			s.line(k, v[0])
		} else {
			s.text(k, v[0])
		}
	}
}

func (s *show) initramfs(i *Initramfs) {
	s.table("initramfs")
	s.text("name", i.Name)
	s.text("base", i.Base.String())
	s.text("mode", i.Mode)
	s.text("compression", i.Compression)
	s.text("level", i.Level)
	s.flag("recompress", i.Recompress)
	s.flag("normalize", i.Normalize)
	s.list("overlays", i.Overlays)
	s.optionalList("remove", i.Remove)
	for _, f := range i.Files {
		s.element(f.Key)
		s.text("path", f.Path)
		s.perm(f.Mode, f.UID, f.GID)
		switch {
		case f.From != Ref{}:
			s.text("from", f.From.String())
		case f.Template != "":
			s.text("template", f.Template)
		default:
			s.text("content", f.Content)
		}
	}
	for _, d := range i.Dirs {
		s.element(d.Key)
		s.text("path", d.Path)
		s.perm(d.Mode, d.UID, d.GID)
	}
	for _, l := range i.Symlinks {
		s.element(l.Key)
		s.text("path", l.Path)
		s.text("target", l.Target)
	}
	for _, n := range i.Nodes {
		s.element(n.Key)
		s.text("path", n.Path)
		s.text("type", n.Type)
		if n.Type != "fifo" {
			s.line("major", fmt.Sprint(n.Major))
			s.line("minor", fmt.Sprint(n.Minor))
		}
		s.perm(n.Mode, n.UID, n.GID)
	}
	s.edits(i)
	s.limits(i.Limits)
	if m := i.Modules; m != nil {
		s.table("initramfs.modules")
		s.text("from", m.From)
		s.text("path", m.Path)
		s.list("select", m.Select)
		s.line("decompress", fmt.Sprint(m.Decompress))
	}
}

func (s *show) limits(l Limits) {
	if l == (Limits{}) {
		return
	}
	s.table("initramfs.limits")
	limits := l.ByName()
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		if v := *limits[name].To; v > 0 {
			s.line(name, fmt.Sprint(v))
		}
	}
}

func (s *show) edits(i *Initramfs) {
	for _, r := range i.Renames {
		s.element(r.Key)
		s.text("from", r.From)
		s.text("to", r.To)
	}
	for _, c := range i.Chmods {
		s.element(c.Key)
		s.text("path", c.Glob)
		s.text("mode", fmt.Sprintf("%04o", c.Mode))
	}
	for _, c := range i.Chowns {
		s.element(c.Key)
		s.text("path", c.Glob)
		s.text("owner", fmt.Sprintf("%d:%d", c.UID, c.GID))
	}
}

func (s *show) perm(mode, uid, gid uint32) {
	s.text("mode", fmt.Sprintf("%04o", mode))
	s.text("owner", fmt.Sprintf("%d:%d", uid, gid))
}

func (s *show) table(path string) {
	fmt.Fprintf(s.w, "\n[%s]\n", path)
	s.path = path
}

// element starts the table of an array that is at path, "initramfs.file[2]".
func (s *show) element(path string) {
	array, _, _ := strings.Cut(path, "[")
	fmt.Fprintf(s.w, "\n[[%s]]\n", array)
	s.path = path
}

func (s *show) text(key, v string) { s.line(key, tomlString(v)) }

func (s *show) optional(key, v string) {
	if v != "" {
		s.text(key, v)
	}
}

func (s *show) flag(key string, on bool) {
	if on {
		s.line(key, "true")
	}
}

func (s *show) optionalList(key string, v []string) {
	if len(v) > 0 {
		s.list(key, v)
	}
}

// list writes one element to a line as soon as there is more than one, since each can
// come from another file.
func (s *show) list(key string, v []string) {
	if len(v) < 2 {
		q := make([]string, len(v))
		for i, x := range v {
			q[i] = tomlString(x)
		}
		s.line(key, "["+strings.Join(q, ", ")+"]")
		return
	}
	fmt.Fprintf(s.w, "%s = [\n", tomlKey(key))
	for i, x := range v {
		fmt.Fprintf(s.w, "  %s,%s\n", escape(tomlString(x)), s.from(element(s.key(key), i)))
	}
	fmt.Fprint(s.w, "]\n")
}

func (s *show) line(key, value string) {
	fmt.Fprintf(s.w, "%s = %s%s\n", tomlKey(key), escape(value), s.from(s.key(key)))
}

func (s *show) key(key string) string { return join(s.path, key) }

// from is the comment that says where a key came from, empty for a default.
func (s *show) from(path string) string {
	if p, ok := s.r.where[path]; ok {
		return "\t# " + escape(p.String())
	}
	return ""
}

// escape keeps the tabwriter from looking into v.
func escape(v string) string { return "\xff" + v + "\xff" }

func tomlKey(key string) string { return join("", key) }

// tomlString is v as a basic string.
func tomlString(v string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range v {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case isControl(c):
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
