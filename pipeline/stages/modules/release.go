package modules

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// marks are what the folder of a release has, and nothing above it: what the kernel's
// modules_install makes, and depmod's list.
var marks = []string{"kernel", "modules.order", "modules.builtin", "modules.dep"}

// releaseFolder is the folder of the kernel's release among matches and what is directly
// in them. Where the kernel says nothing, it has to be the only one.
func releaseFolder(fsys fs.FS, matches []string, kernel string) (string, error) {
	var all []string
	for _, dir := range matches {
		found, err := releases(fsys, dir)
		if err != nil {
			return "", err
		}
		all = append(all, found...)
	}
	var names []string
	for _, folder := range all {
		names = append(names, path.Base(folder))
	}
	listed := strings.Join(names, ", ")
	switch i := slices.Index(names, kernel); {
	case len(all) == 0:
		return "", errors.New("no folder of a release, with modules.builtin or kernel/, is here or one below")
	case i >= 0:
		return all[i], nil
	case kernel != "":
		return "", &mismatch{kernel: kernel, found: listed}
	case len(all) > 1:
		return "", fmt.Errorf("there are modules of several releases: %s; name one with initramfs.modules.path", listed)
	}
	return all[0], nil
}

// releases are dir itself or the folders in it, if they are those of a release.
func releases(fsys fs.FS, dir string) ([]string, error) {
	if marked(fsys, dir) {
		return []string{dir}, nil
	}
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		if folder := path.Join(dir, e.Name()); e.IsDir() && marked(fsys, folder) {
			all = append(all, folder)
		}
	}
	return all, nil
}

func marked(fsys fs.FS, dir string) bool {
	return slices.ContainsFunc(marks, func(name string) bool {
		_, err := fs.Stat(fsys, path.Join(dir, name))
		return err == nil
	})
}

// mismatch: there are no modules for the kernel.
type mismatch struct{ kernel, found string }

func (e *mismatch) Error() string {
	return fmt.Sprintf("the kernel is %s, and the modules are for %s", e.kernel, e.found)
}

func (e *mismatch) Hint() string {
	return "a kernel takes modules of its own build alone: take both from one package"
}
