package lint

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"piimg/pipeline/format/bootsig"
	"piimg/pipeline/format/fat"
)

const (
	ramdiskName = "boot.img"
	ramdiskSig  = "boot.sig"

	mib = 1 << 20
	// maxRamdisk is the size in bytes above which no board was seen to load one.
	maxRamdisk = 160 * mib
	// maxSigned is the size above which a Pi 5 did not load a signed one (rpi-eeprom#619).
	maxSigned = 30 * mib
)

// ramdiskLimits are how large a ramdisk may be for a Pi 4, by the date of the bootloader
// (its release notes; raspberrypi/rpi-eeprom#375).
var ramdiskLimits = []struct {
	since string
	bytes int64
}{{"2022-02-28", 128 * mib}, {"2021-10-27", 96 * mib}, {"", 64 * mib}}

// content is the ramdisk, read once: nil where there is none, or it is too large to load.
func (img *image) content() []byte {
	if img.ramdisk != nil {
		return img.ramdisk
	}
	if n, ok := img.size(ramdiskName); !ok || n > 2*maxRamdisk {
		return nil
	}
	f, err := img.files.Open(ramdiskName)
	if err != nil {
		_ = img.keep(err)
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if img.keep(err) != nil {
		return nil
	}
	img.ramdisk = b
	return b
}

// ramdisk looks at boot.img and boot.sig as such.
func ramdisk(r *report, v *view) {
	n, ok := v.size(ramdiskName)
	if !ok && v.bootKey() != nil {
		r.error(ramdiskName, 0, "make one with [output] boot_img and boot_key", "missing: boards with a key start nothing else")
	}
	if !ok || !v.outer() && v.bootKey() == nil {
		return
	}
	ramdiskSize(r, v, n)
	b := v.content()
	if b == nil {
		return
	}
	fsys, err := fat.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		r.error(ramdiskName, 0, "write it with [output] boot_img, or mkfs.fat and mtools", "the bootloader cannot read it: %v", err)
	} else if fsys.LastCluster() && (v.target.Bootloader == "" || v.before("2024-01-22")) {
		r.warn(ramdiskName, 0, "leave some room at its end", "a file lies in the last cluster, which bootloaders before 2024-01-22 do not read")
	}
	signature(r, v, b)
}

func ramdiskSize(r *report, v *view, n int64) {
	if v.board.Platform == "bcm2712" {
		if n > maxRamdisk {
			r.warn(ramdiskName, 0, "make it smaller", "%d bytes; %d is the largest that a Pi 5 was seen to load", n, int64(maxRamdisk))
		}
		return
	}
	for _, l := range ramdiskLimits {
		if v.target.Bootloader < l.since {
			continue
		}
		switch {
		case n > ramdiskLimits[0].bytes || n > l.bytes && l.since != "" || n > l.bytes && v.target.Bootloader != "":
			r.error(ramdiskName, 0, "make it smaller, or update the bootloader", "%d bytes; bootloaders of this fleet load %d", n, l.bytes)
		case n > l.bytes:
			r.warn(ramdiskName, 0, "declare the oldest bootloader in the fleet, if it is 2022-02-28 or younger, or make it smaller", "%d bytes; the oldest bootloaders load %d", n, l.bytes)
		}
		return
	}
}

// signature compares boot.sig with the ramdisk, and with the key of the boards where the
// target says which it is.
func signature(r *report, v *view, content []byte) {
	key := v.bootKey()
	text, err := v.read(ramdiskSig)
	if err != nil {
		if key != nil {
			r.error(ramdiskSig, 0, "sign it with [output] boot_key", "missing: boards with a key start nothing without a signature")
		}
		return
	}
	sig, err := bootsig.Parse(string(text))
	switch {
	case err != nil:
		r.error(ramdiskSig, 0, "write it anew", "%v", err)
	case sig.SHA256 != sha256.Sum256(content):
		r.error(ramdiskSig, 1, "write it anew", "is of another boot.img")
	case key != nil && signedBy(sig, key) != nil:
		r.error(ramdiskSig, 0, "sign it with the key of the boards", "boards with this key do not start it: %v", signedBy(sig, key))
	case sig.RSA != nil && v.board.Platform == "bcm2712" && len(content) > maxSigned:
		r.warn(ramdiskName, 0, "make it smaller, or try it", "%d bytes; signed ones above %d did not boot on a Pi 5", len(content), maxSigned)
	}
}

// bootKey is the key of the board, in PEM: nil where nobody says, and where a board looks for
// no signature.
func (v *view) bootKey() []byte {
	if v.target.InRamdisk || v.board.Platform == "bcm2835" {
		return nil
	}
	return v.target.BootKey
}

// signedBy says what is wrong with the signature for boards that have a key.
func signedBy(sig bootsig.Signature, pem []byte) error {
	key, err := bootsig.PublicKey(pem)
	if err != nil {
		return fmt.Errorf("the key: %w", err)
	}
	switch err := sig.Verify(key); {
	case err == nil:
		return nil
	case sig.RSA == nil:
		return err
	}
	return errors.New("another key signed it")
}

// inside checks what is in the ramdisk, for the boards that boot from it.
func inside(ctx context.Context, img *image, views []*view) ([]Finding, error) {
	target := img.target
	target.Boards, target.InRamdisk = nil, true
	for _, v := range views {
		if v.outer() {
			target.Boards = append(target.Boards, v.board)
		}
	}
	if len(target.Boards) == 0 || img.target.InRamdisk {
		return nil, nil
	}
	b := img.content()
	fsys, err := fat.Open(bytes.NewReader(b), int64(len(b)))
	if b == nil || err != nil {
		return nil, nil // P03 and P24 have said so
	}
	found, err := Check(ctx, fsys, target)
	for n := range found {
		found[n].File = ramdiskName + ":" + found[n].File
	}
	if err != nil {
		return nil, fmt.Errorf("inside %s: %w", ramdiskName, err)
	}
	return found, nil
}
