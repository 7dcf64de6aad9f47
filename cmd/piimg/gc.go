package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"piimg/store"
	"piimg/store/gc"
)

// gcOptions are the flags of gc.
type gcOptions struct {
	remove, dryRun, breakSign, noEnvironments, all, asJSON bool

	grace                            time.Duration
	images, historyDays, publishDays int
}

func newGC(a *app) *cobra.Command {
	o := gcOptions{grace: 24 * time.Hour, images: 10, historyDays: 90, publishDays: 14}
	c := &cobra.Command{
		Use:   "gc",
		Short: "Show what nothing in the store keeps any more, and remove it",
		Long: `gc finds the images and files that nothing keeps, says what keeps the others, and changes
nothing. With --delete it removes, in two steps: what nothing keeps is condemned by one
run, and removed by a run a day later if still nothing keeps it. So let a timer run
piimg gc --delete once or twice a day.

An image is kept by
  - an environment that runs it, has run it lately (--keep-days), or has it among the last
    images that it ran (--keep-images, 3 at least); the same goes for boards that are
    assigned to an image; and by a step that is proposed and waits for approval
  - a pin (piimg pin)
  - a front end that has reported in the last 30 days that it serves it
  - whoever is building, promoting or copying it just now
  - its age, if it was published lately (--published-days)

Builds and promotions go on meanwhile; those that begin while something is removed wait
for that. Whatever gc cannot read or does not know ends it before it removes anything.
From a folder files go to quarantine/ for a week; from a server they are gone, unless it
keeps versions. Damaged bytes that piimg fsck --repair has put there go after a week, too;
what nothing knows there stays, and so does what an image needs and the store has nowhere
else: piimg fsck --repair looks whether it is right.

A run that was killed while it removed holds others up for five minutes; gc itself waits
for an hour, or for --break.` + "\n" + exitCodes,
		Example: `  piimg gc
  piimg gc --delete
  piimg gc --delete --keep-images 5 --keep-days 30
  piimg gc --delete --grace 0s    # at once; a build that goes on meanwhile may have to be repeated
  piimg gc --break`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runGC(cmd.Context(), a, o) },
	}
	f := c.Flags()
	f.BoolVar(&o.remove, "delete", false, "condemn what nothing keeps, and remove what was condemned before")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "change nothing (the default)")
	f.BoolVar(&o.breakSign, "break", false, "take away the sign of a run that was killed, and do nothing else")
	f.DurationVar(&o.grace, "grace", o.grace, "age of what is condemned, and time from then until it is removed")
	f.IntVar(&o.images, "keep-images", o.images, "different images that each environment's history keeps")
	f.IntVar(&o.historyDays, "keep-days", o.historyDays, "keep what an environment has run in so many days")
	f.IntVar(&o.publishDays, "published-days", o.publishDays, "keep what was published in so many days")
	f.BoolVar(&o.noEnvironments, "no-environments", false, "a store without environments and pins is meant")
	f.BoolVar(&o.all, "all", false, "list every image, not only the largest")
	f.BoolVar(&o.asJSON, "json", false, "print the report as JSON")
	return c
}

func runGC(ctx context.Context, a *app, o gcOptions) error {
	run, err := o.options(a)
	if err != nil {
		return err
	}
	s, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	if o.breakSign {
		return a.breakGC(ctx, s, run)
	}
	r, err := gc.Run(ctx, s, run)
	if err != nil {
		return gcHint(err)
	}
	if o.asJSON {
		return a.printJSON(r)
	}
	if r.Bare {
		a.ui.warn("this store has no environment and no pin: if they are kept elsewhere, say --refs")
	}
	return a.printCollection(r, o)
}

