package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"piimg/store/sign"
)

// shownTrust is the trust file for --json.
type shownTrust struct {
	File    string      `json:"file"`
	Trust   *sign.Trust `json:"trust"`             // that counts; null if none does yet
	Pending *sign.Trust `json:"pending,omitempty"` // that waits for signatures
	Missing string      `json:"missing,omitempty"`
}

func newTrustShow(a *app) *cobra.Command {
	var asJSON, allowed bool
	c := &cobra.Command{
		Use:   "show",
		Short: "Show whose signatures count, and what waits for signatures",
		Long: `show prints the newest version of the trust file that counts, and one that waits for
signatures below it. With --allowed-signers it prints the keys as ssh-keygen -Y verify wants
them; those that are revoked are left out.` + "\n" + exitCodes,
		Example: `  piimg trust show
  piimg trust show --allowed-signers > allowed_signers`,
		Args: cobra.NoArgs,
		RunE: func(_ *cobra.Command, _ []string) error {
			chain, file, err := a.openChain()
			if err != nil {
				return err
			}
			s := shownTrust{File: file, Pending: chain.Pending()}
			s.Trust, err = chain.Trust()
			if missing := chain.Missing(); missing != nil {
				s.Missing = missing.Error()
			}
			switch {
			case asJSON:
				return a.printJSON(s)
			case allowed && err != nil:
				return fmt.Errorf("trust file %s: %w", file, err)
			case allowed:
				return a.printAllowed(s.Trust)
			}
			return a.printTrust(s)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	c.Flags().BoolVar(&allowed, "allowed-signers", false, "print the keys for ssh-keygen -Y verify")
	return c
}

func (a *app) printTrust(s shownTrust) error {
	if s.Trust != nil {
		if err := a.printKeys(s.Trust); err != nil {
			return err
		}
	}
	if s.Pending == nil {
		return nil
	}
	fmt.Fprintf(a.out, "\nwaits for signatures: %s\n", s.Missing)
	return a.printKeys(s.Pending)
}

func (a *app) printKeys(t *sign.Trust) error {
	fmt.Fprintf(a.out, "version %d of %s, to be changed by %d root keys\n\n", t.Seq, when(t.Time), t.Threshold)
	return table(a.out, "NAME\tROLES\tVALID\tKEY", func(line func(string, ...any)) {
		for _, k := range t.Keys {
			line("%s\t%s\t%s\t%s", k.Name, strings.Join(k.Roles, " "), validity(k, a.now()), k.Public.ID())
		}
	})
}

// validity says when a key is valid.
func validity(k sign.Key, now time.Time) string {
	day := func(t time.Time) string { return t.UTC().Format(time.DateOnly) }
	switch {
	case !k.Revoked.IsZero() && k.Reason != "":
		return "revoked " + day(k.Revoked) + ": " + k.Reason
	case !k.Revoked.IsZero():
		return "revoked " + day(k.Revoked)
	case !k.Until.IsZero() && !now.Before(k.Until):
		return "until " + day(k.Until) + " (expired)"
	case now.Before(k.From):
		return "from " + day(k.From)
	case !k.Until.IsZero():
		return "until " + day(k.Until)
	}
	return "always"
}

// printAllowed prints lines of an allowed_signers file: names, namespaces, times, key.
func (a *app) printAllowed(t *sign.Trust) error {
	for _, k := range t.Keys {
		if !k.Revoked.IsZero() {
			continue
		}
		options := fmt.Sprintf("namespaces=%q", strings.Join([]string{sign.ImageNamespace, sign.EnvNamespace, sign.TrustNamespace}, ","))
		if !k.From.IsZero() {
			options += k.From.UTC().Format(`,valid-after="20060102150405Z"`)
		}
		if !k.Until.IsZero() {
			options += k.Until.UTC().Format(`,valid-before="20060102150405Z"`)
		}
		if _, err := fmt.Fprintf(a.out, "%s %s %s\n", k.Name, options, k.Public); err != nil {
			return err
		}
	}
	return nil
}

// soon is how long before a key expires people are told.
const soon = 30 * 24 * time.Hour

func newTrustCheck(a *app) *cobra.Command {
	var old string
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the trust file: every version of it, and what expires",
		Long: `check reads every version of the trust file and checks that each is signed by enough root
keys of the one before. With --after it also checks that the file goes on from another one,
such as the one that a machine has now: nobody has gone back, or written another history.
Keys that have expired or will within 30 days, and a version that waits for signatures, are
findings.` + "\n" + exitCodes,
		Example: `  piimg trust check
  piimg trust check --trust new/trust --after /etc/piimg/trust`,
		Args: cobra.NoArgs,
		RunE: func(_ *cobra.Command, _ []string) error {
			chain, file, err := a.openChain()
			if err != nil {
				return err
			}
			if old != "" {
				before, err := readChain(old)
				if err != nil {
					return fmt.Errorf("trust file %s: %w", old, err)
				}
				if err := chain.Extends(before); err != nil {
					return hint(fmt.Errorf("trust file %s does not go on from %s: %w", file, old, err), "do not use it before you know where it comes from")
				}
			}
			return a.printChecked(chain, file)
		},
	}
	c.Flags().StringVar(&old, "after", "", "trust file that this one has to go on from")
	return c
}

func (a *app) printChecked(chain *sign.Chain, file string) error {
	var found []string
	t, err := chain.Trust()
	if err != nil {
		return errors.Join(fmt.Errorf("trust file %s: %w", file, err), errFindings)
	}
	if missing := chain.Missing(); missing != nil {
		found = append(found, fmt.Sprintf("version %d does not count: %v", chain.Pending().Seq, missing))
	}
	for _, k := range t.Keys {
		if k.Revoked.IsZero() && !k.Until.IsZero() && k.Until.Before(a.now().Add(soon)) {
			found = append(found, fmt.Sprintf("the key of %s is valid %s only", k.Name, validity(k, a.now())))
		}
	}
	fmt.Fprintf(a.out, "version %d, sha256 %s: %d keys, every version is signed\n", t.Seq, t.Digest.Hex(), len(t.Keys))
	for _, f := range found {
		fmt.Fprintln(a.out, printable(f))
	}
	if len(found) > 0 {
		return errFindings
	}
	return nil
}
