package lint

import (
	"errors"

	"piimg/pipeline/format/configtxt"
	"piimg/pipeline/format/overlaymap"
)

const mapName = "overlay_map.dtb"

func overlays(r *report, v *view) {
	if len(v.files.Overlays) == 0 {
		return
	}
	m := v.overlayMap(r)
	for _, o := range v.files.Overlays {
		overlay(r, v, m, o)
	}
}

// overlayMap is nil where there is none that can be read.
func (v *view) overlayMap(r *report) *overlaymap.Map {
	name := v.files.OverlayDir + mapName
	data, err := v.read(name)
	if err != nil {
		return nil
	}
	m, err := overlaymap.Parse(data)
	if err != nil {
		r.error(name, 0, "", "%v", err)
		return nil
	}
	return m
}

func overlay(r *report, v *view, m *overlaymap.Map, o configtxt.Overlay) {
	file, line := o.Line.File, o.Line.Number
	if file == "" { // the firmware adds it by itself
		file, line = v.place("upstream_kernel")
	}
	actual := o.Name
	if m != nil {
		var err error
		if actual, err = m.Resolve(o.Name, v.board.Platform); err != nil {
			r.error(file, line, overlayHint(err), "%v", err)
			return
		}
	}
	if name := v.files.OverlayDir + actual + ".dtbo"; !v.exists(name) {
		r.error(file, line, "ship it", "overlay %s is missing: looked for %s", o.Name, name)
	}
}

func overlayHint(err error) string {
	var gone *overlaymap.DeprecatedError
	if errors.As(err, &gone) {
		return gone.Hint
	}
	return "put it under a filter of the boards that have it, such as [pi4]"
}

func overlayMap(r *report, v *view) {
	name := v.files.OverlayDir + mapName
	if len(v.files.Overlays) > 0 && !v.exists(name) {
		r.warn(name, 0, "ship it with the overlays", "missing: overlay names are taken as written, although some have another file on this board")
	}
}
