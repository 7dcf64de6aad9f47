package recipes

// Output is the [output] table: what the boot files are made into.
type Output struct {
	BootImg bool   `json:"boot_img,omitempty"` // one ramdisk that a bootloader loads them from
	BootKey string `json:"boot_key,omitempty"` // public key beside the recipe, whose owner signs the ramdisk
	EFI     Ref    `json:"efi,omitzero"`       // a program for UEFI firmware
}

func (r *reader) output(t *table) *Output {
	if t.n == nil {
		return nil
	}
	o := &Output{BootImg: r.boolean(t.get("boot_img"))}
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
	t.done()
	return o
}
