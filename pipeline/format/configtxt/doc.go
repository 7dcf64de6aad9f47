// Package configtxt reads Raspberry Pi's config.txt the way the firmware does, and says
// which boot files a board will ask for.
//
// The firmware reads config.txt twice over: the bootloader (the SPI EEPROM of a Pi 4 and
// 5, bootcode.bin of a Pi 3) looks for the few keys that it needs, with fewer filters and
// without include; start4.elf then evaluates all of it. [Eval] therefore takes the
// [Stage], and [Resolve] the settings of both:
//
//	boot, err := configtxt.Eval(read, "config.txt", board, configtxt.Bootloader)
//	fw, err := configtxt.Eval(read, "config.txt", board, configtxt.Firmware)
//	files := configtxt.Resolve(boot, fw, board, exists)
//
// Nothing here fails on odd input: the firmware takes what it understands, and so does
// this package; [Parse] lets a linter see what was not understood.
//
// # What is not modelled
//
// Settings in the EEPROM's own [config.txt] section, HAT EEPROMs, camera_auto_detect and
// display_auto_detect, the 512 MB choice of gpu_mem_512. Pins, monitors, the tryboot flag,
// partitions and OTP bits are taken as "does not match".
//
// Where the documentation is silent: [none] holds until [all]; [HDMI:n] hides nothing; an
// unknown filter never matches and is replaced by the next model filter; an included
// file's filters and overlay hold on after it; start_debug outranks start_x, which
// outranks gpu_mem=16; initramfs lines outrank auto_initramfs.
//
// Sources of each rule: Raspberry Pi's documentation of config.txt and conditional
// filters, strings of the firmware of May 2026, and published boot logs. No hardware
// was used.
package configtxt
