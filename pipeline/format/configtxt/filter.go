package configtxt

import (
	"slices"
	"strconv"
	"strings"
)

// program is a set of the programs that read config.txt; each knows its own filters.
type program uint8

const (
	bootcode   program = 1 << iota // bootcode.bin, up to the Pi 3
	eeprom2711                     // the bootloader of the Pi 4 family
	eeprom2712                     // the bootloader of the Pi 5 family, which is its firmware too
	start                          // start.elf and start4.elf

	eeprom  = eeprom2711 | eeprom2712
	anybody = bootcode | eeprom | start
)

func programOf(b Board, stage Stage) program {
	switch {
	case b.Platform == "bcm2712":
		return eeprom2712
	case stage == Firmware:
		return start
	case b.Platform == "bcm2711":
		return eeprom2711
	}
	return bootcode
}

// class is the type of a filter: filters of one class replace each other, filters of
// different classes must all match (documentation of conditional filters).
type class int

const (
	classModel class = iota
	classNone
	classSerial
	classEDID
	classHDMI
	classGPIO
	classType
	classTryboot
	classPartition
	classExpression
	classMarker
)

// word is what is known of a filter: its class and who understands it. The words are
// those that stand beside each other in bootcode.bin, start.elf and start4.elf of May
// 2026 and in the bootloaders of August 2026.
type word struct {
	class class
	known program
}

var words = map[string]word{
	"pi0": {classModel, anybody}, "pi1": {classModel, anybody}, "pi2": {classModel, anybody},
	"pi3": {classModel, anybody}, "pi4": {classModel, anybody}, "pi5": {classModel, anybody},
	"pi0w": {classModel, anybody}, "pi3+": {classModel, anybody},
	"pi400": {classModel, anybody}, "pi500": {classModel, anybody},
	"cm0": {classModel, anybody}, "cm4": {classModel, anybody},
	"cm4s": {classModel, anybody}, "cm5": {classModel, anybody},
	"pi02": {classModel, bootcode | start},
	"pi4b": {classModel, eeprom},

	"none":       {classNone, anybody},
	"edid":       {classEDID, start},
	"hdmi":       {classHDMI, start},
	"gpio":       {classGPIO, anybody},
	"board-type": {classType, anybody},
	"tryboot":    {classTryboot, anybody},
	"config.txt": {classMarker, start}, // where the EEPROM's own settings begin

	"partition":        {classPartition, eeprom | start},
	"boot_partition":   {classPartition, eeprom2712 | start}, // bootloader release notes of the Pi 5, 2025-03-10
	"board_attributes": {classExpression, eeprom | start},
	"cust_otp":         {classExpression, eeprom | start},
	"bootvar0":         {classExpression, start},
	"boot_arg1":        {classExpression, eeprom2712},
	"boot_count":       {classExpression, eeprom2712},
}

// Understands reports whether the program that reads a file in stage on b knows the
// filter [section]. A filter that it does not know never matches here; what the firmware
// does with one is not documented.
func Understands(section string, b Board, stage Stage) bool {
	if strings.EqualFold(section, "all") || isSerial(section) {
		return true
	}
	w, _ := lookup(section)
	return w.known&programOf(b, stage) != 0
}

// lookup finds the filter in a section: its table entry and what it is compared with.
// An unknown word is a model that nobody understands.
func lookup(section string) (w word, operand string) {
	s := strings.ToLower(section)
	if w, ok := words[s]; ok {
		return w, ""
	}
	if pin, ok := strings.CutPrefix(s, "gpio"); ok && pin != "" && pin[0] >= '0' && pin[0] <= '9' {
		return words["gpio"], pin
	}
	if i := strings.IndexAny(s, "=&:"); i > 0 {
		name := strings.TrimRight(s[:i], "0123456789")
		for _, n := range []string{s[:i], name} {
			if w, ok := words[n]; ok && w.class != classModel {
				return w, s[i+1:]
			}
		}
	}
	return word{class: classModel}, ""
}

func isSerial(section string) bool {
	_, err := parseSerial(section)
	return err == nil
}

func parseSerial(section string) (uint32, error) {
	digits, ok := strings.CutPrefix(strings.ToLower(section), "0x")
	if !ok {
		return 0, strconv.ErrSyntax
	}
	v, err := strconv.ParseUint(digits, 16, 64)
	return uint32(v), err
}

// filters is the state between two sections: the classes whose last filter did not match.
type filters struct {
	board Board
	stage Stage
	shut  map[class]bool
}

func newFilters(b Board, stage Stage) *filters {
	return &filters{board: b, stage: stage, shut: map[class]bool{}}
}

// open reports whether lines are in force.
func (f *filters) open() bool { return len(f.shut) == 0 }

// enter takes a section header.
func (f *filters) enter(section string) {
	if strings.EqualFold(section, "all") {
		clear(f.shut)
		return
	}
	class, match := f.judge(section)
	if match {
		delete(f.shut, class)
	} else {
		f.shut[class] = true
	}
}

// judge says whether a filter matches. What cannot be known before the boot (pins, the
// monitor, the tryboot flag, partitions, OTP and boot variables) does not match.
func (f *filters) judge(section string) (class, bool) {
	if serial, err := parseSerial(section); err == nil {
		return classSerial, serial != 0 && serial == f.board.Serial
	}
	w, operand := lookup(section)
	if w.known&programOf(f.board, f.stage) == 0 {
		return w.class, false
	}
	switch w.class {
	case classModel:
		return w.class, slices.Contains(f.board.Filters, strings.ToLower(section))
	case classType:
		t, err := strconv.ParseInt(operand, 0, 32)
		return w.class, err == nil && int(t) == f.board.Type
	case classHDMI, classMarker: // they direct settings, they hide none
		return w.class, true
	}
	return w.class, false
}
