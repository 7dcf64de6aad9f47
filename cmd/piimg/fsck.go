package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"piimg/store"
	"piimg/store/fsck"
	"piimg/store/open"
	"piimg/store/serve"
)

// fsckOptions are the flags of fsck.
type fsckOptions struct {
	read    string
	chain   bool
	repair  bool
	from    []string // stores
	caches  []string // of front ends
	recipes []string
	asJSON  bool
	build   buildOptions
}

func newFsck(a *app) *cobra.Command {
	var o fsckOptions
	c := &cobra.Command{
		Use:   "fsck",
		Short: "Check the whole store, and repair it",
		Long: `fsck looks at every object of the store: names and sizes of all, and every byte of what is
small (manifests, records, logs and their chains, finished steps). --read-data reads the
content too, or a share of it: a percentage drawn anew each time, or one part of several,
by which 1/7 to 7/7 on seven days read everything once. Damage is told with the images,
environments and boards that it hits. Nothing is written.

--repair moves what is damaged to quarantine/ and brings it back from what is there already,
such as what piimg gc has moved away, then from --from, another store, --from-cache, the
cache of a front end, and --rebuild, the recipe that made it, in this order. Only bytes with
the same digest are taken. A torn last entry of a log is moved
away, so that the log ends with the entry before; what it said has to be promoted again.
What nobody has stays missing, and is told.

Exit code 3 stands for damage that is left, 1 for a store that could not be checked.` + "\n" + exitCodes,
		Example: `  piimg fsck
  piimg fsck --read-data
  piimg fsck --read-data=5%
  piimg fsck --read-data=$(date +%u)/7 --json
  piimg fsck --read-data --repair --from s3://mirror --from-cache /var/cache/piimg/serve
  piimg fsck --repair --rebuild recipes/quickstart.toml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := runFsck(cmd.Context(), a, o)
			if err != nil {
				return err
			}
			return a.printFsck(r, o.asJSON)
		},
	}
	f := c.Flags()
	f.StringVar(&o.read, "read-data", "", "read the content as well: all of it, a percentage (5%) or a part (1/7)")
	f.Lookup("read-data").NoOptDefVal = "all"
	f.BoolVar(&o.chain, "chain", false, "check the signatures of images and of the steps of environments as well")
	f.BoolVar(&o.repair, "repair", false, "put right what can be put right")
	f.StringArrayVar(&o.from, "from", nil, "repair from this store (may be repeated)")
	f.StringArrayVar(&o.caches, "from-cache", nil, "repair from the cache folder of a front end (may be repeated)")
	f.StringArrayVar(&o.recipes, "rebuild", nil, "repair by building this recipe again (may be repeated)")
	f.BoolVar(&o.build.offline, "offline", false, "use no network to build again")
	f.BoolVar(&o.asJSON, "json", false, "print the report as JSON")
	return c
}

// runFsck checks the store, and repairs it where it is told to.
func runFsck(ctx context.Context, a *app, o fsckOptions) (*fsck.Report, error) {
	if !o.repair && len(o.from)+len(o.caches)+len(o.recipes) > 0 {
		return nil, hint(usageError{errors.New("--from, --from-cache and --rebuild say where a repair gets the right bytes from")}, "add --repair, or leave them out")
	}
	look := fsck.Options{Progress: a.checkProgress()}
	if o.read != "" {
		var err error
		if look.Read, err = fsck.ParseSample(o.read); err != nil {
			return nil, usageError{err}
		}
	}
	s, err := a.openStore(ctx)
	if err != nil {
		return nil, err
	}
	if o.chain {
		if v, err := a.signatures(s); err != nil {
			return nil, err
		} else if v != nil {
			look.Signatures = v
		}
	}
	sources, err := a.repairSources(ctx, o)
	if err != nil {
		return nil, err
	}
	r, err := fsck.Check(ctx, s, look)
	if err != nil || !o.repair {
		return r, err
	}
	repair := fsck.RepairOptions{Sources: sources}
	if len(o.recipes) > 0 {
		repair.Rebuild = func(ctx context.Context, lost []store.Digest) error { return a.rebuild(ctx, s, o, lost) }
	}
	return r, fsck.Repair(ctx, s, r, repair)
}

// repairSources opens what a repair may take content from.
func (a *app) repairSources(ctx context.Context, o fsckOptions) ([]fsck.Source, error) {
	var all []fsck.Source
	for _, where := range o.from {
		s, err := a.openAt(ctx, where, "")
		if err != nil {
			return nil, err
		}
		all = append(all, fsck.Source{Name: open.Shown(where), Blobs: s.Blobs(), Store: s})
	}
	for _, dir := range o.caches {
		c, err := serve.OpenCached(dir)
		if err != nil {
			return nil, hint(err, "it is the folder of piimg serve --cache")
		}
		all = append(all, fsck.Source{Name: dir, Blobs: c})
	}
	return all, nil
}

// rebuild runs the steps again whose outputs are gone. What they store has the digest that
// its bytes have, so it mends what is lost or is something else.
func (a *app) rebuild(ctx context.Context, s *store.Store, o fsckOptions, lost []store.Digest) error {
	for _, file := range o.recipes {
		w, err := a.workbench(s, file, o.build)
		if err != nil {
			return err
		}
		image, _, err := w.build(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		doc, err := store.EncodeManifest(image)
		if err != nil {
			return err
		}
		if c := store.Bytes(doc); slices.Contains(lost, c.Digest) {
			if _, err := s.Blobs().Repair(ctx, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// printFsck prints a report. It is an error where damage is left, or where something could
// not be looked at.
func (a *app) printFsck(r *fsck.Report, asJSON bool) error {
	if asJSON {
		if err := a.printJSON(r); err != nil {
			return err
		}
	} else {
		for _, f := range r.Findings {
			a.printFinding(f)
		}
	}
	a.ui.say("looked at %d objects of %s (images: %d, environments: %d, boards: %d, log entries: %d); read %d of %d blobs, %s",
		r.Objects, size(r.Bytes), r.Images, r.Envs, r.Boards, r.Steps, r.Read, r.Blobs, size(r.ReadSize))
	if r.Gone > 0 {
		a.ui.say("images that environments ran once and that are no longer kept: %d", r.Gone)
	}
	damaged, unchecked := r.Damaged(), r.Unchecked()
	switch {
	case len(damaged) > 0:
		return hint(fmt.Errorf("the store is damaged, see the %w above", errFindings), "%s", repairHint(r))
	case len(unchecked) > 0:
		return fmt.Errorf("not all could be checked: %d of %d objects could not be read", len(unchecked), r.Objects)
	}
	a.ui.say("no damage is left")
	return nil
}

// repairHint says what to do next about damage.
func repairHint(r *fsck.Report) string {
	for _, f := range r.Findings {
		if f.Repair != "" {
			return "another store, a front end's cache or a recipe may have the right bytes: --from, --from-cache, --rebuild"
		}
	}
	return "piimg fsck --repair with --from STORE, --from-cache DIR or --rebuild RECIPE puts it right"
}

// printFinding prints what is wrong, whom it hits, and what was done.
func (a *app) printFinding(f fsck.Finding) {
	const most = 8 // lines of one sort
	line := func(text string) { fmt.Fprintf(a.out, "    %s\n", printable(text)) }
	fmt.Fprintf(a.out, "%s %s: %s\n", f.Kind, f.Key, printable(f.Text))
	for n, u := range f.Files {
		if n == most {
			line(fmt.Sprintf("and of %d more", len(f.Files)-n))
			break
		}
		line(fmt.Sprintf("%s of %s %s", u.Path, u.Image.Short(), u.Name))
	}
	for _, e := range f.Envs {
		switch {
		case e.Head && len(e.Steps) == 0:
			line("environment " + e.Env)
		case e.Head:
			line(fmt.Sprintf("%s runs it (step %d)", e.Env, e.Steps[len(e.Steps)-1]))
		default:
			line(fmt.Sprintf("%s ran it at step %d", e.Env, e.Steps[len(e.Steps)-1]))
		}
	}
	for n, b := range f.Boards {
		if n == most {
			line(fmt.Sprintf("and %d more boards", len(f.Boards)-n))
			break
		}
		line("board " + b)
	}
	switch {
	case f.Repaired:
		line("repaired: " + f.Repair)
	case f.Repair != "":
		line("not repaired: " + f.Repair)
	}
}
