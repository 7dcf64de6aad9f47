// Package bootimg is the stage that puts the boot files into one ramdisk, boot.img, with
// its checksum or signature, boot.sig. A bootloader loads the ramdisk, and everything else
// from it.
package bootimg

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"piimg/pipeline"
	"piimg/pipeline/format/bootsig"
	"piimg/pipeline/format/fat"
	"piimg/store"
)

// Stage is the bootimg stage.
type Stage struct{}

type params struct {
	Outside []string `json:"outside"` // files that stay beside the ramdisk as well
	Key     string   `json:"key"`     // public key, "" where the ramdisk is not signed
}

func (Stage) Name() string { return "bootimg" }
func (Stage) Version() int { return 2 }

// Plan asks for a ramdisk where the recipe does.
func (Stage) Plan(w pipeline.Wish) (*pipeline.Step, error) {
	o := w.Recipe.Output
	if o == nil || !o.BootImg {
		return nil, nil
	}
	p := params{Outside: []string{}, Key: o.BootKey}
	for _, b := range w.Boards {
		// A Pi 4 that does not find its start file leaves the folder of its serial number.
		for _, name := range slices.Concat(b.ROMFiles, b.Starts, b.Fixups) {
			if !slices.Contains(p.Outside, name) {
				p.Outside = append(p.Outside, name)
			}
		}
	}
	s := &pipeline.Step{Params: p, Needs: []string{"bootfs"}}
	if p.Key != "" {
		s.Locals = []string{p.Key}
	}
	return s, nil
}

// licences are shipped with the firmware, wherever that is.
var licences = []string{"LICENSE.broadcom", "LICENCE.broadcom", "copyright"}

// outer is the config.txt beside the ramdisk.
const outer = "# Written by piimg: all that counts is in boot.img.\nboot_ramdisk=1\n"

// Run writes the ramdisk and what belongs beside it.
func (Stage) Run(ctx context.Context, job *pipeline.Job) error {
	var p params
	if err := job.Params(&p); err != nil {
		return err
	}
	files := job.Need("bootfs")
	for _, f := range files {
		if slices.Contains(p.Outside, f.Path) || slices.Contains(licences, f.Path) {
			job.Keep(f)
		}
	}
	image, sum, err := ramdisk(ctx, job, files)
	if err != nil {
		return fmt.Errorf("boot.img: %w", err)
	}
	sig := bootsig.Signature{SHA256: sum, Time: job.Epoch()}
	if p.Key != "" {
		if sig.RSA, err = sign(ctx, job, p.Key, image, sig); err != nil {
			return job.At("output.boot_key", err)
		}
	}
	job.From("boot.img", "output.boot_img", "")
	job.From("boot.sig", "output.boot_img", p.Key)
	job.From("config.txt", "output.boot_img", "")
	if err := job.Write(ctx, "boot.sig", text(sig.Text())); err != nil {
		return err
	}
	if err := job.Copy(ctx, os.DirFS(filepath.Dir(image)), filepath.Base(image), "boot.img"); err != nil {
		return err
	}
	return job.Write(ctx, "config.txt", text(outer))
}

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

// slack is left free at the end of a ramdisk: bootloaders before January 2024 could not
// read its last cluster (github.com/raspberrypi/rpi-eeprom#521).
const slack = 64 << 10

// ramdisk writes the image to a file of the job's own.
func ramdisk(ctx context.Context, job *pipeline.Job, files []store.File) (name string, sum [32]byte, err error) {
	var content []fat.File
	for _, f := range files {
		content = append(content, fat.File{Path: f.Path, Size: f.Size, Open: func() (io.ReadCloser, error) { return job.Open(ctx, f) }})
	}
	i, err := fat.New(content, fat.Options{Slack: slack, Epoch: job.Epoch()})
	if err != nil {
		return "", sum, err
	}
	dir, err := job.Dir()
	if err != nil {
		return "", sum, err
	}
	out, err := os.Create(filepath.Join(dir, "boot.img"))
	if err != nil {
		return "", sum, err
	}
	h := sha256.New()
	_, err = i.WriteTo(io.MultiWriter(out, h))
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chmod(out.Name(), 0o644)
	}
	job.Log("boot.img: FAT%d, %d bytes", i.Kind, i.Size)
	return out.Name(), [32]byte(h.Sum(nil)), err
}

// sign has the ramdisk signed, and looks whether the owner of the key did it.
func sign(ctx context.Context, job *pipeline.Job, key, image string, sig bootsig.Signature) ([]byte, error) {
	fsys, err := job.Local(key)
	if err != nil {
		return nil, err
	}
	name := filepath.Base(filepath.FromSlash(key))
	pem, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, err
	}
	public, err := bootsig.PublicKey(pem)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if sig.RSA, err = job.Sign(ctx, image); err != nil {
		return nil, err
	}
	if sig.Verify(public) != nil {
		return nil, fmt.Errorf("what came back is no signature of %s: another key signs", key)
	}
	return sig.RSA, nil
}
