package initramfs

import (
	"fmt"
	"strings"

	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// noModules refuses a base with modules of the same release: modprobe would not find them
// any more, since the lists of the layer take the place of the base's.
func noModules(base *initrd.Tree, release string) error {
	if release == "" {
		return nil
	}
	for n := range base.All() {
		below, ok := strings.CutPrefix(strings.TrimPrefix(n.Path, "usr/"), "lib/modules/"+release+"/")
		if ok && n.Type() == newc.Regular {
			return fmt.Errorf("the base has modules of %s already, such as %s: select all that are wanted from a base without any", release, below)
		}
	}
	return nil
}
