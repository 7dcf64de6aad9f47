package lint

import (
	"slices"
	"strings"

	"piimg/pipeline/format/fdt"
)

func deviceTree(r *report, v *view) {
	if v.outer() || len(v.files.DTBs) == 0 {
		return
	}
	name, ok := v.chosen(v.files.DTBs)
	if !ok {
		file, line := v.place("device_tree")
		r.error(file, line, "add one of them to [dtb] files", "no device tree: looked for %s", strings.Join(v.files.DTBs, ", "))
		return
	}
	checkTree(r, v, name)
	variants(r, v)
}

// variants warns where some of a board's device trees are there and others are not: which
// one a board takes can depend on its chip or carrier.
func variants(r *report, v *view) {
	if _, named := v.fw.Get("device_tree"); named {
		return
	}
	for _, want := range v.board.DTBs {
		if name := v.files.Prefix + want; !v.exists(name) && v.usesOwnTrees() {
			r.warn(name, 0, "ship all device trees of the model", "missing, while another variant of it is there")
		}
	}
}

func (v *view) usesOwnTrees() bool {
	name, _ := v.chosen(v.files.DTBs)
	return slices.Contains(v.board.DTBs, strings.TrimPrefix(name, v.files.Prefix))
}

// chips are the compatible strings that a device tree of a platform must have one of. The
// bootloader of a Pi 5 itself refuses a tree without "brcm,bcm2712" (os_check).
var chips = map[string][]string{
	"bcm2835": {"brcm,bcm2835", "brcm,bcm2836", "brcm,bcm2837"},
	"bcm2711": {"brcm,bcm2711"},
	"bcm2712": {"brcm,bcm2712"},
}

func checkTree(r *report, v *view, name string) {
	data, err := v.read(name)
	if err != nil {
		return
	}
	tree, err := fdt.Parse(data)
	if err != nil {
		r.error(name, 0, "", "%v", err)
		return
	}
	want := chips[v.board.Platform]
	fits := func(c string) bool { return slices.Contains(want, c) }
	if !slices.ContainsFunc(tree.Compatible(), fits) {
		r.error(name, 0, "take the device tree of the board", "is for %s, not for %s",
			strings.Join(tree.Compatible(), ", "), strings.Join(want, " or "))
		return
	}
	if v.board.Platform == "bcm2712" && !mentions(tree, "rp1") {
		r.warn(name, 0, "take the device tree of Raspberry Pi's kernel", "does not describe the RP1 chip: no Ethernet and no USB after the boot")
	}
}

// mentions reports whether any node is compatible with something that contains word.
func mentions(tree *fdt.Tree, word string) bool {
	for _, n := range tree.Walk() {
		for _, c := range n.Strings("compatible") {
			if strings.Contains(c, word) {
				return true
			}
		}
	}
	return false
}
