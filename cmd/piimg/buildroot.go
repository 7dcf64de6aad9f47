package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"piimg/pipeline/stages/buildroot"
)

// aboutWorkspace is said of all commands that open Buildroot's output folder of a recipe.
const aboutWorkspace = `
It works in the output folder that piimg build would use for the recipe as it is now, with
the same environment. Sources have to be pinned; nothing in the recipe is changed.`

func newBuildroot(a *app) *cobra.Command {
	c := &cobra.Command{Use: "buildroot", Short: "Work with the Buildroot of a recipe by hand", Example: "  piimg buildroot menuconfig recipes/pi4-buildroot.toml"}
	for _, v := range []struct {
		use, short, long string
		run              func(context.Context, *app, *buildroot.Workspace) error
	}{
		{"menuconfig", "Change Buildroot's configuration in its menu, and print the options for the recipe",
			`menuconfig opens Buildroot's menu on the configuration of a recipe, and prints the options
that give what was chosen there, to be put into [buildroot].`, runMenuconfig},
		{"savedefconfig", "Print the shortest options that give the configuration of a recipe",
			`savedefconfig prints the options of a recipe without those that are defaults, or follow from
others.`, runSavedefconfig},
		{"shell", "Open a shell in Buildroot's output folder",
			`shell opens a shell in Buildroot's output folder, where make means Buildroot's. The next
piimg build of the recipe compiles everything anew.`, runBuildrootShell},
	} {
		var o buildOptions
		verb := &cobra.Command{
			Use: v.use + " RECIPE", Short: v.short, Long: v.long + "\n" + aboutWorkspace + "\n" + exitCodes,
			Example: "  piimg buildroot " + v.use + " recipes/pi4-buildroot.toml",
			Args:    cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				w, err := a.buildrootOf(cmd.Context(), args[0], o)
				if err != nil {
					return err
				}
				defer w.Close()
				return v.run(cmd.Context(), a, w)
			},
		}
		buildFlags(verb, &o)
		c.AddCommand(verb)
	}
	return c
}

// buildrootOf opens the workspace of a recipe and configures it. Settings that Buildroot
// does not take are a warning: who opens a menu may want to see to them.
func (a *app) buildrootOf(ctx context.Context, file string, o buildOptions) (*buildroot.Workspace, error) {
	w, err := a.workbench(nil, file, o)
	if err != nil {
		return nil, err
	}
	if err := w.checkLock(); err != nil {
		return nil, err
	}
	jobs := o.jobs
	if jobs == 0 {
		jobs = runtime.NumCPU()
	}
	log := func(line string) {
		if o.verbose {
			a.ui.say("%-10s | %s", "buildroot", line)
		}
	}
	s, err := buildroot.Open(ctx, w.pipeline, w.recipe, w.lock, jobs, log)
	if err != nil {
		return nil, err
	}
	var refused *buildroot.Error
	switch err := s.Configure(ctx); {
	case errors.As(err, &refused) && refused.Key == "buildroot.options":
		a.ui.warn("%s", refused.Text)
	case err != nil:
		s.Close()
		return nil, err
	}
	return s, nil
}

func runMenuconfig(ctx context.Context, a *app, w *buildroot.Workspace) error {
	if err := a.interactive(ctx, w, w.Make("menuconfig")...); err != nil {
		return err
	}
	a.ui.say("these options in [buildroot] give what was chosen:")
	return runSavedefconfig(ctx, a, w)
}

func runSavedefconfig(ctx context.Context, a *app, w *buildroot.Workspace) error {
	options, err := w.Shortest(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.out, "options = [")
	for _, line := range options {
		quote := `"`
		if strings.Contains(line, quote) {
			quote = "'"
		}
		fmt.Fprintf(a.out, "    %s%s%s,\n", quote, line, quote)
	}
	fmt.Fprintln(a.out, "]")
	return nil
}

func runBuildrootShell(ctx context.Context, a *app, w *buildroot.Workspace) error {
	if err := w.Touch(); err != nil {
		return err
	}
	shell := a.getenv("SHELL")
	if shell == "" {
		shell = "/bin/sh"
	}
	a.ui.say("Buildroot's output folder: make help lists what can be made; exit ends it")
	return a.interactive(ctx, w, shell)
}

// interactive runs a program on our terminal, in the workspace. That a shell ends with
// another code than 0 is its user's business.
func (a *app) interactive(ctx context.Context, w *buildroot.Workspace, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = w.Output
	cmd.Env = append(w.Env(), "TERM="+a.getenv("TERM"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.in, os.Stderr, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && argv[0] != "make" {
		return nil
	}
	return err
}
