package buildroot

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"piimg/pipeline/format/initrd/overlay"
	"piimg/pipeline/format/initrd/repack"
	"piimg/pipeline/format/kconfig"
	"piimg/pipeline/format/newc"
)

// ours is the name of the external tree that piimg writes; its variable in make is
// BR2_EXTERNAL_PIIMG_PATH.
const ours = "PIIMG"

const oursPath = "$(BR2_EXTERNAL_" + ours + "_PATH)"

// instrument runs before and after each step of a package (BR2_INSTRUMENTATION_SCRIPTS).
// What it prints is how we follow a build; what it appends outlives a build that is killed.
const instrument = `#!/bin/sh
echo "` + stepMark + `$1 $2 $3"
echo "$1 $2 $3" >>"$PIIMG_STEPS"
`

// external writes our external tree into dir: the overlays of the recipe with a table of
// what rsync would lose of them.
func writeExternal(dir, recipe string, overlays []string, local func(string) (fs.FS, error)) error {
	for name, text := range map[string]string{
		"external.desc": "name: " + ours + "\ndesc: what piimg adds for the recipe " + recipe + "\n",
		"Config.in":     "",
		"external.mk":   "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "instrument"), []byte(instrument), 0o755); err != nil {
		return err
	}
	root := filepath.Join(dir, "overlay")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	var devices strings.Builder
	for n, from := range overlays {
		lines, err := layOverlay(root, from, local)
		if err != nil {
			return &Error{Key: fmt.Sprintf("buildroot.overlays[%d]", n), Text: err.Error(), Help: hintOf(err)}
		}
		devices.WriteString(lines)
	}
	return os.WriteFile(filepath.Join(dir, "devices.txt"), []byte(devices.String()), 0o644)
}

func hintOf(err error) string {
	if h, ok := err.(interface{ Hint() string }); ok {
		return h.Hint()
	}
	return ""
}

// layOverlay writes one overlay folder over what is in root, and returns the lines of a
// device table (makedevs) for what Buildroot's rsync would make 0644, 0755 and root's.
func layOverlay(root, from string, local func(string) (fs.FS, error)) (string, error) {
	fsys, err := local(from)
	if err != nil {
		return "", err
	}
	adds, err := overlay.Read(fsys, overlay.Declared{})
	if err != nil {
		return "", err
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	var devices strings.Builder
	for _, a := range adds {
		if err := passesRsync(a.Entry.Name); err != nil {
			return "", err
		}
		if err := lay(dir, a); err != nil {
			return "", fmt.Errorf("%s: %w", a.Entry.Name, err)
		}
		line, err := deviceLine(a)
		if err != nil {
			return "", err
		}
		devices.WriteString(line)
	}
	return devices.String(), nil
}

// lay writes one file, folder or link; nodes are for the device table.
func lay(dir *os.Root, a repack.Add) error {
	name := a.Entry.Name
	if err := dir.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	switch a.Entry.Type() {
	case newc.Dir:
		return dir.MkdirAll(name, 0o755)
	case newc.Regular, newc.Symlink:
	default:
		return nil
	}
	if err := dir.RemoveAll(name); err != nil { // of an overlay below this one
		return err
	}
	in, err := a.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	if a.Entry.Type() == newc.Symlink {
		target, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		return dir.Symlink(string(target), name)
	}
	mode := fs.FileMode(0o644)
	if a.Entry.Mode&0o111 != 0 {
		mode = 0o755
	}
	out, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = dir.Chmod(name, mode)
	}
	return err
}

// lost are the names that Buildroot does not copy from an overlay (SYSTEM_RSYNC in
// system/system.mk: --exclude of version control, .empty and *~).
var lost = []string{".svn", ".git", ".hg", ".bzr", "CVS", ".empty"}

func passesRsync(name string) error {
	for _, part := range strings.Split(name, "/") {
		if slices.Contains(lost, part) || strings.HasSuffix(part, "~") {
			return fmt.Errorf("%s is left out of every overlay by Buildroot: put it into initramfs.overlays", name)
		}
	}
	return nil
}

// deviceLine is the line of a device table for what is not as rsync makes it, "" else.
// The form is: name, type, mode, uid, gid, major, minor, start, inc, count.
func deviceLine(a repack.Add) (string, error) {
	e := a.Entry
	kind := map[uint32]string{newc.Regular: "f", newc.Dir: "d", newc.Char: "c", newc.Block: "b", newc.FIFO: "p"}[e.Type()]
	perm := e.Mode & 0o7777
	plain := e.UID == 0 && e.GID == 0 && (perm == 0o755 || perm == 0o644 && kind == "f")
	if kind == "" || plain && (kind == "f" || kind == "d") {
		return "", nil
	}
	if strings.ContainsAny(e.Name, " \t\n#") {
		return "", fmt.Errorf("%s has a mode or owner of its own, and a blank in its name, which Buildroot's device tables cannot hold", e.Name)
	}
	numbers := "- -"
	if kind == "c" || kind == "b" {
		numbers = fmt.Sprintf("%d %d", e.RDev.Major, e.RDev.Minor)
	}
	return fmt.Sprintf("/%s %s %o %d %d %s - - -\n", e.Name, kind, perm, e.UID, e.GID, numbers), nil
}

// stockDevices is the device table that Buildroot takes where a configuration names none.
const stockDevices = "system/device_table.txt"

// added are the settings that piimg adds for what settings ask for already.
func added(settings []kconfig.Setting, overlays bool) []kconfig.Setting {
	has := map[string]string{}
	for _, s := range settings {
		has[s.Name] = strings.Trim(s.Value, `"`)
	}
	var all []kconfig.Setting
	if has["BR2_REPRODUCIBLE"] == "" {
		all = append(all, kconfig.Setting{Name: "BR2_REPRODUCIBLE", Value: "y"})
	}
	if !overlays {
		return all
	}
	table := has["BR2_ROOTFS_DEVICE_TABLE"]
	if table == "" {
		table = stockDevices
	}
	return append(all,
		kconfig.Setting{Name: "BR2_ROOTFS_OVERLAY", Value: quote(has["BR2_ROOTFS_OVERLAY"], oursPath+"/overlay")},
		kconfig.Setting{Name: "BR2_ROOTFS_DEVICE_TABLE", Value: quote(table, oursPath+"/devices.txt")},
	)
}

// quote is a list of words as the value of a setting.
func quote(words ...string) string {
	words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
	return `"` + strings.Join(words, " ") + `"`
}
