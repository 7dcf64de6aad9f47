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

func newExport(a *app) *cobra.Command {
	var to string
	c := &cobra.Command{
		Use:   "export IMAGE...",
		Short: "Write images into an OCI image layout, a folder or one file",
		Long: `export writes images with all their content, who published them and their signatures into
an OCI image layout: into a folder, or into a tar archive where the name ends in .tar; "-" is
an archive on standard output. It appears as a whole, and an archive replaces an older one.
The same images give the same bytes.

piimg import reads it, on another site that no cable leads to, and so do skopeo, crane and
oras; in the layout an image has the name of its recipe.` + "\n" + exitCodes,
		Example: `  piimg export prod --oci prod.tar
  piimg export prod prod~1 dev --oci /media/usb/images
  piimg export prod --oci - | ssh site-b piimg import -
  skopeo inspect --raw oci:/media/usb/images:pi4-netboot`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runExport(cmd.Context(), to, args)
		},
	}
	c.Flags().StringVar(&to, "oci", "", "folder, or file whose name ends in .tar, to write")
	_ = c.MarkFlagRequired("oci")
	return c
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
