package simpi

import (
	"context"

	"piimg/pipeline/format/configtxt"
	"piimg/pipeline/format/overlaymap"
)

// bootPi4 boots a board of the Pi 4 family: the EEPROM's bootloader up to start4.elf and
// its fixup, then start4.elf up to the kernel.
//
// Source of the order: a dnsmasq log of a Pi 4B booting UEFI, and one of a Pi 3B+ with
// firmware of 2025 for what newer firmware asks before the device tree.
func bootPi4(ctx context.Context, s *session) Outcome {
	boot, outcome := pi4EEPROM(ctx, s)
	if outcome != "" {
		return outcome
	}
	s.enter(StageFirmware, s.board.AskedBlksize())
	return firmware(ctx, s, boot)
}

// pi4EEPROM is the first stage. It returns an outcome where the boot ends in it.
func pi4EEPROM(ctx context.Context, s *session) (*configtxt.Settings, Outcome) {
	s.enter(StageEEPROM, s.board.EEPROMBlksize())
	if !s.choosePrefix(ctx) {
		return nil, FirmwareNotFound
	}
	boot := s.eval(ctx, s.config(ctx), configtxt.Bootloader)
	files := configtxt.Resolve(boot, boot, s.board.Board, nil)
	if files.Ramdisk != "" {
		return nil, s.ramdisk(ctx, files.Ramdisk)
	}
	s.lookForUpdate(ctx, boot)
	s.miss(ctx, "recover4.elf")
	s.miss(ctx, "recovery.elf")
	if !s.startFirmware(ctx, files) {
		return nil, FirmwareNotFound
	}
	return boot, ""
}

// choosePrefix leaves the board's folder where it holds neither start file: every later
// name is asked for without the prefix (bootloader documentation, and a published log of
// a fall-back). A start4.elf that is silent ends the attempt, and start.elf is not tried
// (release notes of 2019-09).
func (s *session) choosePrefix(ctx context.Context) bool {
	switch s.probe(ctx, s.board.Starts[0]) {
	case Found:
		return true
	case Timeout:
		return false
	}
	if s.probe(ctx, "start.elf") == Found || s.prefix == "" {
		return true
	}
	s.resolved.PrefixLeft = true
	s.warn("the board leaves its folder "+s.prefix+": there is no "+s.board.Starts[0]+" in it",
		"serve the whole image under "+s.prefix+", or check the serial number")
	s.prefix, s.present = "", map[string]bool{}
	return true
}

func (s *session) ramdisk(ctx context.Context, name string) Outcome {
	file, ok := s.load(ctx, name)
	if !ok {
		return FirmwareNotFound
	}
	s.resolved.Ramdisk = file
	return RamdiskLoaded
}

// lookForUpdate is the bootloader's self-update (ENABLE_SELF_UPDATE, on unless config.txt
// has bootloader_update=0).
func (s *session) lookForUpdate(ctx context.Context, boot *configtxt.Settings) {
	if boot.Int("bootloader_update", 1) == 0 {
		return
	}
	if s.board.VL805 && s.miss(ctx, "vl805.sig") == Found {
		s.miss(ctx, "vl805.bin")
	}
	if s.miss(ctx, "pieeprom.sig") == Found {
		s.miss(ctx, "pieeprom.upd")
	}
}

// startFirmware loads start4.elf and its fixup. Where start4.elf is missing the
// bootloader asks for start.elf before it gives up (a published log of a fall-back).
func (s *session) startFirmware(ctx context.Context, files configtxt.Files) bool {
	start, ok := s.load(ctx, files.Start)
	if !ok {
		if !s.timedOut() {
			s.probe(ctx, "start.elf")
		}
		return false
	}
	fixup, ok := s.load(ctx, files.Fixup)
	s.resolved.Start, s.resolved.Fixup = start, fixup
	s.checkPair(files.Start, files.Fixup)
	return ok
}

