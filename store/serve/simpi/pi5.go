package simpi

import (
	"bytes"
	"context"

	"piimg/pipeline/format/configtxt"
	"piimg/store"
)

// bootPi5 boots a board of the Pi 5 family, whose bootloader does everything up to the
// kernel.
//
// The order is reconstructed, and no log shows it whole: two serial logs of boots from SD
// cards for the order, one of a network boot for its tail and for the doubled slashes of
// names that are looked up from the root, and names found in the bootloader. Which file
// decides about the folder is not known; the board is taken to stay in it.
func bootPi5(ctx context.Context, s *session) Outcome {
	s.enter(StageEEPROM, s.board.EEPROMBlksize())
	config, ok := s.required(ctx, configName)
	if !ok {
		return FirmwareNotFound // a Pi 5 does not boot without config.txt (documentation)
	}
	boot := s.eval(ctx, config, configtxt.Bootloader)
	files := configtxt.Resolve(boot, boot, s.board.Board, nil)
	if files.Ramdisk != "" {
		return s.ramdisk(ctx, files.Ramdisk)
	}
	s.lookForUpdate(ctx, boot)
	if !s.checkOS(ctx, boot, files) {
		return FirmwareNotFound
	}
	s.absolute = true
	s.config(ctx)
	fw := s.eval(ctx, s.config(ctx), configtxt.Firmware)
	s.absolute = false
	return s.pi5Files(ctx, boot, fw)
}

// required reads a text that the board cannot do without. One without an option
// acknowledgement is taken to be empty, as by the other boards.
func (s *session) required(ctx context.Context, name string) ([]byte, bool) {
	req, text := s.fetch(ctx, Request{Kind: Get, Name: name, Required: true}, true)
	if req.has(NoOACK) {
		text = nil
	}
	return text, req.Result == Found
}

// checkOS reads the device tree to see whether the image is for a Pi 5, unless config.txt
// has os_check=0. Only the text of its compatible property is looked for.
func (s *session) checkOS(ctx context.Context, boot *configtxt.Settings, files configtxt.Files) bool {
	if boot.Int("os_check", 1) == 0 || len(files.DTBs) == 0 {
		return true
	}
	name, text := s.readTree(ctx, files.DTBs)
	if name != "" && !bytes.Contains(text, []byte("brcm,bcm2712")) {
		s.fail(name+" is no device tree of a Pi 5", "take the kernel's own, or set os_check=0 in config.txt")
		return false
	}
	return name != ""
}

// readTree reads the first device tree that there is. How a board chooses among several
// names is not documented.
func (s *session) readTree(ctx context.Context, names []string) (string, []byte) {
	for _, name := range names {
		if text, ok := s.text(ctx, name); ok {
			return name, text
		}
	}
	s.fail("no device tree: "+list(names)+" missing", "add the kernel's device tree for "+s.board.Board.Model)
	return "", nil
}

// pi5Files loads what the kernel needs, and then the kernel.
func (s *session) pi5Files(ctx context.Context, boot, fw *configtxt.Settings) Outcome {
	files := s.resolve(ctx, boot, fw)
	for _, name := range files.Initramfs {
		part, ok := s.load(ctx, name)
		if !ok {
			break
		}
		s.resolved.Initramfs = append(s.resolved.Initramfs, part)
	}
	kernel := s.findKernel(ctx, files)
	if len(files.DTBs) > 0 {
		name, text := s.readTree(ctx, files.DTBs)
		s.resolved.DTB = File{Name: name, Digest: store.Sum(text), Bytes: int64(len(text))}
	}
	s.absolute = true
	m := s.readOverlayMap(ctx, files.OverlayDir+overlayMapName)
	fw = s.eval(ctx, s.config(ctx), configtxt.Firmware)
	s.absolute = false
	exists := func(name string) bool { return s.exists(ctx, name) }
	for _, o := range configtxt.Resolve(boot, fw, s.board.Board, exists).Overlays {
		s.resolved.Overlays = append(s.resolved.Overlays, s.readOverlay(ctx, files.OverlayDir, o.Name, m))
	}
	s.loadCmdline(ctx, files.Cmdline)
	s.loadStub(ctx, files)
	return s.loadKernel(ctx, files, kernel)
}
