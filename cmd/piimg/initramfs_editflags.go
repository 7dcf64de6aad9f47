package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/initrd/overlay"
	"piimg/pipeline/format/initrd/repack"
	"piimg/pipeline/format/newc"
)

func (f editFlags) options() (repack.Options, error) {
	o := repack.Options{Format: codec.Format(f.compression), Epoch: uint32(f.epoch), Recompress: f.recompress}
	level, said := codec.ParseLevel(f.level)
	if o.Level = level; !said {
		o.Level = o.AutoLevel(f.normalize)
	}
	switch {
	case !said && f.level != "auto":
		return o, fmt.Errorf("--level %s is none of auto, fast, default and best", f.level)
	case f.mode != "auto" && f.mode != "append" && f.mode != "repack":
		return o, fmt.Errorf("--mode %s is none of auto, append and repack", f.mode)
	case f.compression != "" && !codec.CanWrite(o.Format):
		return o, fmt.Errorf("--compression %s is none of gzip, zstd and none", f.compression)
	case f.epoch < 0 || f.epoch > 1<<32-1:
		return o, fmt.Errorf("--epoch %d is not between 0 and %d", f.epoch, int64(1<<32-1))
	}
	return o, nil
}

// edits are what the flags ask for, each labelled with its flag.
func (f editFlags) edits() (repack.Edits, error) {
	var e repack.Edits
	for _, dir := range f.overlays {
		if err := f.addOverlay(&e, dir); err != nil {
			return e, fmt.Errorf("--overlay %s: %w", dir, err)
		}
	}
	for _, s := range f.adds {
		if err := addFile(&e, s); err != nil {
			return e, err
		}
	}
	var errs []error
	pair := func(flag, s, form string) (string, string) {
		before, after, ok := strings.Cut(s, ":")
		if !ok || before == "" || after == "" {
			errs = append(errs, fmt.Errorf("%s %s: write %s", flag, s, form))
		}
		return before, after
	}
	for _, s := range f.symlinks {
		target, name := pair("--symlink", s, "TARGET:PATH")
		put(&e, repack.Add{Label: "--symlink " + s, Open: repack.Text([]byte(target)),
			Entry: newc.Entry{Name: name, Mode: newc.Symlink | 0o777, Size: int64(len(target))}})
	}
	for _, s := range f.folders {
		put(&e, repack.Add{Label: "--mkdir " + s, Entry: newc.Entry{Name: s, Mode: newc.Dir | 0o755}})
	}
	for _, s := range f.removes {
		e.Remove = append(e.Remove, repack.Remove{Label: "--remove " + s, Glob: s})
	}
	for _, s := range f.renames {
		from, to := pair("--rename", s, "FROM:TO")
		e.Rename = append(e.Rename, repack.Rename{Label: "--rename " + s, From: from, To: to})
	}
	for _, s := range f.chmods {
		mode, glob := pair("--chmod", s, "MODE:GLOB, such as 0600:etc/shadow")
		m, err := strconv.ParseUint(mode, 8, 32)
		if err != nil {
			errs = append(errs, fmt.Errorf("--chmod %s: %q is not an octal mode", s, mode))
		}
		e.Chmod = append(e.Chmod, repack.Chmod{Label: "--chmod " + s, Glob: glob, Mode: uint32(m)})
	}
	for _, s := range f.chowns {
		uid, rest := pair("--chown", s, "UID:GID:GLOB")
		gid, glob := pair("--chown", rest, "UID:GID:GLOB")
		u, uerr := strconv.ParseInt(uid, 10, 64)
		g, gerr := strconv.ParseInt(gid, 10, 64)
		if uerr != nil || gerr != nil {
			errs = append(errs, fmt.Errorf("--chown %s: write UID:GID:GLOB with numbers", s))
		}
		e.Chown = append(e.Chown, repack.Chown{Label: "--chown " + s, Glob: glob, UID: u, GID: g})
	}
	if len(errs) > 0 {
		return e, usageError{errs[0]}
	}
	return e, nil
}

// put adds a, in the place of what was added at its path before, unless that stays.
func put(e *repack.Edits, a repack.Add) {
	for n := range e.Add {
		if e.Add[n].Entry.Name != a.Entry.Name {
			continue
		}
		if !a.StaysUnder(e.Add[n]) {
			e.Add[n] = a
		}
		return
	}
	e.Add = append(e.Add, a)
}

func (f editFlags) addOverlay(e *repack.Edits, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	// root stays open: the files are read later.
	adds, err := overlay.Read(root.FS(), overlay.Declared{Mode: f.setsMode})
	if err != nil {
		return err
	}
	for _, a := range adds {
		a.Label = "--overlay " + dir
		put(e, a)
	}
	return nil
}

// setsMode says whether a --chmod is about a path.
func (f editFlags) setsMode(name string) bool {
	return slices.ContainsFunc(f.chmods, func(s string) bool {
		_, glob, _ := strings.Cut(s, ":")
		return initrd.CheckGlob(glob) == nil && initrd.Match(glob, name)
	})
}

func addFile(e *repack.Edits, s string) error {
	i := strings.LastIndexByte(s, ':')
	if i <= 0 || i == len(s)-1 {
		return usageError{fmt.Errorf("--add %s: write FILE:PATH", s)}
	}
	file, name := s[:i], s[i+1:]
	info, err := os.Stat(file)
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "add", Path: file, Err: errors.New("is no file; --overlay takes folders")}
	}
	if err != nil {
		return fmt.Errorf("--add: %w", err)
	}
	mode := uint32(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	put(e, repack.Add{Label: "--add " + s, Entry: newc.Entry{Name: name, Mode: newc.Regular | mode, Size: info.Size()},
		Open: func() (io.ReadCloser, error) { return os.Open(file) }})
	return nil
}
