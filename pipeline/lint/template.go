package lint

import (
	"errors"

	"piimg/pipeline/format/boardtext"
)

// configTemplate looks at what front ends fill in in config.txt.
func configTemplate(r *report, img *image) {
	if text, err := img.readConfig(configName); err == nil {
		templates(r, configName, string(text))
	}
}

// cmdlineTemplate does in the command line.
func cmdlineTemplate(r *report, v *view) {
	if text, ok := v.cmdline(); ok {
		templates(r, v.files.Cmdline, text)
	}
}

func templates(r *report, name, text string) {
	var fault boardtext.Fault
	if !errors.As(boardtext.Check(name, text), &fault) {
		return
	}
	r.error(name, fault.Line, "write {{.hostname}}, {{if .role}} and the like", "no front end can fill this in: %s", fault.Msg)
}
