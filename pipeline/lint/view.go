package lint

import (
	"slices"

	"piimg/pipeline/format/configtxt"
)

// view is the image as one board sees it.
type view struct {
	*image
	board    Board
	boot, fw *configtxt.Settings
	files    configtxt.Files
}

func newView(img *image, b Board) *view {
	v := &view{image: img, board: b}
	v.boot = v.eval(configtxt.Bootloader)
	v.fw = v.eval(configtxt.Firmware)
	v.files = configtxt.Resolve(v.boot, v.fw, b.Board, img.exists)
	return v
}

// eval ignores the error: P01 reports files that are missing, Check all others.
func (v *view) eval(stage configtxt.Stage) *configtxt.Settings {
	s, _ := configtxt.Eval(v.readConfig, configName, v.board.Board, stage)
	if v.target.InRamdisk {
		return s.InRamdisk()
	}
	return s
}

// outer reports whether everything that matters is inside boot.img.
func (v *view) outer() bool { return v.files.Ramdisk != "" }

// chosen is the first of names that exists.
func (v *view) chosen(names []string) (string, bool) {
	i := slices.IndexFunc(names, v.exists)
	if i < 0 {
		return "", false
	}
	return names[i], true
}

// place is where a key of the firmware was set: for a finding about the file that it names.
func (v *view) place(key string) (file string, line int) {
	if l, ok := v.fw.Line(key); ok {
		return l.File, l.Number
	}
	return configName, 0
}
