package recipes

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Limits of the firmware, in characters.
const (
	maxConfigLine   = 98
	maxConfigFilter = 60
)

var configKey = regexp.MustCompile(`^[a-z][a-z0-9_]*(:[01])?$`)

// listLike are the keys of config.txt that may stand on several lines; of any other the
// last line wins.
var listLike = []string{"dtoverlay", "dtparam", "gpio"}

// ownKeys are the keys of config.txt that piimg writes, and what to say instead.
var ownKeys = map[string]string{
	"arm_64bit":      "take it out: piimg makes 64-bit images, and says so",
	"kernel":         "say kernel.name",
	"initramfs":      "say [initramfs]",
	"ramfsfile":      "say [initramfs]",
	"ramfsaddr":      "say [initramfs]: it is loaded behind the kernel",
	"auto_initramfs": "say [initramfs]",
	"cmdline":        "say kernel.cmdline",
	"os_prefix":      "take it out: the server gives each board a folder of its own",
	"overlay_prefix": "say dtb.overlays_from: in the image the folder is overlays/",
	"include":        "write the lines of that file here: nothing would ship it",
}

// Filters of config.txt besides the words that boards obey.
var (
	filterWords = []string{"all", "none", "tryboot", "pi0", "pi0w", "pi02", "pi1", "pi2", "pi3", "pi3+",
		"pi4", "pi400", "pi5", "pi500", "cm0", "cm1", "cm3", "cm3+", "cm4", "cm4s", "cm5"}
	filterForm = regexp.MustCompile(`^(0x[0-9a-f]{1,8}|EDID=.+|HDMI:[01]|gpio[0-9]+=[01]|` +
		`(board-type|partition|boot_partition|boot_count|boot_arg1|board_attributes|bootvar0|cust_otp[0-9]*)[=&].+)$`)
)

// config reads [config] and the filters below it, in the order in which they stand.
func (r *reader) config(n *node) []Section {
	t := r.open(n)
	if t.n == nil {
		return nil
	}
	always := Section{}
	var filtered []Section
	for _, key := range n.order {
		v := t.m[key]
		if _, ok := v.table(); ok {
			filtered = append(filtered, r.section(key, v))
			continue
		}
		always.Lines = append(always.Lines, r.settings(key, v)...)
	}
	return slices.DeleteFunc(append([]Section{always}, filtered...), func(s Section) bool {
		return len(s.Lines) == 0
	})
}

func (r *reader) section(filter string, n *node) Section {
	r.filter(filter, n)
	s := Section{Filter: filter}
	m, _ := n.table()
	for _, key := range n.order {
		if _, ok := m[key].table(); ok {
			r.fail(m[key], `quote a filter with dots: [config."…"]`, "is a table, and filters hold no filters")
			continue
		}
		s.Lines = append(s.Lines, r.settings(key, m[key])...)
	}
	return s
}

func (r *reader) filter(filter string, n *node) {
	words := slices.Clone(filterWords)
	for _, b := range r.boards {
		words = append(words, b.Filters...)
	}
	slices.Sort(words)
	words = slices.Compact(words)
	switch {
	case strings.ContainsFunc(filter, notPrintable) || strings.ContainsAny(filter, "[]"):
		r.fail(n, "write it as in config.txt, without the brackets", "%q is not a filter", filter)
	case len(filter) > maxConfigFilter:
		r.fail(n, "", "the filter is %d characters long, and the firmware reads %d", len(filter), maxConfigFilter)
	case !slices.Contains(words, filter) && !filterForm.MatchString(filter):
		r.fail(n, suggest(filter, "filters", words), "filter %q is not known", filter)
	}
}

// settings are the lines that one key of the recipe makes.
func (r *reader) settings(key string, n *node) []Setting {
	if !r.configKey(key, n) {
		return nil
	}
	list, isList := n.list()
	if isList && !slices.Contains(listLike, key) {
		r.fail(n, "write one value; lists are for "+strings.Join(listLike, ", "), "is a list, and of several lines the firmware takes the last")
		return nil
	}
	if !isList {
		list = []*node{n}
	}
	var lines []Setting
	for _, el := range list {
		if v, ok := r.settingValue(key, el); ok {
			lines = append(lines, Setting{key, v})
		}
	}
	return lines
}

func (r *reader) configKey(key string, n *node) bool {
	if hint, own := ownKeys[key]; own {
		r.fail(n, hint, "is written by piimg")
		return false
	}
	if !configKey.MatchString(key) {
		r.fail(n, "keys of config.txt are lower case: a-z, 0-9 and underscore", "%q is not a key of config.txt", key)
		return false
	}
	return true
}

func (r *reader) settingValue(key string, n *node) (string, bool) {
	var s string
	switch v := n.value.(type) {
	case int64:
		s = fmt.Sprint(v)
	case string:
		s = v
	case bool:
		hint := "write 0"
		if v {
			hint = "write 1"
		}
		r.fail(n, hint, "config.txt has no booleans")
		return "", false
	default:
		r.fail(n, quoteHint(n), "must be a string or an integer, not %s", n.kind())
		return "", false
	}
	return s, r.line(n, key, s)
}

// line checks one line of config.txt.
func (r *reader) line(n *node, key, value string) bool {
	length := len(key) + len("=") + len(value)
	switch i := strings.IndexFunc(value, notPrintable); {
	case i >= 0:
		r.fail(n, "the firmware stops reading config.txt there", "has a character that is not printable ASCII, at byte %d", i)
	case strings.TrimSpace(value) != value:
		r.fail(n, "the firmware takes spaces as part of the value", "%q starts or ends with a space", value)
	case length > maxConfigLine:
		r.fail(n, "the firmware ignores the rest; move parameters to dtparam lines of their own",
			"makes a line of %d characters, and the firmware reads %d", length, maxConfigLine)
	default:
		return true
	}
	return false
}