// options are those of package gc.
func (o gcOptions) options(a *app) (gc.Options, error) {
	if o.remove && o.dryRun || o.breakSign && (o.remove || o.dryRun) {
		return gc.Options{}, usageError{errors.New("gc: --delete, --dry-run and --break exclude each other")}
	}
	if o.grace < 0 || o.images < 0 || o.historyDays < 0 || o.publishDays < 0 {
		return gc.Options{}, usageError{errors.New("gc: a negative number keeps nothing: say 0")}
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	days := func(n int) time.Duration { return notAtAll(time.Duration(n) * 24 * time.Hour) }
	return gc.Options{
		Delete: o.remove, Owner: fmt.Sprintf("%s on %s", a.actor(), host), NoEnvironments: o.noEnvironments,
		Grace: notAtAll(o.grace), Images: max(o.images, 1), History: days(o.historyDays), Published: days(o.publishDays),
		Now: a.now, Progress: func(stage string) { a.ui.now("gc: %s", stage) },
	}, nil
}

// notAtAll is d, where 0 does not stand for a default.
func notAtAll(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// gcHint says what helps.
func gcHint(err error) error {
	switch {
	case errors.Is(err, gc.ErrNoEnvironments):
		return hint(err, "if they are kept elsewhere, say --refs; if all images are to go that were not published lately, --no-environments")
	case errors.Is(err, store.ErrConflict):
		return hint(err, "let it end; if it was killed, piimg gc --break takes its sign away five minutes later")
	case errors.Is(err, store.ErrCorrupt), errors.Is(err, fs.ErrNotExist):
		return hint(err, "nothing was removed: what that names cannot be told from what nothing keeps; piimg fsck finds damage and repairs it")
	}
	return err
}

// breakGC takes away the sign of a collection that was killed.
func (a *app) breakGC(ctx context.Context, s *store.Store, o gc.Options) error {
	w, err := gc.Break(ctx, s, o)
	if errors.Is(err, fs.ErrNotExist) {
		a.ui.say("nothing to do: no collection is removing anything")
		return nil
	}
	if errors.Is(err, store.ErrConflict) {
		return hint(err, "wait: builds go on by themselves when it is dead")
	}
	if err != nil {
		return err
	}
	a.ui.say("took away the sign of the collection of %s since %s", printable(w.Owner), when(w.Time))
	return nil
}

// mostImages are listed without --all.
const mostImages = 20

// printCollection prints what keeps the images, and sums up.
func (a *app) printCollection(r gc.Report, o gcOptions) error {
	images := r.Images
	if !o.all {
		images = images[:min(len(images), mostImages)]
	}
	err := table(a.out, "IMAGE\tNAME\tSIZE\tITS OWN\tKEPT BY", func(line func(string, ...any)) {
		for _, i := range images {
			line("%s\t%s\t%s\t%s\t%s", i.Image.Short(), i.Name, size(i.Bytes), size(i.Own), keptBy(i.Why))
		}
	})
	if err != nil {
		return err
	}
	if more := len(r.Images) - len(images); more > 0 {
		a.ui.say("and %d smaller images: --all lists them", more)
	}
	fmt.Fprintln(a.out)
	if err := a.printAmounts(r, o); err != nil {
		return err
	}
	return a.printSetAside(r, o)
}

func (a *app) printAmounts(r gc.Report, o gcOptions) error {
	found := "in the store"
	if o.remove {
		found = "were in the store"
	}
	return table(a.out, "FILES\tBLOBS\tSIZE\t", func(line func(string, ...any)) {
		row := func(what string, n gc.Amount, note string) {
			line("%s\t%d\t%s\t%s", what, n.Blobs, size(n.Bytes), note)
		}
		row(found, r.Stored, "")
		row("kept", r.Kept, "")
		row("too new to go", r.Young, "")
		if o.remove {
			row("condemned", r.Condemned, ripe(r, "removed by a run after "))
			row("removed", r.Removed, tidied(r.Tidied))
			return
		}
		row("kept by nothing", r.Condemned, "condemned by piimg gc --delete")
		row("condemned before", r.Goes, "removed by piimg gc --delete")
	})
}

// printSetAside prints what is in quarantine: the largest first, as images.
func (a *app) printSetAside(r gc.Report, o gcOptions) error {
	if len(r.SetAside) == 0 {
		return nil
	}
	all := slices.SortedStableFunc(slices.Values(r.SetAside), func(a, b gc.SetAside) int { return cmp.Compare(b.Bytes, a.Bytes) })
	shown := all
	if !o.all {
		shown = all[:min(len(all), mostImages)]
	}
	fmt.Fprintln(a.out)
	err := table(a.out, "IN QUARANTINE\tSIZE\tWHY\t", func(line func(string, ...any)) {
		for _, s := range shown {
			line("%s\t%s\t%s\t%s", shortKey(s.Of), size(s.Bytes), whyAside(s), a.whenGone(s, o))
		}
	})
	if more := len(all) - len(shown); err == nil && more > 0 {
		a.ui.say("and %d smaller ones: --all lists them", more)
	}
	return err
}

// shortKey is a key with the digests in it shortened.
func shortKey(key string) string {
	if d, ok := store.BlobOf(key); ok {
		return "blob " + d.Short()
	}
	if d, ok := store.ImageOf(key); ok {
		return "record of " + d.Short()
	}
	return key
}

func whyAside(s gc.SetAside) string {
	if s.Damaged {
		return "damaged, found " + when(s.Since)
	}
	return "nothing kept it, collected " + when(s.Since)
}

// whenGone says what becomes of something in quarantine, or became of it in this run.
func (a *app) whenGone(s gc.SetAside, o gcOptions) string {
	switch {
	case s.Spoilt:
		return "stays: an image needs it, and what is in its place is not right; see piimg fsck --read-data --repair"
	case s.Goes.IsZero():
		return "stays: an image needs it, and has nothing else; see piimg fsck --repair"
	case s.Removed:
		return "removed"
	case s.Due(a.now()) && !o.remove:
		return "removed by piimg gc --delete"
	}
	return "removed by a run after " + when(s.Goes)
}

func ripe(r gc.Report, text string) string {
	if r.Ripe.IsZero() {
		return ""
	}
	return text + when(r.Ripe)
}

func tidied(t gc.Tidied) string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{t.Steps, "finished steps"}, {t.Leases, "leases"}, {t.Uploads, "unfinished uploads"}, {t.Quarantine, "objects from quarantine"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "and " + strings.Join(parts, ", ")
}

// keptBy is what keeps an image, the first few of it.
func keptBy(why []string) string {
	const most = 3
	if len(why) == 0 {
		return "nothing"
	}
	text := strings.Join(why[:min(len(why), most)], "; ")
	if len(why) > most {
		text += fmt.Sprintf("; and %d more", len(why)-most)
	}
	return text
}
