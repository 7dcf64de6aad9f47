package lint

import "slices"

// Rule is one rule.
type Rule struct {
	ID    string
	Title string // what must hold

	image func(*report, *image) // runs once, and
	board func(*report, *view)  // runs for each board
}

var rules = []Rule{
	{ID: "P01", Title: "config.txt and what it includes exist", board: configExists},
	{ID: "P02", Title: "each board has its device tree, and it is for that board", board: deviceTree},
	{ID: "P03", Title: "each board has its kernel, armstub or ramdisk", board: kernelExists},
	{ID: "P04", Title: "start and fixup file exist and are a pair", board: startAndFixup},
	{ID: "P05", Title: "every initramfs part exists and is a multiple of 4 bytes", board: initramfsParts},
	{ID: "P06", Title: "initramfs lines are written as the firmware reads them", image: initramfsLines},
	{ID: "P07", Title: "no line of config.txt is too long", image: lineLengths},
	{ID: "P08", Title: "config.txt is plain ASCII text with LF line ends", image: characters},
	{ID: "P09", Title: "config.txt is at most 4096 bytes", image: configSize},
	{ID: "P10", Title: "every line of config.txt means what it seems to", image: oddLines},
	{ID: "P11", Title: "the bootloader sees the keys that it reads", board: bootloaderKeys},
	{ID: "P12", Title: "keys that mean every board are under no filter", board: underFilters},
	{ID: "P13", Title: "each overlay exists for each board", board: overlays},
	{ID: "P14", Title: "overlay_map.dtb is there where an overlay is used", board: overlayMap},
	{ID: "P15", Title: "overlays that the firmware chooses itself are there", board: autoDetect},
	{ID: "P16", Title: "os_prefix does what it seems to", board: osPrefix},
	{ID: "P17", Title: "auto_initramfs finds its file", board: autoInitramfs},
	{ID: "P18", Title: "the kernel is one that the board can run", board: kernelKind},
	{ID: "P19", Title: "no file is larger than the board's TFTP client can count", board: tftpSizes},
	{ID: "P20", Title: "no file takes longer than a board waits", board: tftpTimes},
	{ID: "P21", Title: "nothing lies around that the board would act on", image: leftovers},
	{ID: "P22", Title: "the command line is one line, and leads to something to start", board: commandLine},
	{ID: "P23", Title: "a root over NFS can be mounted", board: nfsRoot},
	{ID: "P24", Title: "the ramdisk can be loaded, and its signature is of it", board: ramdisk},
	{ID: "P25", Title: "names are plain, and not the same but for their case", image: sameNames, board: oddPaths},
	{ID: "P26", Title: "the licences of firmware and kernel go along with them", image: firmwareLicence, board: kernelLicence},
	{ID: "P27", Title: "the kernel unpacks all of the initramfs", board: unpackable},
	{ID: "P28", Title: "the files fit on the card that they are meant for", image: card},
	{ID: "P29", Title: "what front ends fill in for each board is something that they can fill in", image: configTemplate, board: cmdlineTemplate},
}

// Rules are all rules, by id.
func Rules() []Rule { return slices.Clone(rules) }

// IDs are the ids of all rules.
func IDs() []string {
	ids := make([]string, len(rules))
	for n, rule := range rules {
		ids[n] = rule.ID
	}
	return ids
}

func (rule Rule) run(r *report, img *image, views []*view) {
	r.rule, r.board = rule.ID, ""
	if rule.image != nil {
		rule.image(r, img)
	}
	for _, v := range views {
		if rule.board == nil {
			break
		}
		r.board = v.board.Model
		rule.board(r, v)
	}
}
