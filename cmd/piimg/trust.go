package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"piimg/store/sign"
)

func newTrust(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "trust",
		Short: "Say whose signatures count",
		Long: `The trust file says which keys count, for what and for how long. It is kept outside the
store, named by trust in [sign] of the configuration file, and brought to every machine that
promotes or serves, as the rest of its configuration is. Each version of it is signed by
root keys of the one before; the file holds all of them, so that it can be checked.

Roles: root signs the next version; builder and publisher sign images; promoter:ENV signs
steps of that environment, promoter:* of all.`,
		Example: `  piimg trust init alice=alice.pub bob=bob.pub --threshold 2
  piimg trust add ci ci.pub --role builder --role promoter:dev --until 2027-06-30
  piimg trust sign
  piimg trust show`,
	}
	c.PersistentFlags().StringVar(&a.trust, "trust", "", "trust file (default: trust in [sign] of the configuration file)")
	c.AddCommand(newTrustInit(a), newTrustAdd(a), newTrustRevoke(a), newTrustSign(a), newTrustShow(a), newTrustCheck(a))
	return c
}

// trustFile is the path of the trust file.
func (a *app) trustFile() (string, error) {
	if a.trust != "" {
		return a.trust, nil
	}
	c, file, err := a.config()
	if err == nil && c.Sign.Trust == "" {
		return "", hint(fmt.Errorf("signatures are off: %s names no trust file", file), "say which one with --trust, or trust in its table [sign]")
	}
	return a.beside(file, c.Sign.Trust), err
}

// openChain reads the trust file.
func (a *app) openChain() (*sign.Chain, string, error) {
	file, err := a.trustFile()
	if err != nil {
		return nil, "", err
	}
	chain, err := readChain(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, file, hint(err, "piimg trust init makes one")
	}
	if err != nil {
		return nil, file, fmt.Errorf("trust file %s: %w", file, err)
	}
	return chain, file, nil
}

func newTrustInit(a *app) *cobra.Command {
	var threshold int
	c := &cobra.Command{
		Use:   "init NAME=KEY.pub…",
		Short: "Make a trust file with the keys that may change it",
		Long: `init makes a trust file with its root keys, and signs it with yours, which has to be one of
them. Where the threshold is higher, the others sign it with piimg trust sign; until then it
does not count.` + "\n" + exitCodes,
		Example: "  piimg trust init alice=alice.pub bob=bob.pub carol=carol.pub --threshold 2",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := a.trustFile()
			if err != nil {
				return err
			}
			if _, err := os.Lstat(file); err == nil {
				return hint(fmt.Errorf("%s is there already", file), "piimg trust add and revoke change it")
			}
			t := sign.Trust{Threshold: threshold}
			for _, arg := range args {
				name, key, ok := strings.Cut(arg, "=")
				if !ok {
					return usageError{fmt.Errorf("%q is not NAME=KEY.pub", arg)}
				}
				k, err := readKey(name, key)
				if err != nil {
					return err
				}
				k.Roles = []string{sign.Root}
				t.Keys = append(t.Keys, k)
			}
			return a.propose(cmd.Context(), sign.NewChain(), file, t)
		},
	}
	c.Flags().IntVar(&threshold, "threshold", 1, "how many root keys have to sign a new version")
	a.keyFlag(c)
	return c
}

// readKey is a key without roles. key is a .pub file, or what is in one.
func readKey(name, key string) (sign.Key, error) {
	public, _, err := sign.ParsePublic(key)
	if err != nil {
		if public, _, err = sign.Public(key); err != nil {
			return sign.Key{}, fmt.Errorf("key of %s: %w", name, err)
		}
	}
	return sign.Key{Public: public, Name: name}, nil
}

// propose makes t the next version, signs it and writes the file.
func (a *app) propose(ctx context.Context, chain *sign.Chain, file string, t sign.Trust) error {
	if waits := chain.Pending(); waits != nil {
		a.ui.warn("version %d had not enough signatures: it is replaced, and all have to sign anew", waits.Seq)
	}
	if err := chain.Propose(t, a.now()); err != nil {
		return fmt.Errorf("trust file %s: %w", file, err)
	}
	return a.signChain(ctx, chain, file)
}

