package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"piimg/store"
	"piimg/store/layout"
)

func newImport(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "import FOLDER|FILE.tar|-",
		Short: "Copy the images of an OCI image layout into the store",
		Long: `import copies all images of an OCI image layout into the store, as piimg export, skopeo,
crane or oras have written it: a folder, a tar archive, or an archive on standard input.
Every byte is verified before the first is stored. Images come with the record of who
published them, where the layout has it, and with their signatures, and their digests are
what they were.` + "\n" + exitCodes,
		Example: `  piimg import prod.tar
  piimg import /media/usb/images
  ssh site-a piimg export prod --oci - | piimg import -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runImport(cmd.Context(), args[0])
		},
	}
}

const damagedExport = "nothing was stored: export it again, or carry it here again"

func (a *app) runImport(ctx context.Context, from string) error {
	if from == "-" {
		spooled, err := a.spool()
		if err != nil {
			return err
		}
		defer os.Remove(spooled)
		from = spooled
	}
	l, err := layout.Open(ctx, from)
	if errors.Is(err, store.ErrCorrupt) {
		return hint(fmt.Errorf("import: %w", err), damagedExport)
	}
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	defer l.Close()
	if err := l.Verify(ctx); err != nil {
		return hint(fmt.Errorf("import %s: %w", from, err), damagedExport)
	}
	s, err := a.makeStore(ctx)
	if err != nil {
		return err
	}
	if l.Foreign > 0 {
		a.ui.say("left out %d entries that are no images of piimg", l.Foreign)
	}
	for _, d := range l.Images {
		if err := a.copyImage(ctx, l.Store(), s, d); err != nil {
			return err
		}
		fmt.Fprintln(a.out, d)
	}
	return nil
}

// spool keeps standard input in a file: it is read twice.
func (a *app) spool() (string, error) {
	f, err := os.CreateTemp("", "piimg-import-*.tar")
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := io.Copy(f, a.in); err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("read standard input: %w", err)
	}
	return f.Name(), nil
}
