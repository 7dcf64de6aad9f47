package simpi

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"piimg/pipeline/format/configtxt"
)

// Date is a day of a release as YYYY-MM-DD, in UTC. Dates in this form compare as text.
type Date string

// Days on which the TFTP clients changed.
//
// Sources: the release notes of the BCM2711 bootloader for the EEPROM; for start4.elf
// the block size that is written in two published builds, since its notes do not say.
const (
	eepromAsks1024    Date = "2019-10-08" // before: no blksize, so blocks of 512 bytes
	eepromAsks1468    Date = "2022-10-03"
	eepromRollsOver   Date = "2025-09-23" // counts blocks beyond 65535
	firmwareAsks1468  Date = "2026-05-21" // the build of 2022-08-26 asks for 1024; between them it is not known
	firmwareProbes    Date = "2023-01-01" // looks for kernel and initramfs before the device tree; a log of 2025 shows it
	newestEEPROMDate  Date = "2026-08-04"
	newestFirmwareDay Date = "2026-05-21"
)

func (d Date) check(what string) error {
	if d == "" {
		return nil
	}
	if _, err := time.Parse(time.DateOnly, string(d)); err != nil {
		return fmt.Errorf("%s %q is not a date such as 2025-09-23", what, string(d))
	}
	return nil
}

func (d Date) or(def Date) Date {
	if d == "" {
		return def
	}
	return d
}

// Model is a kind of board and the age of the programs on it. The caller fills in what
// configtxt needs to know of the board.
type Model struct {
	configtxt.Board

	// EEPROMDate is the release of the bootloader in the board's flash memory; empty
	// is the newest one known. It decides block sizes and the largest file.
	EEPROMDate Date
	// FirmwareDate is the release of start4.elf that the image holds; empty is the
	// newest one known.
	FirmwareDate Date
	// FirmwareBlksize overrides what start4.elf asks for, in bytes: it is not known for
	// releases between 2022-08 and 2026-05, which are taken to ask for 1024. 0 leaves
	// it to FirmwareDate.
	FirmwareBlksize int
	// VL805 is an early Pi 4B whose USB controller has a flash memory of its own: the
	// bootloader then looks for vl805.sig and vl805.bin as well (a published log).
	VL805 bool
}

// family is a line of boards that boot the same way.
type family struct {
	name   string
	models []string
	starts bool // it has a start file, which loads the rest
	boot   func(context.Context, *session) Outcome
}

// families are the boards that can be simulated.
func families() []family {
	return []family{
		{name: "Pi 3", models: []string{"pi3b", "pi3b+"}, starts: true, boot: bootPi3},
		{name: "Pi 4", models: []string{"pi4b", "pi400", "cm4", "cm4s"}, starts: true, boot: bootPi4},
		{name: "Pi 5", models: []string{"pi5", "pi500", "cm5", "cm5lite"}, boot: bootPi5},
	}
}

// Simulated are the models that [Board.Boot] accepts.
func Simulated() []string {
	var names []string
	for _, f := range families() {
		names = append(names, f.models...)
	}
	return names
}

func (m Model) family() (family, error) {
	for _, f := range families() {
		if slices.Contains(f.models, m.Board.Model) {
			return f, nil
		}
	}
	return family{}, fmt.Errorf("model %q is not simulated, only %s", m.Board.Model, strings.Join(Simulated(), ", "))
}

func (m Model) check() error {
	fam, err := m.family()
	if err != nil {
		return err
	}
	if err := m.EEPROMDate.check("EEPROM date"); err != nil {
		return err
	}
	if err := m.FirmwareDate.check("firmware date"); err != nil {
		return err
	}
	if n := m.FirmwareBlksize; n != 0 && (n < minBlksize || n > maxBlksize) {
		return fmt.Errorf("firmware block size %d is not between %d and %d", n, minBlksize, maxBlksize)
	}
	if fam.starts && len(m.Starts) == 0 || len(m.DTBs) == 0 || len(m.Kernels) == 0 {
		return fmt.Errorf("model %q needs the names of its start file, device tree and kernel", m.Board.Model)
	}
	return nil
}

// EEPROMBlksize is the block size that the bootloader asks for, in bytes; 0 where it
// does not ask (and gets blocks of 512).
func (m Model) EEPROMBlksize() int {
	switch d := m.EEPROMDate.or(newestEEPROMDate); {
	case d < eepromAsks1024:
		return 0
	case d < eepromAsks1468:
		return 1024
	default:
		return 1468
	}
}

// AskedBlksize is the block size that start4.elf asks for, in bytes.
func (m Model) AskedBlksize() int {
	switch {
	case m.FirmwareBlksize != 0:
		return m.FirmwareBlksize
	case m.FirmwareDate.or(newestFirmwareDay) < firmwareAsks1468:
		return 1024
	default:
		return 1468
	}
}

// RollsOver says whether a file may have more than 65535 blocks. Whether start4.elf
// learnt it together with the bootloader is not known; it is taken to have. A Pi 3 has no
// bootloader of its own: the age of its firmware stands for it.
func (m Model) RollsOver() bool {
	if fam, err := m.family(); err == nil && fam.name == "Pi 3" {
		return m.FirmwareDate.or(newestFirmwareDay) >= eepromRollsOver
	}
	return m.EEPROMDate.or(newestEEPROMDate) >= eepromRollsOver
}

// kernelFirst says whether this firmware looks for kernel and initramfs before it loads
// the device tree.
func (m Model) kernelFirst() bool { return m.FirmwareDate.or(newestFirmwareDay) >= firmwareProbes }
