package simpi

import (
	"context"

	"piimg/pipeline/format/configtxt"
)

// bootPi3 boots a Pi 3: the boot ROM up to bootcode.bin, that up to start.elf and its
// fixup, then start.elf up to the kernel.
//
// Source of the order: a dnsmasq log of a Pi 3B+ with firmware of September 2025 that its
// owner published, and the documentation of its network boot for the boot ROM.
func bootPi3(ctx context.Context, s *session) Outcome {
	s.log = probes{kernel: 2, initramfs: 3, cmdline: true}
	if !pi3ROM(ctx, s) {
		return FirmwareNotFound
	}
	boot, outcome := pi3Bootcode(ctx, s)
	if outcome != "" {
		return outcome
	}
	s.enter(StageStart, s.board.AskedBlksize())
	return firmware(ctx, s, boot)
}

// pi3ROM asks in the root of the server, without options, so in blocks of 512 bytes.
func pi3ROM(ctx context.Context, s *session) bool {
	s.enter(StageROM, 0)
	s.link.plain = true
	folder := s.prefix
	s.prefix = ""
	s.miss(ctx, "bootsig.bin")
	_, ok := s.load(ctx, "bootcode.bin")
	s.prefix, s.present = folder, map[string]bool{}
	return ok
}

// pi3Bootcode is bootcode.bin, which asks for the size only. It returns an outcome where
// the boot ends in it.
func pi3Bootcode(ctx context.Context, s *session) (*configtxt.Settings, Outcome) {
	s.enter(StageBootcode, 0)
	if !s.choosePrefix(ctx) {
		return nil, FirmwareNotFound
	}
	s.miss(ctx, "autoboot.txt")
	s.probe(ctx, s.board.Starts[0])
	boot := s.eval(ctx, s.config(ctx), configtxt.Bootloader)
	files := configtxt.Resolve(boot, boot, s.board.Board, nil)
	if files.Ramdisk != "" {
		return nil, s.ramdisk(ctx, files.Ramdisk)
	}
	s.miss(ctx, "recovery.elf")
	if !s.startFirmware(ctx, files) {
		return nil, FirmwareNotFound
	}
	return boot, ""
}
