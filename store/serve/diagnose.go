package serve

import (
	"path"
	"slices"
	"strings"
	"time"
)

// Finding is what probably went wrong in a boot. Row is that of the table of failures in
// the README.
type Finding struct {
	Row  int    `json:"row"`
	Text string `json:"text"`
}

// silence is how long a board has to be silent before a boot counts as over.
const silence = 30 * time.Second

// Diagnose says what the trail of b shows of what owners of boards have met, at the time
// now. before is the boot of the same board before b, and nil where there was none.
func Diagnose(b Boot, before *Boot, now time.Time) []Finding {
	e := evidence{Boot: b, before: before, quiet: now.Sub(b.Seen)}
	var all []Finding
	for _, s := range symptoms {
		if s.fits(e) {
			all = append(all, Finding{s.row, s.text})
		}
	}
	return all
}

// Diagnosed are the boots of a board, the oldest first, with what can be said of each now.
func Diagnosed(boots []Boot, now time.Time) []Boot {
	for n := range boots {
		var before *Boot
		if n > 0 {
			before = &boots[n-1]
		}
		boots[n].Diagnosis = Diagnose(boots[n], before, now)
	}
	return boots
}

// evidence is what a symptom is looked for in.
type evidence struct {
	Boot
	before *Boot
	quiet  time.Duration // since the last sign of life
}

// stuck says whether the board has been silent since it reached m.
func (e evidence) stuck(m Milestone) bool { return e.Milestone == m && e.quiet >= silence }

// has says whether there is an event that fits.
func (e evidence) has(fits func(Event) bool) bool { return slices.ContainsFunc(e.Events, fits) }

// count is how many events fit.
func (e evidence) count(fits func(Event) bool) int {
	n := 0
	for _, ev := range e.Events {
		if fits(ev) {
			n++
		}
	}
	return n
}

// last is the last event, and the zero one where there is none.
func (e evidence) last() Event {
	if len(e.Events) == 0 {
		return Event{}
	}
	return e.Events[len(e.Events)-1]
}

// soon is how long after the end of a boot the next one shows that it failed.
const soon = 3 * time.Minute

// again says whether b follows a boot that had its kernel, so soon that it cannot have run.
// Somebody elsewhere who looks at a file of the board is not the board.
func (e evidence) again() bool {
	if e.before == nil || e.before.Milestone != Kernel || e.before.Address != e.Address {
		return false
	}
	pause := e.Opened.Sub(e.before.Seen)
	return pause >= 0 && pause < soon
}

// symptom is a row of the table, and how a server sees it.
type symptom struct {
	row  int
	text string
	fits func(evidence) bool
}

var symptoms = []symptom{
	{2, "config.txt was asked for without TFTP options: the firmware takes it for empty then; look for something between that rewrites or drops options", func(e evidence) bool {
		return e.has(func(ev Event) bool { return ev.Plain && ev.Name == "config.txt" && e.isFirmware() })
	}},
	{3, "a transfer stopped after 65535 blocks: this bootloader cannot count further; use larger blocks, a smaller file, or a bootloader from 2025-09-23 on", func(e evidence) bool {
		return e.has(func(ev Event) bool { return ev.Result != OK && stoppedAtWrap(ev.Bytes) })
	}},
	{4, "boot.img of more than 64 MB was taken whole, and the board started over: bootloaders before 2021-10-27 cut it there", func(e evidence) bool {
		return e.again() && slices.ContainsFunc(e.before.Events, func(ev Event) bool {
			return isRamdisk(ev) && ev.Result == OK && ev.Size > 64<<20
		})
	}},
	{5, "boot.img was broken off at once, again and again, and boot.sig not asked for: signed boot over TFTP fails on a CM5 and with more than 30 MB on a Pi 5; use HTTP boot", func(e evidence) bool {
		return e.count(func(ev Event) bool { return isRamdisk(ev) && ev.Result != OK && ev.Bytes == 0 }) >= 3 &&
			!e.has(func(ev Event) bool { return path.Base(ev.Name) == "boot.sig" })
	}},
	{6, "start and fixup are of different variants: the board has 128 MB of memory, or hangs", mixedVariants},
	{7, "a kernel was given up midway and another one loaded: the board runs a kernel that nobody meant; ship one kernel for each board", otherKernel},
	{8, "the board asks for a missing start4.elf in a tight loop: the image has none, or the board has no image", func(e evidence) bool {
		return tightLoop(e.Events, func(ev Event) bool { return ev.Result == Missing && isLoader(ev.Name) })
	}},
	{9, "start4.elf was missing below the board's folder, so the board left it and boots what lies in the root: put start4.elf into the image", func(e evidence) bool {
		missed := slices.IndexFunc(e.Events, func(ev Event) bool { return !ev.Rooted && ev.Result == Missing && isLoader(ev.Name) })
		return missed >= 0 && slices.ContainsFunc(e.Events[missed:], func(ev Event) bool { return ev.Rooted })
	}},
	{10, "initramfs_2712 was loaded for kernel8.img: a Pi 5 bootloader before 2025-05-08 does so; name the initramfs in config.txt", func(e evidence) bool {
		return e.took("initramfs_2712") && e.took("kernel8.img") && !e.took("kernel_2712.img")
	}},
	{11, "nothing came after the last byte of the initramfs: old firmware crashes on parts whose length is no multiple of 4, and on LZ4", func(e evidence) bool {
		return e.stuck(Initramfs) && e.last().Result == OK && !slices.Contains(beside, path.Ext(e.last().Name))
	}},
	{12, "the kernel was delivered, and the board started over: look at its console; an NFS root that cannot be mounted (say vers=3), a panic, a watchdog", func(e evidence) bool {
		return e.again() && !slices.ContainsFunc(e.before.Events, isRamdisk)
	}},
	{12, "the kernel was delivered, and the board has not said that it is up, as it did after its last boot: look at its console; an NFS root that cannot be mounted (say vers=3), a panic", func(e evidence) bool {
		return e.stuck(Kernel) && e.quiet >= soon && e.before != nil && e.before.Milestone == Alive
	}},
	{16, "nothing came after fixup4.dat: start4.elf does not start; try the firmware of another release", func(e evidence) bool {
		return e.quiet >= silence && isFixup(e.last().Name) && e.last().Result == OK
	}},
	{17, "an update of the boot loader was served: a board that finds pieeprom.upd flashes it, and every board of the environment will", func(e evidence) bool {
		return e.has(func(ev Event) bool {
			return ev.Result == OK && (strings.HasPrefix(ev.Name, "pieeprom.") || ev.Name == "vl805.bin")
		})
	}},
	{18, "the same file came over HTTP again and again: the boot loader does not accept it; look at its signature, and at proxies that redirect", func(e evidence) bool {
		return e.count(tookOverHTTP) >= 3 || e.again() && e.has(tookOverHTTP) && slices.ContainsFunc(e.before.Events, tookOverHTTP)
	}},
	{20, "config.txt came, and start4.elf was not asked for: a byte that is not ASCII ends the parsing of config.txt", func(e evidence) bool {
		return e.stuck(ConfigRead) && e.last().Name == "config.txt" && !e.has(func(ev Event) bool { return isFixup(ev.Name) })
	}},
	{24, "a file took longer than the 30 s that a board gives it: the way to the board is slow or loses packets; make the file smaller, look for what loses them, or raise TFTP_FILE_TIMEOUT", func(e evidence) bool {
		return e.has(tooSlow)
	}},
	{24, "a transfer ended with silence, and the board never came back: a Pi 5 does not try again; set BOOT_WATCHDOG_TIMEOUT", func(e evidence) bool {
		last := e.last()
		return e.quiet >= 2*silence && last.Result == Aborted && last.Bytes > 0 && !stoppedAtWrap(last.Bytes) && !tooSlow(last) && e.Milestone < Kernel
	}},
	{25, "the device tree for a Pi 5 has no RP1, so its kernel finds no network: use that of the Raspberry Pi kernel", func(e evidence) bool {
		return e.has(func(ev Event) bool {
			return ev.Result == OK && strings.HasPrefix(path.Base(ev.Name), "bcm2712") && path.Ext(ev.Name) == ".dtb" && ev.Size < 20_000
		})
	}},
}

