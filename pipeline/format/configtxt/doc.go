// Package configtxt reads Raspberry Pi's config.txt the way the firmware does, and says
// which boot files a board will ask for.
//
// The firmware reads config.txt twice over: the bootloader (the SPI EEPROM of a Pi 4 and
// 5, bootcode.bin of a Pi 3) looks for the few keys that it needs, with fewer filters and
// without include; start4.elf then evaluates all of it. [Eval] therefore takes the
// [Stage]. Nothing here fails on odd input: the firmware takes what it understands, and
// so does this package; [Lines] lets a linter see what was not understood.
//
// Sources of each rule: Raspberry Pi's documentation of config.txt and conditional
// filters, strings of the firmware of May 2026, and published boot logs. No hardware
// was used.
package configtxt
