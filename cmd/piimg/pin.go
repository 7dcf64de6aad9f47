package main

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"piimg/store"
)

func newPin(a *app) *cobra.Command {
	var reason string
	var asJSON bool
	c := &cobra.Command{
		Use:   "pin [IMAGE NAME]",
		Short: "Keep an image whatever happens, under a name; or list what is kept so",
		Long: `pin keeps an image from being collected until the pin is removed. Environments keep what
they run and ran lately by themselves; a pin is for what has to stay for other reasons.
Without arguments the pins are listed. A name is used once: unpin it to give it another
image.` + "\n" + exitCodes,
		Example: `  piimg pin prod golden-2026 --reason "factory image of the spring batch"
  piimg pin`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) == 2 {
				return nil
			}
			return errors.New("give an image and a name, or nothing to list the pins")
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.openStore(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return a.listPins(cmd, s, asJSON)
			}
			found, err := resolve(cmd.Context(), s, args[0])
			if err != nil {
				return err
			}
			p := store.Pin{Name: args[1], Image: found.Image, Actor: a.actor(), Reason: reason, Time: a.now().UTC().Truncate(time.Second)}
			if err := s.Pin(cmd.Context(), p); err != nil {
				return pinHint(err, args[1])
			}
			_, err = fmt.Fprintf(a.out, "%s %s\n", p.Name, p.Image)
			return err
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for whoever looks at the pins")
	c.Flags().BoolVar(&asJSON, "json", false, "print the list as JSON")
	return c
}

func pinHint(err error, name string) error {
	if errors.Is(err, store.ErrConflict) {
		return hint(err, "choose another name, or piimg unpin %s first", name)
	}
	return err
}

// listPins lists the pins. Those that cannot be read are named, and are findings.
func (a *app) listPins(cmd *cobra.Command, s *store.Store, asJSON bool) error {
	pins, damaged := []store.Pin{}, false
	for p, err := range s.Pins(cmd.Context()) {
		if err != nil && errors.Is(err, store.ErrCorrupt) && cmd.Context().Err() == nil {
			a.ui.warn("%v", err)
			damaged = true
			continue
		}
		if err != nil {
			return err
		}
		pins = append(pins, p)
	}
	var err error
	if asJSON {
		err = a.printJSON(pins)
	} else {
		err = table(a.out, "PIN\tIMAGE\tSINCE\tBY\tREASON", func(line func(string, ...any)) {
			for _, p := range pins {
				line("%s\t%s\t%s\t%s\t%s", p.Name, p.Image.Short(), when(p.Time), p.Actor, p.Reason)
			}
		})
	}
	if err == nil && damaged {
		return errFindings
	}
	return err
}

func newUnpin(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "unpin NAME",
		Short: "Remove a pin: its image goes when nothing else keeps it",
		Long: `unpin removes a pin. The image stays where it is until a collection (piimg gc) finds that
nothing keeps it.` + "\n" + exitCodes,
		Example: "  piimg unpin golden-2026",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.openStore(cmd.Context())
			if err != nil {
				return err
			}
			p, err := s.Unpin(cmd.Context(), args[0])
			if errors.Is(err, fs.ErrNotExist) {
				return hint(err, "piimg pin lists the pins")
			}
			if err != nil {
				return err
			}
			a.ui.say("%s is not pinned any more", p.Image.Short())
			return nil
		},
	}
}
