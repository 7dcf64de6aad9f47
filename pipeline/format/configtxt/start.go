package configtxt

import "strings"

// firmware chooses start and fixup, which must be a pair from one build. start_file
// outranks the rest; the order of start_debug, start_x and gpu_mem=16 among themselves
// is not documented.
func (r *resolver) firmware() {
	b := r.board
	if len(b.Starts) == 0 || len(b.Fixups) != len(b.Starts) {
		return
	}
	f := &r.files
	f.Start = r.chosen(b.Starts)
	for i, s := range b.Starts {
		if s == f.Start {
			f.Fixup = b.Fixups[i]
		}
	}
	if v := r.variant(); v != "" {
		f.Start, f.Fixup = withVariant(f.Start, v), withVariant(f.Fixup, v)
	}
	r.explicitFirmware()
}

// variant is the infix of a special build: cut down, debug, or with camera codecs.
func (r *resolver) variant() string {
	switch {
	case r.boot.Int("start_debug", 0) != 0:
		return "db"
	case r.boot.Int("start_x", 0) != 0:
		return "x"
	case r.boot.Int("gpu_mem", 0) == 16:
		return "cd"
	}
	return ""
}

// withVariant turns start4.elf into start4x.elf and start.elf into start_x.elf.
func withVariant(name, v string) string {
	stem, ext, _ := strings.Cut(name, ".")
	if !strings.HasSuffix(stem, "4") {
		stem += "_"
	}
	return stem + v + "." + ext
}

func (r *resolver) explicitFirmware() {
	start, _ := r.boot.Get("start_file")
	fixup, _ := r.boot.Get("fixup_file")
	if start != "" {
		r.files.Start = start
	}
	if fixup != "" {
		r.files.Fixup = fixup
	}
	if (start == "") != (fixup == "") {
		r.note("start_file and fixup_file are a pair; only one of them is set")
	}
}
