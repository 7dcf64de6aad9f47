package kmod

import (
	"bytes"
	"io/fs"
	"strings"
)

// provides are the modules that have an alias, which is in its normal form. Where nobody
// ran depmod, all modules are read to find out.
func (t *Tree) provides(alias string) ([]string, error) {
	if t.aliases == nil {
		t.aliases = map[string][]string{}
		if err := t.loadAliases(); err != nil {
			return nil, err
		}
	}
	return t.aliases[alias], nil
}

func (t *Tree) loadAliases() error {
	lines, err := t.lines("modules.alias")
	if err != nil {
		return err
	}
	for _, line := range lines {
		if words := strings.Fields(line); len(words) == 3 && words[0] == "alias" {
			t.addAlias(words[1], normal(words[2]))
		}
	}
	if lines != nil {
		return nil
	}
	for _, name := range t.names() {
		for _, file := range t.files[name] {
			m, err := t.read(file)
			if err != nil {
				return err
			}
			for _, alias := range m.values("alias") {
				t.addAlias(alias, name)
			}
		}
	}
	return nil
}

func (t *Tree) addAlias(alias, name string) {
	alias = normal(alias)
	t.aliases[alias] = append(t.aliases[alias], name)
}

// builtinAlias is an alias of something that is built in.
type builtinAlias struct{ alias, name string }

// builtinAliases reads modules.builtin.modinfo, which is "module.key=value" with a NUL
// behind each, in its order.
func (t *Tree) builtinAliases() ([]builtinAlias, error) {
	b, err := fs.ReadFile(t.fsys, "modules.builtin.modinfo")
	if err != nil {
		return nil, ignoreMissing(err)
	}
	var all []builtinAlias
	for line := range bytes.SplitSeq(b, []byte{0}) {
		name, rest, _ := strings.Cut(string(line), ".")
		key, value, _ := strings.Cut(rest, "=")
		if name != "" && key == "alias" && value != "" {
			all = append(all, builtinAlias{value, name})
		}
	}
	return all, nil
}
