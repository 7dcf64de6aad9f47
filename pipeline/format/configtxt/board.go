package configtxt

// Board is what the firmware knows about the board that it runs on.
type Board struct {
	Model     string   // short name, such as "pi4b"
	Filters   []string // words of [word] sections that match: "pi400" and "pi4" on a Pi 400
	Type      int      // the type field of the revision code, for [board-type=0x…]
	Serial    uint32   // low half of the serial number, for [0x…]; 0 if unknown
	Platform  string   // property name in overlay_map.dtb: bcm2835, bcm2711 or bcm2712
	Arm64     bool     // arm_64bit where config.txt does not say
	OnlyArm64 bool     // arm_64bit=0 is not understood (Pi 5)
	Starts    []string // default start file names: start4.elf; none on a Pi 5
	Fixups    []string // the fixup of each of Starts
	Kernels   []string // 64-bit kernel names, in the order in which they are looked for
	Kernels32 []string // the same with arm_64bit=0
	DTBs      []string // device tree names; the first one that exists is taken
	Upstream  []string // the same with upstream_kernel=1, before DTBs
	ArmStubs  []string // armstub names that are looked for and need not exist
}

// Stage is a program that reads config.txt.
type Stage int

const (
	Bootloader Stage = iota // the EEPROM's program, or bootcode.bin
	Firmware                // start.elf, start4.elf; on a Pi 5 the second half of the bootloader
)