// isFirmware says whether it is a stage after the first that asks: boot ROMs and bootcode.bin
// have no options.
func (e evidence) isFirmware() bool {
	return e.has(func(ev Event) bool { return !ev.Plain && ev.Protocol == "tftp" && !isLoader(ev.Name) })
}

// took says whether the board has the file, whatever its folder.
func (e evidence) took(base string) bool {
	return e.has(func(ev Event) bool { return ev.Result == OK && path.Base(ev.Name) == base })
}

// beside are the ends of names that no initramfs has.
var beside = []string{".txt", ".dtb", ".dtbo", ".elf", ".dat", ".bin"}

func tookOverHTTP(e Event) bool {
	return isRamdisk(e) && e.Result == OK && strings.HasPrefix(e.Protocol, "http")
}

func isRamdisk(e Event) bool { return path.Base(e.Name) == "boot.img" }

// tooSlow says whether the board has given the file up for taking too long, or was gone then.
func tooSlow(e Event) bool {
	const patience = 30 * time.Second // TFTP_FILE_TIMEOUT
	return e.Protocol == "tftp" && e.Result == Aborted && e.Bytes > 0 && e.Duration >= patience && !stoppedAtWrap(e.Bytes)
}

// stoppedAtWrap says whether n is as many bytes as 65535 blocks of a size that firmware uses.
func stoppedAtWrap(n int64) bool {
	const last = 65535
	return n == last*512 || n == last*1024 || n == last*1468
}

// mixedVariants finds a start file whose fixup file is of another variant.
func mixedVariants(e evidence) bool {
	var start, fixup string
	for _, ev := range e.Events {
		base := path.Base(ev.Name)
		if ev.Result != OK {
			continue
		}
		if isFixup(base) {
			fixup = base
		} else if isLoader(base) && strings.HasPrefix(base, "start") {
			start = base
		}
	}
	variant := strings.TrimSuffix(strings.TrimPrefix(start, "start"), ".elf")
	return start != "" && fixup != "" && fixup != "fixup"+variant+".dat"
}

// otherKernel finds a kernel that was given up before another one was taken.
func otherKernel(e evidence) bool {
	given := ""
	for _, ev := range e.Events {
		base := path.Base(ev.Name)
		if !slices.Contains(defaultKernels, base) || isRamdisk(ev) {
			continue
		}
		switch {
		case ev.Result == Aborted && ev.Bytes > 0:
			given = base
		case ev.Result == OK && given != "" && base != given:
			return true
		}
	}
	return false
}

// tightLoop finds twenty events that fit within a second.
func tightLoop(all []Event, fits func(Event) bool) bool {
	const many = 20
	var times []time.Time
	for _, ev := range all {
		if !fits(ev) {
			continue
		}
		times = append(times, ev.Time)
		if n := len(times); n >= many && times[n-1].Sub(times[n-many]) <= time.Second {
			return true
		}
	}
	return false
}
