package lint

import (
	"bytes"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

func startAndFixup(r *report, v *view) {
	romFiles(r, v)
	if v.outer() || v.files.Start == "" {
		return
	}
	for _, name := range []string{v.files.Start, v.files.Fixup} {
		if !v.exists(name) {
			r.error(name, 0, missingHint(v), "missing: the board leaves its folder, or does not boot")
		}
	}
	start, byStart := v.boot.Line("start_file")
	fixup, byFixup := v.boot.Line("fixup_file")
	if byStart != byFixup {
		r.error(configName, max(start.Number, fixup.Number), "set both or neither", "start_file and fixup_file are a pair; only one of them is set")
	}
	pair(r, v)
}

// missingHint says what made the bootloader want these files, if config.txt did.
func missingHint(v *view) string {
	for _, key := range []string{"start_file", "fixup_file", "start_debug", "start_x", "gpu_mem"} {
		if l, ok := v.boot.Line(key); ok && (key != "gpu_mem" || l.Value == "16") {
			return fmt.Sprintf("%s=%s in config.txt asks for %s and %s: add both to [firmware] files, or take the line out",
				key, l.Value, v.files.Start, v.files.Fixup)
		}
	}
	return "take both from one release of the firmware"
}

func romFiles(r *report, v *view) {
	for _, name := range v.board.ROMFiles {
		if !v.target.InRamdisk && !v.exists(name) {
			r.error(name, 0, "take it from the firmware", "missing: the boot ROM of the board asks for it")
		}
	}
}

// pair compares the variants, and the builds.
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
	info := readStart(data)
	if okA && info.built != "" && info.variant() != a {
		r.error(start, 0, "take the file of that name from the firmware", "was built as %s, but is called %s", info.built, path.Base(start))
		return
	}
	builds(r, v, info.day)
}

// builds compares the size of the start file, which was built on that day, with the one that
// the fixup file was made for.
func builds(r *report, v *view, day string) {
	table, err := v.read(v.files.Fixup)
	made, ok := fixedSize(table)
	n, _ := v.size(v.files.Start)
	if err != nil || !ok || made == n {
		return
	}
	name := path.Base(v.files.Start)
	if day == "" || day > lastStudied {
		r.warn(v.files.Fixup, 0, "take both from one release of the firmware; if they are, ignore this: it was learnt from firmware up to "+lastStudied,
			"seems to be for a %s of %d bytes, and this one has %d", name, made, n)
		return
	}
	r.error(v.files.Fixup, 0, "take both from one release of the firmware", "is for a %s of %d bytes, and this one has %d: they are of two builds", name, made, n)
}

// lastStudied is the day that the youngest start file was built that fixedSize was learnt from.
const lastStudied = "2026-05-21"

// fixedSize is the size in bytes of the start file that a fixup file is for. Nobody has
// described the format; this much was learnt from 107 pairs of 2016 to 2026. It is a row of
// distances in units of two bytes, each a byte or, behind a byte of 1, three bytes, the least
// first. The row that begins behind the last 54 goes through all of the start file, and ends
// one unit behind it. ok is false where that row has short distances in it, as in 23 of the
// pairs, all from before June 2020: what they count is not known. In the other 84 the sum is right.
func fixedSize(table []byte) (n int64, ok bool) {
	const long, last, least = 1, 54, 3
	var sum int64
	count := 0
	for len(table) > 0 {
		if table[0] != long {
			sum, count, ok = 0, 0, table[0] == last
			table = table[1:]
			continue
		}
		if len(table) < 4 {
			return 0, false
		}
		sum += int64(table[1]) | int64(table[2])<<8 | int64(table[3])<<16
		count, table = count+1, table[4:]
	}
	return 2 * (sum - 1), ok && count >= least
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
	day           string // on which it was built, YYYY-MM-DD; "" if it is not seen
	blockSize     int64  // bytes of a TFTP block that it asks for; 0 if it is not seen
	autoInitramfs bool
}

// variant is the variant of the build: "x" of "start_x".
func (s startInfo) variant() string {
	return strings.TrimPrefix(strings.TrimPrefix(s.built, "start"), "_")
}

func readStart(data []byte) startInfo {
	return startInfo{
		built:         builtAs(data),
		day:           builtOn(data),
		blockSize:     tftpBlock(data),
		autoInitramfs: bytes.Contains(data, []byte("auto_initramfs")),
	}
}

func builtAs(data []byte) string {
	_, rest, _ := bytes.Cut(data, []byte("VC_BUILD_ID_VARIANT: "))
	name, _, ok := bytes.Cut(rest[:min(len(rest), 32)], []byte{0})
	if !ok {
		return ""
	}
	return string(name)
}

// builtOn finds the day: there are two texts of that name, and the other is the time of day.
func builtOn(data []byte) string {
	for ok := true; ok; {
		var text []byte
		_, data, ok = bytes.Cut(data, []byte("VC_BUILD_ID_TIME: "))
		text, _, _ = bytes.Cut(data[:min(len(data), 32)], []byte{0})
		if day, err := time.Parse("Jan _2 2006", string(text)); err == nil {
			return day.Format(time.DateOnly)
		}
	}
	return ""
}

// tftpBlock finds the text of the request that start*.elf sends: its strings stand in the
// row "1468", "octet", "tsize", "blksize", each filled up with NUL to 4 bytes.
func tftpBlock(data []byte) int64 {
	before, _, ok := bytes.Cut(data, []byte("\x00octet\x00\x00\x00tsize\x00\x00\x00blksize\x00"))
	if !ok {
		return 0
	}
	before = bytes.TrimRight(before, "\x00")
	digits := before[len(bytes.TrimRight(before, "0123456789")):]
	n, _ := strconv.ParseInt(string(digits), 10, 32)
	return n
}
