package lint

import "path"

// left is a file that a board acts on where it finds it.
type left struct {
	pattern string // of a name in the boot folder, as path.Match has it
	level   Level
	does    string
}

// leftoverFiles are in order: the first pattern that matches counts.
var leftoverFiles = []left{
	{"pieeprom.upd", Error, "the board writes it into its EEPROM at every boot, and may never come to the kernel"},
	{"pieeprom.sig", Error, "the board looks for an EEPROM update beside it"},
	{"pieeprom.bin", Error, "it is an EEPROM update"},
	{"vl805.*", Error, "it is an update of the USB controller's EEPROM"},
	{"recovery.bin", Error, "it writes the EEPROM"},
	{"recover*.elf", Error, "the board starts it instead of the firmware"},
	{"recovery*", Warning, "the firmware looks for recovery files before the kernel"},
	{"dt-blob.bin", Warning, "it replaces the firmware's own pin settings"},
	{"bootcfg.txt", Warning, "the firmware asks for it"},
	{"autoboot.txt", Warning, "it can choose another boot partition"},
	{"tryboot.*", Warning, "it replaces config.txt or boot.img once after a tryboot"},
}

func leftovers(r *report, img *image) {
	for _, name := range img.root {
		for _, l := range leftoverFiles {
			if ok, _ := path.Match(l.pattern, name); ok {
				r.add(Finding{Level: l.level, File: name, Message: "left over: " + l.does, Hint: "remove it unless it is meant"})
				break
			}
		}
	}
}
