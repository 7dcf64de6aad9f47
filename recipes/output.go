package recipes

import (
	"strings"

	"piimg/pipeline/format/sdcard"
)

// Output is the [output] table: what the boot files are made into.
type Output struct {
	BootImg bool   `json:"boot_img,omitempty"` // one ramdisk that a bootloader loads them from
	BootKey string `json:"boot_key,omitempty"` // public key beside the recipe, whose owner signs the ramdisk
	EFI     Ref    `json:"efi,omitzero"`       // a program for UEFI firmware

	SDCardImg   bool   `json:"sdcard_img,omitempty"`   // the files are meant for a card, which is made when somebody asks for it
	SDCardSize  int64  `json:"sdcard_size,omitempty"`  // of the card in bytes, 0 for what the files need
	SDCardLabel string `json:"sdcard_label,omitempty"` // of its file system, "" for the usual one
}

func (r *reader) output(t *table) *Output {
	if t.n == nil {
		return nil
	}
	o := &Output{BootImg: r.boolean(t.get("boot_img")), SDCardImg: r.boolean(t.get("sdcard_img"))}
	if n := t.get("boot_key"); n != nil {
		if s, ok := r.filled(n); ok {
			o.BootKey = r.beside(n, s, aFile)
		}
		if !o.BootImg {
			r.fail(n, "add boot_img = true", "there is no boot.img to sign")
		}
	}
	if n := t.get("efi"); n != nil {
		o.EFI = r.ref(n, refFile)
	}
	r.card(o, t.get("sdcard_size"), t.get("sdcard_label"))
	t.done()
	return o
}

// card reads what is said of the card; the nodes may be nil.
func (r *reader) card(o *Output, size, label *node) {
	for _, n := range []*node{size, label} { // without a card they would do nothing
		if n != nil && !o.SDCardImg {
			r.fail(n, "add sdcard_img = true", "there is no card that it could be of")
		}
	}
	if s, ok := r.str(size); ok {
		var err error
		if o.SDCardSize, err = sdcard.ParseSize(s); err != nil {
			r.fail(size, "in powers of 1024: a card that is sold as 16 GB holds 14G", "%v", err)
		}
	}
	if s, ok := r.filled(label); ok {
		o.SDCardLabel = s
		if err := sdcard.CheckLabel(s); err != nil || strings.TrimSpace(s) != s {
			r.fail(label, "1 to 11 of A-Z 0-9 _ -", "%q is no label of a FAT file system", s)
		}
	}
}
