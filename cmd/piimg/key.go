package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"piimg/store/sign"
)

func newKey(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "key",
		Short: "Make a key to sign with, or show one",
		Long: `A key is an Ed25519 key of OpenSSH: what ssh-keygen -t ed25519 makes is as good as what
piimg key makes. Where it is named, a .pub file stands for a key that your ssh-agent has,
so that its private half may be in a token or on another machine.`,
		Example: `  piimg key new ~/.ssh/piimg
  piimg key show`,
	}
	c.AddCommand(newKeyNew(a), newKeyShow(a))
	return c
}

func newKeyNew(a *app) *cobra.Command {
	var open bool
	var comment string
	c := &cobra.Command{
		Use:   "new FILE",
		Short: "Make a key, and print its public half",
		Long: `new writes a private key to FILE, encrypted with a passphrase that it asks for (or takes
from PIIMG_KEY_PASSPHRASE), and its public half to FILE.pub. What it prints is for piimg
trust add.` + "\n" + exitCodes,
		Example: `  piimg key new ~/.ssh/piimg
  piimg key new --no-passphrase --comment ci@build1 /etc/piimg/ci.key`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var pass []byte
			var err error
			if !open {
				if pass, err = a.newPassphrase(); err != nil {
					return err
				}
			}
			key, err := sign.Create(args[0], cmp.Or(comment, a.actor()), pass)
			if err != nil {
				return fmt.Errorf("make a key: %w", err)
			}
			a.ui.say("%s in %s; keep it to yourself, %s.pub is for others", key.ID(), args[0], args[0])
			_, err = fmt.Fprintln(a.out, key)
			return err
		},
	}
	c.Flags().BoolVar(&open, "no-passphrase", false, "leave the key unencrypted: whoever reads the file can sign")
	c.Flags().StringVar(&comment, "comment", "", "whose it is, in the file (default: your name)")
	return c
}

// newPassphrase asks twice, at a terminal.
func (a *app) newPassphrase() ([]byte, error) {
	first, err := a.passphrase("passphrase for the new key")
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	again := first
	if a.getenv(passphraseVariable) == "" {
		if again, err = a.passphrase("once more"); err != nil {
			return nil, err
		}
	}
	switch {
	case !bytes.Equal(first, again):
		return nil, errors.New("make a key: the two passphrases differ")
	case len(first) == 0:
		return nil, hint(errors.New("make a key: the passphrase is empty"), "--no-passphrase leaves the key unencrypted")
	}
	return first, nil
}

func newKeyShow(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "show [FILE]",
		Short: "Print the public half of a key",
		Long: `show prints the public half of a key, of the one that you sign with where FILE is not
given, and its fingerprint on stderr. It needs no passphrase.` + "\n" + exitCodes,
		Example: `  piimg key show
  piimg key show ~/.ssh/id_ed25519`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := a.keyFile()
			if len(args) == 1 {
				file, err = args[0], nil
			}
			if err != nil {
				return err
			}
			if file == "" {
				return hint(errors.New("there is no key to sign with"), "piimg key new FILE makes one")
			}
			key, _, err := sign.Public(file)
			if err != nil {
				return fmt.Errorf("show the key: %w", err)
			}
			a.ui.say("%s", key.ID())
			_, err = fmt.Fprintln(a.out, key)
			return err
		},
	}
	a.keyFlag(c)
	return c
}
