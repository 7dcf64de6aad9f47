package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"piimg/pipeline"
	"piimg/pipeline/lint"
	"piimg/store"
)

func newBuild(a *app) *cobra.Command {
	var o buildOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "build RECIPE",
		Short: "Build an image and print its digest",
		Long: `build runs the steps of a recipe that are not finished yet, checks the boot files with
the linter, publishes the image in the store and prints its digest. The same recipe,
sources and tools give the same digest on any machine.

Sources have to be pinned by a lock file beside the recipe; piimg lock writes it.

What steps have made is remembered in the store, for all who use it. --cache says what becomes
of that: "use" takes it, "verify" runs every step again and fails where a result is not what
is remembered, with the step and the file, "renew" runs them and remembers the new results,
and "off" runs them and remembers nothing (also PIIMG_CACHE).

A build of a branch that is not trusted belongs into a trust scope: --scope, PIIMG_SCOPE, or
scope in the [build] table of the configuration file. It takes what trusted builds remember,
and what it remembers itself is for the builds of its scope alone.` + "\n" + exitCodes,
		Example: `  piimg build recipes/quickstart.toml
  piimg build --offline recipes/quickstart.toml
  piimg build --check recipes/quickstart.toml    # run every step again and compare
  piimg build --cache=verify recipes/quickstart.toml
  PIIMG_SCOPE=pull-requests piimg build recipes/quickstart.toml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := runBuild(cmd.Context(), a, args[0], o)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(b)
			}
			fmt.Fprintln(a.out, b.Image)
			return nil
		},
	}
	buildFlags(c, &o)
	c.Flags().BoolVar(&o.check, "check", false, "run every step, finished or not, compare the results, and write damaged content anew")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

func buildFlags(c *cobra.Command, o *buildOptions) {
	c.Flags().BoolVar(&o.offline, "offline", false, "use no network")
	c.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "show what the steps say")
	c.Flags().StringVar(&o.cache, "cache", "", "finished steps: use, verify, renew or off (default: $PIIMG_CACHE, or use)")
	c.Flags().StringVar(&o.scope, "scope", "", "trust scope of the build (default: $PIIMG_SCOPE, or that of the configuration file)")
	c.Flags().StringVar(&o.bootKey, "boot-key", "", "private RSA key, PEM, that signs boot.img (default: $PIIMG_BOOT_KEY)")
	c.Flags().StringVar(&o.bootSign, "boot-sign", "", "command that signs boot.img in its place, as Raspberry Pi's HSM wrappers do (default: $PIIMG_BOOT_SIGN)")
	c.Flags().IntVarP(&o.jobs, "jobs", "j", 0, "steps that run at once (default: the number of processors)")
}

// built is the result of a build.
type built struct {
	Image    store.Digest   `json:"image"`
	Ran      []string       `json:"ran"`
	Hits     []string       `json:"unchanged"`
	Wrote    int64          `json:"wrote"`
	Warnings int            `json:"warnings"`
	Ignored  []lint.Finding `json:"ignored,omitempty"`
}

// runBuild builds, lints and publishes.
func runBuild(ctx context.Context, a *app, file string, o buildOptions) (*built, error) {
	s, w, err := a.bench(ctx, file, o)
	if err != nil {
		return nil, err
	}
	lease := s.NewLease(a.lease("build " + w.recipe.Name))
	defer lease.Release(ctx)
	w.pipeline.Lease = lease
	image, made, err := w.build(ctx)
	if err != nil {
		return nil, err
	}
	findings, err := w.lint(ctx, image)
	if err != nil {
		return nil, err
	}
	a.warnIdle(w.recipe, lint.Ignore(findings, w.recipe.Ignored()))
	if err := a.report(w.recipe, findings); err != nil {
		return nil, err
	}
	digest, err := lease.PutImage(ctx, image, store.Record{
		Name: image.Name, Actor: a.actor(), Recipe: file, Time: a.now().UTC(),
	})
	if err != nil {
		return nil, fmt.Errorf("publish %s: %w", image.Name, err)
	}
	if len(made.Ran) == 0 {
		a.ui.say("nothing to do: all %d steps are unchanged", len(made.Hits))
	}
	if o := w.recipe.Output; o != nil && o.SDCardImg {
		a.ui.say("a card of it: piimg export %[1]s --sdcard FILE, or piimg write %[1]s DEVICE", digest.Hex()[:12])
	}
	_, warnings := count(findings)
	ignored := slices.DeleteFunc(findings, func(f lint.Finding) bool { return f.Ignored == "" })
	return &built{digest, made.Ran, made.Hits, made.Wrote, warnings, ignored}, nil
}

// build runs the plan and makes up the image.
func (w *workbench) build(ctx context.Context) (store.Image, *pipeline.Result, error) {
	plan, err := w.plan(ctx)
	if err != nil {
		return store.Image{}, nil, err
	}
	made, err := plan.Run(ctx)
	if err != nil {
		return store.Image{}, nil, err
	}
	image, err := plan.Image(ctx, made)
	return image, made, err
}
