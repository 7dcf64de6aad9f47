package lint

import (
	"bytes"
	"slices"
	"strings"

	"piimg/pipeline/format/configtxt"
)

const (
	oldLineLimit = 78   // characters, in older firmware
	sizeLimit    = 4096 // bytes of config.txt that arrived over the network in one report
)

func configExists(r *report, v *view) {
	if !v.exists(configName) {
		hint := "an empty file is enough"
		if v.board.OnlyArm64 {
			r.error(configName, 0, hint, "missing: the board does not boot without it")
		} else {
			r.error(configName, 0, hint, "missing: the board boots with defaults")
		}
	}
	v.lines(func(l configtxt.Line) {
		if l.Kind != configtxt.Directive || l.Key != "include" {
			return
		}
		if name := strings.Fields(l.Value)[0]; slices.Contains(v.fw.Includes, name) && !v.exists(name) {
			r.error(l.File, l.Number, "add the file or remove the line", "include of %s, which is missing", name)
		}
	})
}

func initramfsLines(r *report, img *image) {
	img.lines(func(l configtxt.Line) {
		switch {
		case l.Kind == configtxt.Property && strings.TrimSpace(l.Key) == "initramfs":
			r.error(l.File, l.Number, "write \"initramfs NAME followkernel\", or ramfsfile=NAME", "initramfs with \"=\" loads nothing")
		case l.Kind == configtxt.Directive && l.Key == "initramfs":
			if word := strings.Fields(l.Value)[0]; len(word) > configtxt.WordLimit {
				r.error(l.File, l.Number, "use shorter names, or concatenate the archives into one file",
					"%d characters of names; the firmware reads %d", len(word), configtxt.WordLimit)
			}
		}
	})
}

func lineLengths(r *report, img *image) {
	img.lines(func(l configtxt.Line) {
		n := len(l.Text)
		switch {
		case l.Kind == configtxt.Comment:
		case n > configtxt.LineLimit:
			r.error(l.File, l.Number, "split it; an overlay's parameters can follow as dtparam= lines",
				"%d characters; the firmware ignores what comes after %d", n, configtxt.LineLimit)
		case n > oldLineLimit:
			r.warn(l.File, l.Number, "", "%d characters; older firmware ignores what comes after %d", n, oldLineLimit)
		}
	})
}

func characters(r *report, img *image) {
	img.lines(func(l configtxt.Line) {
		switch {
		case strings.HasPrefix(l.Text, "\ufeff"):
			r.error(l.File, l.Number, "save the file as ASCII or UTF-8 without a byte order mark", "byte order mark: the firmware ignores the whole file")
		case !isASCII(l.Text):
			r.error(l.File, l.Number, "replace it, in comments too", "a character that is not ASCII: the firmware ignores the rest of the file")
		case strings.Contains(l.Text, "\t") && l.Kind != configtxt.Comment:
			r.warn(l.File, l.Number, "use spaces", "tab character")
		}
	})
	for _, name := range img.order {
		lineEnds(r, img, name)
	}
}

func lineEnds(r *report, img *image, name string) {
	text, err := img.read(name)
	if err != nil || len(text) == 0 {
		return
	}
	if i := bytes.IndexByte(text, '\r'); i >= 0 {
		r.warn(name, 1+bytes.Count(text[:i], []byte{'\n'}), "use LF line ends", "carriage return")
	}
	if text[len(text)-1] != '\n' {
		r.warn(name, 1+bytes.Count(text, []byte{'\n'}), "end the last line with a line feed", "no line feed at the end")
	}
}

func configSize(r *report, img *image) {
	if n, ok := img.size(configName); ok && n > sizeLimit {
		r.warn(configName, 0, "remove comments, or include a second file", "%d bytes; above %d it was seen cut or ignored over the network", n, sizeLimit)
	}
}

func oddLines(r *report, img *image) {
	img.lines(func(l configtxt.Line) {
		switch l.Kind {
		case configtxt.Section:
			oddFilter(r, img, l)
		case configtxt.Property:
			oddProperty(r, l)
		case configtxt.Junk:
			if isASCII(l.Text) {
				r.warn(l.File, l.Number, "comment it out or correct it", "the firmware does not understand %q", l.Text)
			}
		}
	})
}

func oddProperty(r *report, l configtxt.Line) {
	key := strings.TrimSpace(l.Key)
	switch {
	case key == "initramfs": // P06
	case key != l.Key:
		r.warn(l.File, l.Number, "write "+key+"=…", "space around the name %q: the firmware takes it as part of the name", l.Key)
	case l.Value != strings.TrimSpace(l.Value):
		r.warn(l.File, l.Number, "", "space around the value of %s: the firmware takes it as part of the value", key)
	case strings.Contains(l.Value, " #"):
		r.warn(l.File, l.Number, "comments have a line of their own", "the comment becomes part of the value of %s", key)
	}
}

func oddFilter(r *report, img *image, l configtxt.Line) {
	lower := strings.ToLower(l.Value)
	named := strings.HasPrefix(lower, "edid") || strings.HasPrefix(lower, "hdmi") // documented in capitals
	switch {
	case !img.understood(l.Value):
		r.warn(l.File, l.Number, "", "no board of this image knows the filter [%s]", l.Value)
	case lower != l.Value && !named && !strings.HasPrefix(lower, "0x"):
		r.warn(l.File, l.Number, "write ["+lower+"]", "filter [%s] is not in lower case", l.Value)
	}
}

// understood reports whether any program on any board knows a filter.
func (img *image) understood(section string) bool {
	for _, b := range img.target.Boards {
		if configtxt.Understands(section, b.Board, configtxt.Bootloader) || configtxt.Understands(section, b.Board, configtxt.Firmware) {
			return true
		}
	}
	return len(img.target.Boards) == 0
}

// keysOfAnyBootloader must be in config.txt itself (documentation of config.txt).
var keysOfAnyBootloader = []string{"boot_ramdisk", "bootloader_update", "eeprom_write_protect", "os_check", "tryboot_a_b", "uart_2ndstage"}

// keysOfStart choose or place start.elf; a board without one does not read them.
var keysOfStart = []string{
	"bootcode_delay", "fixup_file", "gpu_mem", "gpu_mem_1024", "gpu_mem_256", "gpu_mem_512",
	"sdram_freq", "start_debug", "start_file", "start_x", "total_mem",
}

func bootloaderKeys(r *report, v *view) {
	keys := keysOfAnyBootloader
	if len(v.board.Starts) > 0 {
		keys = append(keysOfStart[:len(keysOfStart):len(keysOfStart)], keys...)
	}
	for _, key := range keys {
		l, set := v.fw.Line(key)
		if seen, ok := v.boot.Line(key); set && (!ok || seen != l) {
			r.error(l.File, l.Number, "move it into config.txt itself, under a filter that the bootloader knows",
				"%s is read by the bootloader, which does not see this line (an include, or an unknown filter)", key)
		}
	}
}
