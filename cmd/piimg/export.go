package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"piimg/store"
	"piimg/store/layout"
)

// exportTo are the forms of export: one of them is asked for.
type exportTo struct {
	oci, dir, tar, tftproot, sdcard string

	boards []string // with tftproot
	size   string   // with sdcard
	label  string   // with sdcard
}

func newExport(a *app) *cobra.Command {
	var to exportTo
	c := &cobra.Command{
		Use:   "export IMAGE...",
		Short: "Write images as files for others: an OCI layout, a folder, an archive, a TFTP root, a disk",
		Long: `export writes images in one of five forms; what it writes appears as a whole, and the same
images give the same bytes.

--oci: images with all their content, who published them and their signatures, as an OCI
image layout: into a folder, or into a tar archive where the name ends in .tar; "-" is an
archive on standard output. A folder has to be new or empty, and an archive replaces an older one.
piimg import reads it, on another site that no cable leads to, and so do skopeo, crane and
oras; in the layout an image has the name of its recipe.

--dir: the boot files of one image, into a new or an empty folder. --tar: the same as a tar
archive ("-" is standard output).

--tftproot: the boot files of one image for another TFTP server: into a folder of DIR that
has the image's digest in its name, with a symbolic link to it for each --board. A link is
replaced in one step, and a folder that an older link led to stays for boards that boot.

--sdcard: a disk image with one FAT partition that holds the boot files of one image, to be
written to an SD card. Where the name ends in .zst it is compressed. A map of the blocks
that hold something lies beside it, for bmaptool: FILE.bmap without .zst. Size and label are
those that the recipe of the image says under [output], unless flags say others.` + "\n" + exitCodes,
		Example: `  piimg export prod --oci prod.tar
  piimg export prod prod~1 dev --oci /media/usb/images
  piimg export prod --oci - | ssh site-b piimg import -
  skopeo inspect --raw oci:/media/usb/images:pi4-netboot
  piimg export prod --dir boot
  piimg export prod --tftproot /srv/tftp --board 91cdf03d --board dc-a6-32-01-02-03
  piimg export prod --sdcard prod.img.zst && bmaptool copy prod.img.zst /dev/sdX`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := to.check(args); err != nil {
				return err
			}
			if to.oci != "" {
				return a.runExport(cmd.Context(), to.oci, args)
			}
			return a.exportFiles(cmd.Context(), to, args[0])
		},
	}
	f := c.Flags()
	f.StringVar(&to.oci, "oci", "", "folder, or file whose name ends in .tar, to write an OCI image layout into")
	f.StringVar(&to.dir, "dir", "", "folder to write the boot files into")
	f.StringVar(&to.tar, "tar", "", "file to write the boot files into, as an archive")
	f.StringVar(&to.tftproot, "tftproot", "", "root of a TFTP server to write the boot files into")
	f.StringSliceVar(&to.boards, "board", nil, "with --tftproot: serial number or MAC address of a board that is to get them")
	f.StringVar(&to.sdcard, "sdcard", "", "file to write a disk image into")
	f.StringVar(&to.size, "size", "", "with --sdcard: size of the disk, such as 512M or 4G (default: what the recipe says, or the files need)")
	f.StringVar(&to.label, "label", "", "with --sdcard: label of the file system (default: what the recipe says, or PIIMG)")
	return c
}

// check says whether one form is asked for, with what belongs to it.
func (to exportTo) check(refs []string) error {
	forms := 0
	for _, f := range []string{to.oci, to.dir, to.tar, to.tftproot, to.sdcard} {
		if f != "" {
			forms++
		}
	}
	var err error
	switch {
	case forms != 1:
		err = fmt.Errorf("%d forms are asked for, and one is wanted", forms)
	case to.oci == "" && len(refs) > 1:
		err = errors.New("several images go into an OCI image layout only")
	case to.tftproot == "" && len(to.boards) > 0:
		err = errors.New("--board goes with --tftproot")
	case to.sdcard == "" && to.size != "":
		err = errors.New("--size goes with --sdcard")
	case to.sdcard == "" && to.label != "":
		err = errors.New("--label goes with --sdcard")
	}
	if err != nil {
		return hint(usageError{err}, "piimg export IMAGE with one of --oci, --dir, --tar, --tftproot and --sdcard")
	}
	return nil
}

func (a *app) runExport(ctx context.Context, to string, refs []string) error {
	s, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	var images []store.Digest
	for _, ref := range refs {
		found, err := resolve(ctx, s, ref)
		if err != nil {
			return err
		}
		images = append(images, found.Image)
	}
	m := &meter{ui: a.ui, now: a.now, what: "export"}
	o := layout.Options{Planned: m.planned, Moved: m.moved}
	switch {
	case to == "-":
		if f, ok := a.out.w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return hint(usageError{errors.New("an archive is not for a terminal")}, "piimg export %s --oci FILE.tar", refs[0])
		}
		err = layout.Write(ctx, s, a.out, images, o)
	case strings.HasSuffix(to, ".tar"):
		err = layout.WriteFile(ctx, s, to, images, o)
	default:
		err = layout.WriteDir(ctx, s, to, images, o)
	}
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	a.ui.say("exported %d blobs, %s", m.blobs, size(m.total))
	if to != "-" {
		for _, d := range images {
			fmt.Fprintln(a.out, d)
		}
	}
	return nil
}
