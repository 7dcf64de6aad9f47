package configtxt

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of include. The firmware has a depth limit too ("depth %d exceeded" in
// start4.elf), of unknown value.
const (
	includeDepth = 8
	includeTotal = 64 // files in one evaluation
)

// Eval evaluates the file called name for a board in a stage. A file that cannot be read
// counts as empty, as it does for the firmware; the error is then returned beside usable
// default settings. So is the error of every include that cannot be read.
//
// Conditions that only the running board knows (pin levels, the monitor, the tryboot
// flag) count as false.
func Eval(read Reader, name string, b Board, stage Stage) (*Settings, error) {
	e := &evaluator{
		read:     read,
		filters:  newFilters(b, stage),
		settings: &Settings{Stage: stage, values: map[string]Line{}},
	}
	e.file(name, 0)
	e.endOverlay()
	e.settings.takeRamfsfile()
	return e.settings, errors.Join(e.errs...)
}

type evaluator struct {
	read     Reader
	filters  *filters
	settings *Settings
	overlay  *Overlay // dtparam= lines belong to it; nil: to the device tree itself
	errs     []error
}

func (e *evaluator) file(name string, depth int) {
	text, err := e.read(name)
	if err != nil {
		e.errs = append(e.errs, fmt.Errorf("read %s: %w", name, err))
		return
	}
	for _, l := range Parse(name, text) {
		if l.Kind == Section {
			e.filters.enter(l.Value)
		} else if e.filters.open() {
			e.line(l, depth)
		}
	}
}

func (e *evaluator) line(l Line, depth int) {
	switch {
	case l.Kind == Directive && l.Key == "include":
		e.include(l, depth)
	case l.Kind == Directive && l.Key == "initramfs":
		e.settings.addInitramfs(l)
	case l.Kind == Property:
		e.property(l)
	}
}

// include inserts a file where the include line stands. The bootloader of a board with
// start.elf does not know include.
func (e *evaluator) include(l Line, depth int) {
	s := e.settings
	if s.Stage != Firmware {
		return
	}
	if depth >= includeDepth || len(s.Includes) >= includeTotal {
		e.errs = append(e.errs, fmt.Errorf("%s:%d: include %s: too many or too deep", l.File, l.Number, l.Value))
		return
	}
	name := firstWord(l.Value)
	s.Includes = append(s.Includes, name)
	e.file(name, depth+1)
}

// property sets a value. device_tree_overlay, device_tree_param and device_tree_params
// are older names that start4.elf of 2026 still holds.
func (e *evaluator) property(l Line) {
	switch l.Key {
	case "dtoverlay", "device_tree_overlay":
		e.endOverlay()
		e.startOverlay(l)
	case "dtparam", "device_tree_param", "device_tree_params":
		params := splitList(l.Value)
		if e.overlay != nil {
			e.overlay.Params = append(e.overlay.Params, params...)
		} else {
			e.settings.Params = append(e.settings.Params, params...)
		}
	}
	e.settings.values[l.Key] = l
}

// startOverlay takes NAME, NAME,PARAM… or NAME:PARAM…; an empty name ends the overlay
// before it, so that the dtparam= lines that follow belong to the device tree again.
func (e *evaluator) startOverlay(l Line) {
	name, params := l.Value, ""
	if i := strings.IndexAny(l.Value, ",:"); i >= 0 {
		name, params = l.Value[:i], l.Value[i+1:]
	}
	if name != "" {
		e.overlay = &Overlay{Name: name, Params: splitList(params), Line: l}
	}
}

func (e *evaluator) endOverlay() {
	if e.overlay != nil {
		e.settings.Overlays = append(e.settings.Overlays, *e.overlay)
		e.overlay = nil
	}
}

func (s *Settings) addInitramfs(l Line) {
	fields := strings.Fields(l.Value)
	i := Initramfs{Files: splitList(firstWord(l.Value)), Line: l}
	if len(fields) > 1 {
		i.Address = fields[1]
	}
	s.Initramfs = append(s.Initramfs, i)
}

// takeRamfsfile adds what ramfsfile= and ramfsaddr= say, the form of initramfs with "=".
func (s *Settings) takeRamfsfile() {
	l, ok := s.values["ramfsfile"]
	if !ok || l.Value == "" {
		return
	}
	address, _ := s.Get("ramfsaddr")
	s.Initramfs = append(s.Initramfs, Initramfs{Files: splitList(l.Value), Address: address, Line: l})
}

// firstWord is the name in the rest of a directive, cut as the firmware cuts it.
func firstWord(rest string) string {
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return ""
	}
	return fields[0][:min(len(fields[0]), WordLimit)]
}

func splitList(s string) []string {
	var list []string
	for part := range strings.SplitSeq(s, ",") {
		if part != "" {
			list = append(list, part)
		}
	}
	return list
}

// parseInt reads decimal and 0x hexadecimal numbers.
func parseInt(s string) (int, error) {
	s = strings.TrimSpace(s)
	if hex, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
		v, err := strconv.ParseInt(hex, 16, 64)
		return int(v), err
	}
	return strconv.Atoi(s)
}
