package lint

import "slices"

// blocks is the number of TFTP blocks that a 16-bit counter can number.
const blocks = 65535

// before reports whether the oldest bootloader is declared and older than a date.
func (v *view) before(date string) bool {
	return v.target.Bootloader != "" && v.target.Bootloader < date
}

// tftpSizes compares the size of each file with what the program that fetches it can
// count. Where and since when the counter rolls over: bootloader release notes of
// 2025-09-23, https://github.com/raspberrypi/rpi-eeprom/issues/720 and 375.
func tftpSizes(r *report, v *view) {
	if v.target.InRamdisk {
		return // arrives as a part of boot.img
	}
	byBootloader, byStart := v.fetched()
	bootloaderSizes(r, v, byBootloader)
	startSizes(r, v, byStart)
}

// fetched are the files by the program that fetches them.
func (v *view) fetched() (byBootloader, byStart []string) {
	byBootloader = []string{configName}
	if v.outer() {
		return append(byBootloader, v.files.Ramdisk), nil
	}
	rest := slices.Concat(v.files.Initramfs, v.files.ArmStubs)
	for _, candidates := range [][]string{v.files.Kernels, v.files.DTBs} {
		if name, ok := v.chosen(candidates); ok {
			rest = append(rest, name)
		}
	}
	if v.files.Start == "" {
		return append(byBootloader, rest...), nil
	}
	return append(byBootloader, v.files.Start, v.files.Fixup), rest
}

// bootloaderBlock is the block size in bytes that a bootloader asks for; 0 if it counts
// on after 65535 blocks (bootloader release notes of 2019-10-08, 2022-10-03 and 2025-09-23).
func (v *view) bootloaderBlock() int64 {
	switch {
	case len(v.board.ROMFiles) > 0: // bootcode.bin asks for no block size
		return 512
	case v.target.Bootloader >= "2025-09-23":
		return 0
	case v.board.Platform == "bcm2712" || v.target.Bootloader >= "2022-10-03":
		return 1468 // the first bootloader of a Pi 5 is younger than that
	case v.target.Bootloader >= "2019-10-08":
		return 1024
	}
	return 512
}

func bootloaderSizes(r *report, v *view, names []string) {
	block := v.bootloaderBlock()
	for _, name := range names {
		n, _ := v.size(name)
		if block == 0 || n <= block*blocks {
			continue
		}
		switch {
		case len(v.board.ROMFiles) > 0:
			r.error(name, 0, "make it smaller", "%d bytes; bootcode.bin counts up to %d", n, block*blocks)
		case v.target.Bootloader == "":
			r.warn(name, 0, "declare the oldest bootloader in the fleet, if it is 2025-09-23 or younger, or make the file smaller",
				"%d bytes; the oldest bootloaders of this board count up to %d", n, block*blocks)
		default:
			r.error(name, 0, "update the bootloader to 2025-09-23 or younger, or make the file smaller",
				"%d bytes; a bootloader of %s counts up to %d", n, v.target.Bootloader, block*blocks)
		}
	}
}

// startBlock is the block size that start*.elf itself shows, else that of August 2022.
func (v *view) startBlock() int64 {
	if data, err := v.read(v.files.Start); err == nil {
		if n := readStart(data).blockSize; n > 0 {
			return n
		}
	}
	return 1024
}

// startSizes only warns: whether start*.elf counts on after 65535 blocks is not known.
func startSizes(r *report, v *view, names []string) {
	if len(names) == 0 {
		return
	}
	block := v.startBlock()
	for _, name := range names {
		if n, _ := v.size(name); n > block*blocks {
			r.warn(name, 0, "compress the kernel with gzip, or make the file smaller",
				"%d bytes; %s asks for blocks of %d bytes and may not count beyond %d", n, v.files.Start, block, block*blocks)
		}
	}
}

// A board gives up on a file after TFTP_FILE_TIMEOUT, 30 s unless its EEPROM says
// otherwise; 5 MB/s is what its client reached in published logs.
const (
	tftpRate    = 5_000_000 // bytes per second
	tftpTimeout = 30        // seconds
)

func tftpTimes(r *report, v *view) {
	if v.target.InRamdisk {
		return
	}
	byBootloader, byStart := v.fetched()
	for _, name := range slices.Concat(byBootloader, byStart) {
		if n, _ := v.size(name); n > tftpRate*tftpTimeout {
			r.warn(name, 0, "raise TFTP_FILE_TIMEOUT in the EEPROM, or make it smaller",
				"%d bytes take %d s at 5 MB/s; a board gives up after %d s", n, n/tftpRate, tftpTimeout)
		}
	}
}
