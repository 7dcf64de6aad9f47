package lint

import (
	"bytes"
	"path"
	"regexp"
	"strconv"
	"strings"
)

func startAndFixup(r *report, v *view) {
	romFiles(r, v)
	if v.outer() || v.files.Start == "" {
		return
	}
	const hint = "take both from one release of the firmware"
	for _, name := range []string{v.files.Start, v.files.Fixup} {
		if !v.exists(name) {
			r.error(name, 0, hint, "missing: the board leaves its folder, or does not boot")
		}
	}
	start, byStart := v.boot.Line("start_file")
	fixup, byFixup := v.boot.Line("fixup_file")
	if byStart != byFixup {
		r.error(configName, max(start.Number, fixup.Number), "set both or neither", "start_file and fixup_file are a pair; only one of them is set")
	}
	pair(r, v)
}

func romFiles(r *report, v *view) {
	for _, name := range v.board.ROMFiles {
		if !v.target.InRamdisk && !v.exists(name) {
			r.error(name, 0, "take it from the firmware", "missing: the boot ROM of the board asks for it")
		}
	}
}

// pair compares the variants. A fixup file carries no mark of its build (looked for in
// those of May 2026), so that only its name can be compared.
func pair(r *report, v *view) {
	start, fixup := v.files.Start, v.files.Fixup
	a, okA := variantOf(start, "start")
	b, okB := variantOf(fixup, "fixup")
	if okA && okB && a != b {
		r.error(fixup, 0, "take "+strings.Replace(path.Base(start), "start", "fixup", 1), "is not the counterpart of %s", start)
	}
	data, err := v.read(start)
	if err != nil {
		return
	}
	if !bytes.HasPrefix(data, []byte("\x7fELF")) {
		r.error(start, 0, "", "is no ELF file, so no firmware")
		return
	}
	if info := readStart(data); okA && info.built != "" && info.variant() != a {
		r.error(start, 0, "take the file of that name from the firmware", "was built as %s, but is called %s", info.built, path.Base(start))
	}
}

// variantOf is "x" of start4x.elf, start_x.elf and fixup4x.dat, and "" of start.elf. ok
// is false for names of another form.
func variantOf(name, stem string) (variant string, ok bool) {
	base, _, _ := strings.Cut(path.Base(name), ".")
	rest, ok := strings.CutPrefix(base, stem)
	if !ok {
		return "", false
	}
	rest = strings.TrimPrefix(rest, "4")
	rest = strings.TrimPrefix(rest, "_")
	switch rest {
	case "", "x", "db", "cd":
		return rest, true
	}
	return "", false
}

// startInfo is what can be read from the text inside start*.elf.
type startInfo struct {
	built         string // name of the build, such as "start_x"; "" if it is not seen
	blockSize     int64  // bytes of a TFTP block that it asks for; 0 if it is not seen
	autoInitramfs bool
}

// variant is the variant of the build: "x" of "start_x".
func (s startInfo) variant() string {
	return strings.TrimPrefix(strings.TrimPrefix(s.built, "start"), "_")
}

var (
	buildVariant = regexp.MustCompile(`VC_BUILD_ID_VARIANT: (start[a-z_]*)`)
	blockSize    = regexp.MustCompile(`(\d{3,5})\x00+octet\x00+tsize\x00+blksize\x00`)
)

func readStart(data []byte) startInfo {
	info := startInfo{autoInitramfs: bytes.Contains(data, []byte("auto_initramfs"))}
	if m := buildVariant.FindSubmatch(data); m != nil {
		info.built = string(m[1])
	}
	if m := blockSize.FindSubmatch(data); m != nil {
		info.blockSize, _ = strconv.ParseInt(string(m[1]), 10, 64)
	}
	return info
}