// signChain signs the version that waits for signatures, and writes the file.
func (a *app) signChain(ctx context.Context, chain *sign.Chain, file string) error {
	payload, err := chain.Payload()
	if err != nil {
		return err
	}
	version := chain.Pending().Seq
	key, err := a.mustSign(ctx)
	if err != nil {
		return err
	}
	sig, err := key.Sign(ctx, sign.TrustNamespace, payload)
	if err == nil {
		err = chain.Sign(sig)
	}
	if err != nil {
		return hint(fmt.Errorf("sign version %d of trust file %s: %w", version, file, err), "a root key of the version before has to sign it: piimg trust show")
	}
	doc, err := chain.Bytes()
	if err != nil {
		return err
	}
	write := func(w io.Writer) error { _, err := w.Write(doc); return err }
	if err := replaceFile(file, write); err != nil {
		return fmt.Errorf("write trust file %s: %w", file, err)
	}
	if missing := chain.Missing(); missing != nil {
		a.ui.say("version %d does not count yet: %v; others sign it with piimg trust sign", version, missing)
	} else {
		a.ui.say("version %d counts: bring %s to every machine that promotes or serves", version, file)
	}
	_, err = fmt.Fprintf(a.out, "%s version %d\n", file, version)
	return err
}

// newest is the newest version, with or without enough signatures, to be changed.
func newest(chain *sign.Chain) sign.Trust {
	all := chain.Versions()
	return all[len(all)-1]
}

func newTrustAdd(a *app) *cobra.Command {
	var roles []string
	var from, until string
	var threshold int
	c := &cobra.Command{
		Use:   "add NAME KEY.pub",
		Short: "Trust a key, or change what it is trusted for",
		Long: `add makes a new version of the trust file that trusts a key, and signs it with yours. A
name that is there already gets the roles and times that are given here, and the key.` + "\n" + exitCodes,
		Example: `  piimg trust add ci ci.pub --role builder --role promoter:dev
  piimg trust add alice alice.pub --role root --role 'promoter:*' --until 2027-12-31`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			chain, file, err := a.openChain()
			if err != nil {
				return err
			}
			k, err := readKey(args[0], args[1])
			if err != nil {
				return err
			}
			k.Roles = roles
			if k.From, err = date(from); err != nil {
				return usageError{fmt.Errorf("--from: %w", err)}
			}
			if k.Until, err = date(until); err != nil {
				return usageError{fmt.Errorf("--until: %w", err)}
			}
			t := newest(chain)
			t.Keys = append(slices.DeleteFunc(t.Keys, func(old sign.Key) bool { return old.Name == k.Name }), k)
			if threshold > 0 {
				t.Threshold = threshold
			}
			return a.propose(cmd.Context(), chain, file, t)
		},
	}
	c.Flags().StringArrayVar(&roles, "role", nil, "what the key may sign; may be given several times")
	c.Flags().StringVar(&from, "from", "", "first day on which it is valid, such as 2026-12-31, or a time (RFC 3339)")
	c.Flags().StringVar(&until, "until", "", "day from which on it is valid no more, or a time")
	c.Flags().IntVar(&threshold, "threshold", 0, "how many root keys have to sign a new version from now on")
	a.keyFlag(c)
	return c
}

// date reads a day or a time, and nothing as none.
func date(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("%q is neither a day such as 2026-12-31 nor a time such as 2026-12-31T12:00:00Z", text)
	}
	return t.UTC(), nil
}

func newTrustRevoke(a *app) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "revoke NAME|FINGERPRINT",
		Short: "Trust nothing any more that a key has signed",
		Long: `revoke makes a new version of the trust file in which a key counts for nothing, whenever it
signed, and signs it with yours. Boards go on with what they run; front ends that start
anew, and promotions, want heads and images that others have signed: sign or promote them
again. A key that is only out of use is better left to expire (piimg trust add --until).` + "\n" + exitCodes,
		Example: `  piimg trust revoke ci --reason "build1 was broken into"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			chain, file, err := a.openChain()
			if err != nil {
				return err
			}
			t := newest(chain)
			k, known := t.Find(args[0])
			if !known {
				return hint(fmt.Errorf("trust file %s: it has no key %s", file, args[0]), "piimg trust show lists them")
			}
			if !k.Revoked.IsZero() {
				a.ui.say("nothing to do: %s is revoked", k.Name)
				return nil
			}
			n := slices.IndexFunc(t.Keys, func(other sign.Key) bool { return other.Name == k.Name })
			t.Keys[n].Revoked, t.Keys[n].Reason = a.now().UTC().Truncate(time.Second), reason
			return a.propose(cmd.Context(), chain, file, t)
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for those who look")
	a.keyFlag(c)
	return c
}

func newTrustSign(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "sign",
		Short: "Sign the version of the trust file that waits for signatures",
		Long: `sign adds your signature to the newest version. Look at it first: piimg trust show shows
what it would change.` + "\n" + exitCodes,
		Example: "  piimg trust sign --key ~/.ssh/id_ed25519.pub",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			chain, file, err := a.openChain()
			if err != nil {
				return err
			}
			return a.signChain(cmd.Context(), chain, file)
		},
	}
	a.keyFlag(c)
	return c
}
