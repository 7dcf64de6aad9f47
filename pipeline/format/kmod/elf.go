package kmod

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Parse reads a module that is not compressed. path is its place in the tree.
func Parse(path string, data []byte) (*Module, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("no ELF file: %w", err)
	}
	if f.Machine != elf.EM_AARCH64 || f.Class != elf.ELFCLASS64 {
		return nil, fmt.Errorf("an ELF file for %s, not for 64-bit ARM", strings.TrimPrefix(f.Machine.String(), "EM_"))
	}
	info := texts(f, ".modinfo")
	if f.Type != elf.ET_REL || len(info) == 0 {
		return nil, errors.New("an ELF file, but no kernel module")
	}
	m := &Module{Path: path}
	for _, line := range info {
		key, value, _ := strings.Cut(line, "=")
		m.Info = append(m.Info, Field{key, value})
	}
	symbols, err := f.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return nil, fmt.Errorf("symbols: %w", err)
	}
	m.Exports = exports(f, symbols)
	m.Needs = needs(f, symbols)
	return m, nil
}

// texts are the strings of a section, which NULs separate. Empty ones are padding.
func texts(f *elf.File, section string) []string {
	b := content(f, section)
	all := strings.Split(string(b), "\x00")
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

// content is nil for a section that is absent or damaged.
func content(f *elf.File, section string) []byte {
	s := f.Section(section)
	if s == nil || s.Type == elf.SHT_NOBITS {
		return nil
	}
	b, err := s.Data()
	if err != nil {
		return nil
	}
	return b
}

// exports are the symbols with a checksum, and where there is none, all the names of
// exported symbols (with those of their namespaces): so does depmod.
func exports(f *elf.File, symbols []elf.Symbol) []string {
	var names []string
	for _, s := range symbols {
		if name, ok := strings.CutPrefix(s.Name, "__crc_"); ok && name != "" {
			names = append(names, name)
		}
	}
	if names == nil {
		return texts(f, "__ksymtab_strings")
	}
	return names
}

// version is the size in bytes of an entry of __versions: a checksum of 8 bytes and a name
// (struct modversion_info of include/linux/module.h).
const version = 64

// needs are the undefined symbols, and then those that only have a checksum, such as
// module_layout. The order matters: depmod's depends on it.
func needs(f *elf.File, symbols []elf.Symbol) []string {
	var names []string
	seen := map[string]bool{}
	for _, s := range symbols {
		if s.Section == elf.SHN_UNDEF && s.Name != "" {
			names = append(names, strings.TrimPrefix(s.Name, "."))
			seen[s.Name] = true
		}
	}
	sums := content(f, "__versions")
	if len(sums)%version != 0 {
		return names
	}
	for entry := range slices.Chunk(sums, version) {
		name, _, _ := bytes.Cut(entry[8:], []byte{0})
		if len(name) > 0 && !seen[string(name)] {
			names = append(names, string(name))
		}
	}
	return names
}
