package configtxt

import "errors"

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

// Parse splits text into lines. Text beyond the limits of the firmware (98 characters a
// line, everything after the first byte that is not ASCII) is kept in Text and left out of Key and Value.
func Parse(file string, text []byte) []Line { return nil }

// Reader returns the file called name, or an error if it cannot be had. An include is
// read through it as well.
type Reader func(name string) ([]byte, error)

// Settings is a configuration as one stage on one board understands it.
type Settings struct {
	Stage     Stage
	Overlays  []Overlay   // dtoverlay= in order, with the dtparam= lines that belong to each
	Initramfs []Initramfs // every initramfs and ramfsfile line in force
	Includes  []string    // names of the files that were read besides the first, in order
	values    map[string]Line
}

// Overlay is a dtoverlay in force.
type Overlay struct {
	Name   string // as written, before overlay_map.dtb is asked
	Params []string
	Line   Line
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
func (s *Settings) Int(key string, def int) int { return def }

// Eval evaluates the file called name for a board in a stage. A file that cannot be read
// counts as empty, as it does for the firmware; the error is then returned beside usable
// default settings.
func Eval(read Reader, name string, b Board, stage Stage) (*Settings, error) {
	return &Settings{Stage: stage}, errors.ErrUnsupported
}

// Files are the boot files that a board asks for. Names are relative to the boot folder.
type Files struct {
	Ramdisk    string   // boot.img where boot_ramdisk=1: everything else is inside it
	Start      string   // "" on a board without one
	Fixup      string   // the counterpart of Start
	Kernels    []string // candidates in order; one where kernel= names it
	Initramfs  []string // all of them are needed
	DTBs       []string // candidates in order; none where device_tree= is empty
	OverlayDir string   // prefix of overlays and of overlay_map.dtb, "overlays/" by default
	Cmdline    string
	ArmStubs   []string // candidates; needed where NeedStub is set, else only looked for
	NeedStub   bool
	Prefix     string   // os_prefix in force, already part of the names above
	Notes      []string // what the firmware would log, such as auto_initramfs disabled
}

// Resolve derives the boot files from the settings of both stages. exists is asked only
// where the firmware's choice depends on a file's presence (os_prefix, auto_initramfs,
// upstream_kernel).
func Resolve(boot, fw *Settings, b Board, exists func(name string) bool) Files { return Files{} }
