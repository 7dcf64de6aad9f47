package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"piimg/store"
	"piimg/store/env"
	"piimg/store/mirror"
)

const copyRules = `
Only what the other store lacks is moved, every byte is verified on its way, and the record of
who published the image goes along. Environments stay as they are: piimg promote --from-store
makes one run an image of another store. A copy that was interrupted goes on where it was when
it is run again. Both stores have to be there: piimg store init makes one.`

func newCp(a *app) *cobra.Command {
	var from, to string
	c := &cobra.Command{
		Use:   "cp IMAGE...",
		Short: "Copy images to another store, or from one",
		Long: `cp copies images between two stores: --from names the one, --to the other, and where one of
them is not said it is the store of every other command. Images are named as the first of the
two knows them.` + "\n" + copyRules + "\n" + exitCodes,
		Example: `  piimg cp prod --to /media/usb/store
  piimg cp prod prod~1 --to 's3://images/site-b?endpoint=https://s3.example.org'
  piimg cp sha256:4f1c9a02 --from /media/usb/store`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if from == "" && to == "" {
				return hint(usageError{errors.New("piimg cp: say the other store")}, "piimg cp %s --to STORE, or --from STORE", args[0])
			}
			return a.copyImages(cmd.Context(), from, to, args)
		},
	}
	c.Flags().StringVar(&from, "from", "", "store that has the images (default: --store)")
	c.Flags().StringVar(&to, "to", "", "store that gets them (default: --store)")
	return c
}

func newPush(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "push STORE IMAGE...",
		Short:   "Copy images to another store",
		Long:    "push copies images of the store to another one: piimg cp IMAGE... --to STORE." + "\n" + copyRules + "\n" + exitCodes,
		Example: `  piimg push 's3://images/site-b?endpoint=https://s3.example.org' prod`,
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.copyImages(cmd.Context(), "", args[0], args[1:])
		},
	}
}

func newPull(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "pull STORE IMAGE...",
		Short:   "Copy images from another store",
		Long:    "pull copies images of another store into this one: piimg cp IMAGE... --from STORE." + "\n" + copyRules + "\n" + exitCodes,
		Example: `  piimg pull 's3://images/factory?endpoint=https://s3.example.org' prod`,
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.copyImages(cmd.Context(), args[0], "", args[1:])
		},
	}
}

// copyImages copies images from one location to another; "" stands for the store.
func (a *app) copyImages(ctx context.Context, from, to string, refs []string) error {
	source, err := a.openNamed(ctx, from)
	if err != nil {
		return err
	}
	target, err := a.openNamed(ctx, to)
	if err != nil {
		return err
	}
	var found []env.Resolved
	for _, ref := range refs { // all of them before the first is copied
		r, err := resolve(ctx, source, ref)
		if err != nil {
			return err
		}
		found = append(found, r)
	}
	for _, r := range found {
		if err := a.copyImage(ctx, source, target, r.Image); err != nil {
			return err
		}
		fmt.Fprintln(a.out, r.Image)
	}
	return nil
}

// openNamed opens the store at a location, and the store of every other command for "".
func (a *app) openNamed(ctx context.Context, where string) (*store.Store, error) {
	if where == "" {
		return a.openStore(ctx)
	}
	s, err := a.openAt(ctx, where, "")
	var h hinted
	if errors.As(err, &h) {
		return nil, hint(h.err, "make one there: piimg --store STORE store init")
	}
	return s, err
}

// copyImage copies one image and says what that took.
func (a *app) copyImage(ctx context.Context, from, to *store.Store, d store.Digest) error {
	m := &meter{ui: a.ui, now: a.now, what: "copy " + d.Short()}
	r, err := mirror.Image(ctx, from, to, d, mirror.Options{
		Actor: a.actor(), Now: a.now, Lease: a.lease("copy of " + d.Short()), Planned: m.planned, Moved: m.moved,
	})
	if err != nil {
		return err
	}
	if r.Copied == 0 {
		a.ui.say("nothing to do: all %d blobs of %s are there", r.Blobs, d.Short())
		return nil
	}
	a.ui.say("copied %d of %d blobs of %s, %s", r.Copied, r.Blobs, d.Short(), size(r.Bytes))
	return nil
}

// meter shows on a terminal how far a copy is.
type meter struct {
	ui   *ui
	now  func() time.Time
	what string

	mu    sync.Mutex
	blobs int
	total int64
	done  int64
	shown time.Time
}

func (m *meter) planned(blobs int, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs, m.total = blobs, bytes
}

func (m *meter) moved(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	if t := m.now(); t.Sub(m.shown) >= tick {
		m.shown = t
		m.ui.now("%s  %s of %s", m.what, size(m.done), size(m.total))
	}
}
