// Package recipes reads what an operator wants: recipes, their lock files and the
// boards that piimg knows. It reads files and decides nothing about how an image is made.
package recipes

import (
	"fmt"
	"path"
	"strings"
)

// DefaultEpoch is 1980-01-01 00:00 UTC in Unix seconds, the zero of FAT's clock.
const DefaultEpoch = 315532800

// Recipe is a recipe after its extends are merged, its defaults filled in and
// everything in it checked. README.md describes every key.
//
// The json form is canonical: it depends on what the recipe says and on nothing else,
// neither on where the file lies nor on how its text is laid out.
type Recipe struct {
	File string `json:"-"` // the file as it was given to Load

	Name       string            `json:"name"`
	Epoch      int64             `json:"epoch"` // Unix seconds; every time in the image
	Boards     []string          `json:"boards"`
	Bootloader string            `json:"bootloader,omitempty"` // oldest EEPROM release in the fleet, YYYY-MM-DD
	Sources    map[string]Source `json:"sources,omitempty"`
	Kernel     Kernel            `json:"kernel"`
	DTB        DTB               `json:"dtb"`
	Firmware   Firmware          `json:"firmware"`
	Config     []Section         `json:"config,omitempty"`
	Initramfs  *Initramfs        `json:"initramfs,omitempty"`
	URoot      *URoot            `json:"uroot,omitempty"`
	Buildroot  *Buildroot        `json:"buildroot,omitempty"`
	Output     *Output           `json:"output,omitempty"`
	Lint       *Lint             `json:"lint,omitempty"`

	where map[string]Pos // key path, such as "initramfs.file[2].mode", to its place
}

// Pos is a place in a recipe file.
type Pos struct {
	File string
	Line int
}

func (p Pos) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// Source is something that an image is made from. Exactly one of Module, Path, URL, Deb,
// Git and Image is set.
type Source struct {
	Module string `json:"module,omitempty"` // Go module, path@version
	Path   string `json:"path,omitempty"`   // file or folder, relative to the recipe
	URL    string `json:"url,omitempty"`    // http or https
	SHA256 string `json:"sha256,omitempty"` // of what URL gives, 64 hexadecimal digits

	Deb        string   `json:"deb,omitempty"`        // Debian package, name:architecture
	Depends    []string `json:"depends,omitempty"`    // patterns of names of what it depends on and is taken too
	Archive    string   `json:"archive,omitempty"`    // file with apt's sources, relative to the recipe; "" for the machine's
	Suite      string   `json:"suite,omitempty"`      // of the machine's Debian archive, "" for what it has
	Components []string `json:"components,omitempty"` // likewise

	Git string `json:"git,omitempty"` // address of a repository
	Rev string `json:"rev,omitempty"` // tag, branch or commit in it

	Image string `json:"image,omitempty"` // name of an image in the store
}

// Ref names a file (or, where the key says so, a pattern or a folder): in a source,
// written "source:path", or beside the recipe, written "path".
type Ref struct {
	Source string // "" for a path beside the recipe
	Path   string
}

// ParseRef reads the written form. It does not check that the source is declared.
func ParseRef(s string) Ref {
	if src, p, ok := strings.Cut(s, ":"); ok {
		return Ref{src, p}
	}
	return Ref{Path: s}
}

func (r Ref) String() string {
	if r.Source == "" {
		return r.Path
	}
	return r.Source + ":" + r.Path
}

// At is the written form of name, a path in the tree that r is in.
func (r Ref) At(name string) string {
	if r.Source == "" {
		return path.Join(path.Dir(r.Path), path.Base(name))
	}
	return r.Source + ":" + name
}

// MarshalText is the written form.
func (r Ref) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the written form.
func (r *Ref) UnmarshalText(b []byte) error {
	*r = ParseRef(string(b))
	return nil
}

// Kernel is the [kernel] table.
type Kernel struct {
	File    Ref    `json:"file"`
	Name    string `json:"name"`    // in the image; "kernel8.img" by default
	Cmdline string `json:"cmdline"` // one line, without the line feed

	Licence Ref `json:"licence,omitzero"` // text that goes along; where nothing is said, what the kernel's source calls so
}

// DTB is the [dtb] table: device trees and their overlays.
type DTB struct {
	Files        []Ref    `json:"files"`         // patterns
	Overlays     []string `json:"overlays"`      // names for dtoverlay=, with parameters after a comma
	OverlaysFrom Ref      `json:"overlays_from"` // folder with the .dtbo files and overlay_map.dtb
	Ship         []string `json:"ship"`          // patterns of further .dtbo files to ship, in that folder
}

// Firmware is the [firmware] table.
type Firmware struct {
	From  string   `json:"from"`            // source
	Files []string `json:"files,omitempty"` // patterns; by default what the boards need, and the licence
}

// Section is one filter of config.txt with its lines in order: [config] has the
// Filter "", [config.pi4] the Filter "pi4".
type Section struct {
	Filter string    `json:"filter"`
	Lines  []Setting `json:"lines"`
}

