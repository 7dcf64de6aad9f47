package kmod

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// maxModule is the size in bytes above which a file is no module.
const maxModule = 256 << 20

// Unpack decompresses gzip, xz or zstd, by the magic number.
type Unpack func(io.Reader) (io.ReadCloser, error)

// Tree is the folder of one release, lib/modules/<release>. It is not for concurrent use.
type Tree struct {
	fsys    fs.FS
	unpack  Unpack
	files   map[string][]string // name of a module to the files that hold it, sorted
	builtin map[string]string   // name of what is built into the kernel to its path
	order   map[string]int      // path without compression to its line in modules.order

	aliases map[string][]string // normal alias to modules; nil until somebody asks
}

// Open lists the modules of a release. It reads none of them.
func Open(fsys fs.FS, unpack Unpack) (*Tree, error) {
	t := &Tree{
		fsys: fsys, unpack: unpack,
		files: map[string][]string{}, builtin: map[string]string{}, order: map[string]int{},
	}
	if err := t.walk(); err != nil {
		return nil, err
	}
	builtin, err := t.lines("modules.builtin")
	if err != nil {
		return nil, err
	}
	for _, file := range builtin {
		t.builtin[nameOf(file)] = file
	}
	order, err := t.lines("modules.order")
	if err != nil {
		return nil, err
	}
	for i, file := range order {
		t.order[file] = i
	}
	return t, nil
}

// walk finds the files. Links to the kernel's sources are not followed.
func (t *Tree) walk() error {
	return fs.WalkDir(t.fsys, ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "build" || d.Name() == "source"):
			return fs.SkipDir
		case d.Type().IsRegular() && isModule(file):
			t.files[nameOf(file)] = append(t.files[nameOf(file)], file)
		}
		return nil
	})
}

// lines are those of a list of the kernel's build, nil where it is not there.
func (t *Tree) lines(name string) ([]string, error) {
	b, err := fs.ReadFile(t.fsys, name)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	return slices.Collect(strings.FieldsFuncSeq(string(b), func(c rune) bool { return c == '\n' })), nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Len is the number of modules, without those that are built in.
func (t *Tree) Len() int { return len(t.files) }

// file is the one that holds the module called name, "" where none does.
func (t *Tree) file(name string) (string, error) {
	all := t.files[name]
	if len(all) > 1 {
		updates := slices.DeleteFunc(slices.Clone(all), func(f string) bool { return !strings.HasPrefix(f, "updates/") })
		if len(updates) > 0 {
			all = updates
		}
	}
	switch len(all) {
	case 0:
		return "", nil
	case 1:
		return all[0], nil
	}
	return "", fmt.Errorf("module %s is in more than one file: %s", name, strings.Join(all, ", "))
}

// names are those of all modules, sorted.
func (t *Tree) names() []string { return slices.Sorted(maps.Keys(t.files)) }

// read reads the module in a file.
func (t *Tree) read(file string) (*Module, error) {
	r, err := t.OpenModule(file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err == nil && len(data) > maxModule {
		err = fmt.Errorf("more than %d bytes are no module", maxModule)
	}
	var m *Module
	if err == nil {
		m, err = Parse(file, data)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return m, nil
}

// OpenModule reads a module by its path, unpacked.
func (t *Tree) OpenModule(file string) (io.ReadCloser, error) {
	f, err := t.fsys.Open(file)
	if err != nil || path.Ext(file) == endings[0] {
		return f, err
	}
	r, err := t.unpack(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return unpacked{r, f}, nil
}

// unpacked closes the file below the decompressor too.
type unpacked struct {
	io.ReadCloser
	file io.Closer
}

func (u unpacked) Close() error { return errors.Join(u.ReadCloser.Close(), u.file.Close()) }
