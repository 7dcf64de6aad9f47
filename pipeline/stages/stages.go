// Package stages lists the stages of the pipeline. All is the only list.
package stages

import (
	"piimg/pipeline"
	"piimg/pipeline/stages/bootfs"
	"piimg/pipeline/stages/bootimg"
	"piimg/pipeline/stages/buildroot"
	"piimg/pipeline/stages/firmware"
	"piimg/pipeline/stages/initramfs"
	"piimg/pipeline/stages/kernel"
	"piimg/pipeline/stages/modules"
	"piimg/pipeline/stages/uroot"
)

// All are the stages, those that make up the boot files last.
func All() []pipeline.Stage {
	return []pipeline.Stage{
		buildroot.Stage{},
		firmware.Stage{},
		kernel.Stage{},
		modules.Stage{},
		uroot.Stage{},
		initramfs.Stage{},
		bootfs.Stage{},
		bootimg.Stage{},
	}
}