// firmware is start4.elf, and start.elf of a Pi 3.
func firmware(ctx context.Context, s *session, boot *configtxt.Settings) Outcome {
	s.miss(ctx, "recovery.elf")
	s.findConfig(ctx)
	s.miss(ctx, "dt-blob.bin")
	s.miss(ctx, "recovery.elf")
	config := s.findConfig(ctx)
	s.miss(ctx, "bootcfg.txt")
	fw := s.eval(ctx, config, configtxt.Firmware)
	if s.either(s.board.kernelFirst()) {
		return s.kernelFirst(ctx, boot, fw)
	}
	return s.kernelLast(ctx, boot, fw)
}

// kernelFirst is the order of newer firmware: it looks for the kernel and loads the
// initramfs before the device tree.
func (s *session) kernelFirst(ctx context.Context, boot, fw *configtxt.Settings) Outcome {
	s.findRecovery(ctx, boot, fw)
	files := s.resolve(ctx, boot, fw)
	kernel := s.findKernel(ctx, files)
	s.loadInitramfs(ctx, files)
	s.loadDeviceTree(ctx, files)
	s.loadSettings(ctx, boot, files)
	s.loadStub(ctx, files)
	if kernel != "" && !s.found(ctx, kernel) {
		kernel = ""
	}
	return s.loadKernel(ctx, files, kernel)
}

// kernelLast is the order of older firmware.
func (s *session) kernelLast(ctx context.Context, boot, fw *configtxt.Settings) Outcome {
	files := s.resolve(ctx, boot, fw)
	s.loadDeviceTree(ctx, files)
	s.loadInitramfs(ctx, files)
	s.loadSettings(ctx, boot, files)
	s.findRecovery(ctx, boot, fw)
	kernel := s.findKernel(ctx, files)
	s.loadStub(ctx, files)
	return s.loadKernel(ctx, files, kernel)
}

// loadSettings loads what shapes the device tree: the overlays, which a reading of
// config.txt of their own names, and the kernel's command line.
func (s *session) loadSettings(ctx context.Context, boot *configtxt.Settings, files configtxt.Files) {
	m := s.overlayMap(ctx, files.OverlayDir)
	fw := s.eval(ctx, s.findConfig(ctx), configtxt.Firmware)
	exists := func(name string) bool { return s.exists(ctx, name) }
	s.loadOverlays(ctx, configtxt.Resolve(boot, fw, s.board.Board, exists), m)
	if !s.log.cmdline || s.found(ctx, files.Cmdline) {
		s.loadCmdline(ctx, files.Cmdline)
	}
}

// findConfig probes for config.txt, then reads it.
func (s *session) findConfig(ctx context.Context) []byte {
	if !s.found(ctx, configName) {
		return nil
	}
	return s.config(ctx)
}

// resolve names the files. Where a choice depends on what there is, the board probes.
func (s *session) resolve(ctx context.Context, boot, fw *configtxt.Settings) configtxt.Files {
	exists := func(name string) bool { return s.exists(ctx, name) }
	files := configtxt.Resolve(boot, fw, s.board.Board, exists)
	for _, n := range files.Notes {
		s.warn(n, "see config.txt")
	}
	return files
}

// findRecovery looks for a recovery system, which would be started instead of the kernel.
func (s *session) findRecovery(ctx context.Context, boot, fw *configtxt.Settings) {
	name := "recovery7l.img"
	if configtxt.Resolve(boot, fw, s.board.Board, nil).Arm64 {
		name = "recovery8.img"
	}
	s.miss(ctx, name)
}

// findKernel is the first kernel that exists, or "".
func (s *session) findKernel(ctx context.Context, files configtxt.Files) string {
	kernel, _ := s.find(ctx, files.Kernels)
	return kernel
}

// loadInitramfs reads every part. Where one cannot be loaded, the firmware starts the
// kernel without any initramfs (a text in its binary).
func (s *session) loadInitramfs(ctx context.Context, files configtxt.Files) {
	var parts []File
	for _, name := range files.Initramfs {
		if !s.exists(ctx, name) {
			s.fail("initramfs "+name+" is missing", "add it; the board would start the kernel without an initramfs")
			return
		}
		part, ok := s.load(ctx, name)
		if !ok {
			return
		}
		parts = append(parts, part)
	}
	s.resolved.Initramfs = parts
}

