package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"piimg/store/sign"
)

func newSign(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "sign IMAGE",
		Short: "Sign an image",
		Long: `sign signs the manifest of an image, and stores the signature beside it. The image stays
what it is: its digest does not change, and the signature goes along where it is copied.
What a signature means is up to the trust file and to the policy of each environment: by
its builder, that it was built; by a publisher, that it may be used.` + "\n" + exitCodes,
		Example: `  piimg sign sha256:4f1c9a02 --key /etc/piimg/ci.key
  piimg sign staging --key ~/.ssh/id_ed25519.pub`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.openStore(cmd.Context())
			if err != nil {
				return err
			}
			found, err := resolve(cmd.Context(), s, args[0])
			if err != nil {
				return err
			}
			key, err := a.mustSign(cmd.Context())
			if err != nil {
				return err
			}
			if err := sign.Image(cmd.Context(), s, found.Image, key); err != nil {
				return err
			}
			a.sayWhatItIsWorth(key.Key())
			_, err = fmt.Fprintf(a.out, "%s %s\n", found.Image, key.Key().ID())
			return err
		},
	}
	a.keyFlag(c)
	return c
}

// sayWhatItIsWorth warns of a signature that nobody here counts.
func (a *app) sayWhatItIsWorth(key sign.PublicKey) {
	r, err := a.rules()
	switch {
	case err != nil:
		a.ui.warn("what the signature is worth cannot be said: %v", err)
	case r.Trust == nil:
		a.ui.say("signatures are off: no trust file is configured, so nothing asks for this one")
	default:
		k, known := r.Trust.Find(key.ID())
		switch {
		case !known:
			a.ui.warn("the trust file does not have this key: the signature does not count")
		case !k.Counts(sign.Builder, a.now()) && !k.Counts(sign.Publisher, a.now()):
			a.ui.warn("%s is neither builder nor publisher today: the signature does not count", k.Name)
		}
	}
}
