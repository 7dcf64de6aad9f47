package configtxt

import "maps"

// Line is one line of a configuration file.
type Line struct {
	File   string // as it was given to Parse
	Number int    // from 1 on
	Text   string // the whole line, without its end
	Kind   Kind
	Key    string // of a Property, or the word of a Directive ("initramfs", "include")
	Value  string // of a Property, the rest of a Directive, or the inside of a Section
}

// Kind says how the firmware takes a line.
type Kind int

const (
	Blank Kind = iota
	Comment
	Section   // [pi4]
	Property  // key=value
	Directive // initramfs NAME ADDRESS, include NAME
	Junk      // nothing that the firmware would act on
)

// Reader returns the file called name, or an error if it cannot be had. An include is
// read through it as well.
type Reader func(name string) ([]byte, error)

// Settings is a configuration as one stage on one board understands it. The zero value
// is that of an empty file.
type Settings struct {
	Stage     Stage
	Overlays  []Overlay   // dtoverlay= in order, with the dtparam= lines that belong to each
	Params    []string    // dtparam= outside of overlays: parameters of the device tree itself
	Initramfs []Initramfs // every initramfs line in force, then ramfsfile=
	Includes  []string    // names of the files that were asked for besides the first, in order
	values    map[string]Line
}

// Overlay is a dtoverlay in force.
type Overlay struct {
	Name   string // as written, before overlay_map.dtb is asked
	Params []string
	Line   Line // the zero Line for one that the firmware adds by itself
}

// Initramfs is an initramfs line in force.
type Initramfs struct {
	Files   []string // loaded one after the other
	Address string   // "followkernel", a number, or ""
	Line    Line
}

// Get is the value in force of a property.
func (s *Settings) Get(key string) (string, bool) {
	l, ok := s.values[key]
	return l.Value, ok
}

// Line is the line that set key.
func (s *Settings) Line(key string) (Line, bool) {
	l, ok := s.values[key]
	return l, ok
}

// Int is the value in force of a numeric property (decimal or 0x hexadecimal), and def
// where it is not set or no number.
func (s *Settings) Int(key string, def int) int {
	l, ok := s.values[key]
	if !ok {
		return def
	}
	v, err := parseInt(l.Value)
	if err != nil {
		return def
	}
	return v
}

// InRamdisk is s for a config.txt that itself lies in boot.img: boot_ramdisk has no
// effect there.
func (s *Settings) InRamdisk() *Settings {
	inner := *s
	inner.values = maps.Clone(s.values)
	delete(inner.values, "boot_ramdisk")
	return &inner
}
