package initramfs

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"piimg/pipeline"
	"piimg/pipeline/format/newc"
)

// addModules adds what the modules stage has made.
func (l layer) addModules(ctx context.Context, job *pipeline.Job) {
	for _, f := range job.Need("modules") {
		l[f.Path] = item{
			entry: newc.Entry{Name: f.Path, Mode: newc.Regular | f.Mode, Size: f.Size},
			open:  func() (io.ReadCloser, error) { return job.Open(ctx, f) },
		}
	}
}

// noModules refuses a base with modules of the same release: modprobe would not find them
// any more, since the lists of the layer take the place of the base's.
func noModules(inBase map[string]uint32, release string) error {
	if release == "" {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(inBase)) {
		below, ok := strings.CutPrefix(strings.TrimPrefix(name, "usr/"), "lib/modules/"+release+"/")
		if ok && inBase[name] == newc.Regular {
			return fmt.Errorf("the base has modules of %s already, such as %s: select all that are wanted from a base without any", release, below)
		}
	}
	return nil
}