func (s *session) loadDeviceTree(ctx context.Context, files configtxt.Files) {
	if len(files.DTBs) == 0 {
		return
	}
	name, ok := s.find(ctx, files.DTBs)
	if !ok {
		s.fail("no device tree: "+list(files.DTBs)+" missing", "add the kernel's device tree for "+s.board.Board.Model)
		return
	}
	s.resolved.DTB, _ = s.load(ctx, name)
}

// overlayMap reads the map of overlay names; without one, names are taken as they are.
func (s *session) overlayMap(ctx context.Context, dir string) *overlaymap.Map {
	name := dir + overlayMapName
	if !s.found(ctx, name) {
		return nil
	}
	return s.readOverlayMap(ctx, name)
}

const overlayMapName = "overlay_map.dtb"

func (s *session) readOverlayMap(ctx context.Context, name string) *overlaymap.Map {
	text, ok := s.text(ctx, name)
	if !ok {
		return nil
	}
	m, err := overlaymap.Parse(text)
	if err != nil {
		s.warn(name+" is no device tree", "take the map that belongs to the kernel's overlays")
		return nil
	}
	return m
}

func (s *session) loadOverlays(ctx context.Context, files configtxt.Files, m *overlaymap.Map) {
	for _, o := range files.Overlays {
		s.resolved.Overlays = append(s.resolved.Overlays, s.loadOverlay(ctx, files.OverlayDir, o.Name, m))
	}
}

// loadOverlay looks for an overlay and then reads it.
func (s *session) loadOverlay(ctx context.Context, dir, name string, m *overlaymap.Map) Overlay {
	file := s.overlayFile(dir, name, m)
	if file == "" {
		return Overlay{Name: name}
	}
	if !s.found(ctx, file) {
		s.fail("overlay "+file+" is missing", "add it; dtoverlay="+name+" asks for it")
		return Overlay{Name: name}
	}
	f, _ := s.load(ctx, file)
	return Overlay{Name: name, File: f}
}

// readOverlay reads an overlay at once.
func (s *session) readOverlay(ctx context.Context, dir, name string, m *overlaymap.Map) Overlay {
	file := s.overlayFile(dir, name, m)
	if file == "" {
		return Overlay{Name: name}
	}
	f, _ := s.load(ctx, file)
	return Overlay{Name: name, File: f}
}

// overlayFile is the file that the map has for an overlay, and "" where it has none for
// this board.
func (s *session) overlayFile(dir, name string, m *overlaymap.Map) string {
	actual := name
	if m != nil {
		var err error
		if actual, err = m.Resolve(name, s.board.Platform); err != nil {
			s.fail("dtoverlay="+name+": "+err.Error(), "remove the overlay or choose another for "+s.board.Board.Model)
			return ""
		}
	}
	return dir + actual + ".dtbo"
}

// loadCmdline reads the kernel's command line, which may be missing.
func (s *session) loadCmdline(ctx context.Context, name string) {
	text, _ := s.text(ctx, name)
	s.resolved.Cmdline = firstLine(text)
}

// loadStub loads the code that starts the kernel. One that config.txt names is needed
// and was seen to be looked for three times; a default name is only looked for, since
// the firmware has its own.
func (s *session) loadStub(ctx context.Context, files configtxt.Files) {
	if !files.NeedStub {
		if name, ok := s.find(ctx, files.ArmStubs); ok {
			s.resolved.Stub, _ = s.load(ctx, name)
		}
		return
	}
	for _, name := range files.ArmStubs {
		if !s.foundTimes(ctx, name, s.times(3)) {
			s.fail("armstub "+name+" is missing", "add it, or remove armstub= from config.txt")
			continue
		}
		s.resolved.Stub, _ = s.load(ctx, name)
	}
}

// loadKernel is the last request. A stub of its own, such as UEFI, runs without a kernel
// (a published log).
func (s *session) loadKernel(ctx context.Context, files configtxt.Files, name string) Outcome {
	if name == "" && files.NeedStub && s.resolved.Stub.Name != "" {
		return Started
	}
	if name == "" {
		s.fail("no kernel: "+list(files.Kernels)+" missing", "add the kernel, or name it with kernel= in config.txt")
		return KernelNotFound
	}
	var ok bool
	if s.resolved.Kernel, ok = s.load(ctx, name); !ok {
		return KernelNotFound
	}
	return Started
}