// Setting is one line of config.txt.
type Setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Initramfs is the [initramfs] table.
type Initramfs struct {
	Name        string    `json:"name"`                 // in the image; initramfs.cpio.gz, .zst or none, by Compression
	Base        Ref       `json:"base"`                 // Path "uroot" without a source is the uroot stage
	Mode        string    `json:"mode"`                 // "auto", "append" or "repack"
	Compression string    `json:"compression"`          // "gzip", "zstd" or "none": of what piimg writes itself
	Level       string    `json:"level"`                // "auto", "fast", "default" or "best"
	Recompress  bool      `json:"recompress,omitempty"` // encode all of the base anew
	Normalize   bool      `json:"normalize,omitempty"`  // sort, renumber and clamp all of it
	Overlays    []string  `json:"overlays"`             // folders beside the recipe
	Files       []File    `json:"file,omitempty"`
	Dirs        []Dir     `json:"dir,omitempty"`
	Symlinks    []Symlink `json:"symlink,omitempty"`
	Nodes       []Node    `json:"node,omitempty"`
	Remove      []string  `json:"remove,omitempty"` // globs of paths in the base
	Renames     []Rename  `json:"rename,omitempty"`
	Chmods      []Chmod   `json:"chmod,omitempty"`
	Chowns      []Chown   `json:"chown,omitempty"`
	Modules     *Modules  `json:"modules,omitempty"`
	Limits      Limits    `json:"limits,omitzero"` // of what the base may ask for
}

// Rewrites says whether something is asked for that no archive behind the base can do.
// Chmod and chown may be such things too: that depends on what they match.
func (i *Initramfs) Rewrites() bool {
	return i.Mode == "repack" || i.Recompress || i.Normalize || len(i.Remove)+len(i.Renames) > 0
}

// Modules is the [initramfs.modules] table: kernel modules with all that they need.
type Modules struct {
	From       string   `json:"from"`       // source
	Path       string   `json:"path"`       // folder or pattern in it: of the release, or of several; "lib/modules" by default
	Select     []string `json:"select"`     // names, patterns of names, folders
	Decompress bool     `json:"decompress"` // by default
}

// File is one [[initramfs.file]]. One of Content, From and Template is set.
type File struct {
	Path     string `json:"path"` // in the initramfs, relative
	Mode     uint32 `json:"mode"` // permission bits
	UID      uint32 `json:"uid"`
	GID      uint32 `json:"gid"`
	Content  string `json:"content,omitempty"`
	From     Ref    `json:"from,omitzero"`
	Template string `json:"template,omitempty"` // text/template over [TemplateData]

	Key string `json:"-"` // such as "initramfs.file[2]", for [Recipe.Pos]
}

// TemplateData is what the template of an initramfs file may use.
type TemplateData struct {
	Name   string // of the recipe
	Recipe string // digest of the recipe and its pinned sources: "sha256:…"
	Epoch  int64
}

// Dir is one [[initramfs.dir]].
type Dir struct {
	Path string `json:"path"`
	Mode uint32 `json:"mode"`
	UID  uint32 `json:"uid"`
	GID  uint32 `json:"gid"`

	Key string `json:"-"`
}

// Rename is one [[initramfs.rename]] of a file or folder of the base.
type Rename struct {
	From string `json:"from"`
	To   string `json:"to"`

	Key string `json:"-"`
}

// Chmod is one [[initramfs.chmod]]: of what matches in the base and in the overlays.
type Chmod struct {
	Glob string `json:"path"`
	Mode uint32 `json:"mode"`

	Key string `json:"-"`
}

// Chown is one [[initramfs.chown]]: of what matches in the base and in the overlays.
type Chown struct {
	Glob string `json:"path"`
	UID  uint32 `json:"uid"`
	GID  uint32 `json:"gid"`

	Key string `json:"-"`
}

// Symlink is one [[initramfs.symlink]].
type Symlink struct {
	Path   string `json:"path"`
	Target string `json:"target"`

	Key string `json:"-"`
}

// Node is one [[initramfs.node]]: a device or a FIFO.
type Node struct {
	Path  string `json:"path"`
	Type  string `json:"type"` // "char", "block" or "fifo"
	Major uint32 `json:"major"`
	Minor uint32 `json:"minor"`
	Mode  uint32 `json:"mode"`
	UID   uint32 `json:"uid"`
	GID   uint32 `json:"gid"`

	Key string `json:"-"`
}

// URoot is the [uroot] table: a userland of Go programs in one binary.
type URoot struct {
	From     string   `json:"from"`     // source: the u-root module
	Commands []string `json:"commands"` // packages below cmds/, such as "core/ls"
	Init     string   `json:"init"`     // what /init starts as; "init" by default
	Shell    string   `json:"shell"`    // what /bin/sh and /bin/defaultsh are; "gosh" by default
}

// Pos is where key was set, and the start of the recipe where nobody set it.
func (r *Recipe) Pos(key string) Pos {
	if p, ok := r.where[key]; ok {
		return p
	}
	return Pos{r.File, 1}
}
