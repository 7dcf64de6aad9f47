package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"piimg/store/fsck"
)

func newVerify(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify IMAGE",
		Short: "Read every byte of an image, and say of each file whether it is right",
		Long: `verify reads the manifest, the config and every file of an image to its end and compares
size and digest with what the manifest says. A file of several parts is hashed as a whole
too. Where a trust file is configured, it says who has signed the image, and checks that the
environments which run it have the signatures that they ask for. Nothing is written. Exit
code 3 stands for damage or a signature that is missing, 1 for an image that could not be
read.` + "\n" + exitCodes,
		Example: `  piimg verify prod
  piimg verify sha256:4f1c9a02 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := runVerify(cmd.Context(), a, args[0])
			if err != nil {
				return err
			}
			return a.printVerdicts(all, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the verdicts as JSON")
	return c
}

func runVerify(ctx context.Context, a *app, ref string) ([]fsck.Verdict, error) {
	s, err := a.openStore(ctx)
	if err != nil {
		return nil, err
	}
	found, err := resolve(ctx, s, ref)
	if err != nil {
		return nil, err
	}
	o := fsck.Options{Progress: a.checkProgress()}
	v, err := a.signatures(s)
	if err != nil {
		return nil, err
	}
	if v != nil {
		o.Signatures = v
		if err := v.sayWhoSigned(ctx, a.ui, found.Image); err != nil {
			return nil, err
		}
	}
	return fsck.Image(ctx, s, found.Image, o)
}

func (a *app) printVerdicts(all []fsck.Verdict, asJSON bool) error {
	var err error
	if asJSON {
		err = a.printJSON(all)
	} else {
		err = table(a.out, "VERDICT\tSIZE\tDIGEST\tFILE\tWHAT IS WRONG", func(line func(string, ...any)) {
			for _, v := range all {
				if v.OK {
					line("ok\t%s\t%s\t%s\t", size(v.Size), v.Digest.Short(), v.Path)
				} else {
					line("damaged\t%s\t%s\t%s\t%s", size(v.Size), v.Digest.Short(), v.Path, v.Text)
				}
			}
		})
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(v fsck.Verdict) bool { return !v.OK }) {
		return hint(fmt.Errorf("the image is damaged, see the %w above", errFindings),
			"piimg fsck says whom it hits, and piimg fsck --read-data --repair puts it right")
	}
	return nil
}
