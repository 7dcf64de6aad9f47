package lint

import "piimg/pipeline/format/configtxt"

func initramfsParts(r *report, v *view) {
	var from []configtxt.Line // of each of v.files.Initramfs, where lines name them
	for _, i := range v.fw.Initramfs {
		for range i.Files {
			from = append(from, i.Line)
		}
	}
	for i, name := range v.files.Initramfs {
		n, ok := v.size(name)
		switch {
		case !ok && i < len(from):
			r.error(from[i].File, from[i].Number, "ship it", "initramfs %s is missing: the kernel starts without any", name)
		case n%4 != 0:
			r.warn(name, 0, "pad it with NUL bytes", "%d bytes, no multiple of 4: older firmware fails with a further archive, or with LZ4", n)
		}
	}
}
