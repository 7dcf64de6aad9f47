package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"piimg/pipeline"
	"piimg/pipeline/lint"
	"piimg/recipes"
)

func newLint(a *app) *cobra.Command {
	var o buildOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "lint RECIPE|IMAGE|FOLDER",
		Short: "Look at boot files with the eyes of the boards",
		Long: `lint evaluates config.txt as the firmware of each board does and says what the board
would miss: files, overlays, matching firmware, a kernel that it can start, and what its
TFTP client can carry. A recipe is built first, without publishing it. A folder, such as
the root of another TFTP server, is checked for the boards that --board names.` + "\n" + exitCodes,
		Example: `  piimg lint recipes/quickstart.toml
  piimg lint prod
  piimg lint --board pi4b --board cm4 /srv/tftp/91cdf03d`,
		Args: cobra.ExactArgs(1),
	}
	var models []string
	c.RunE = func(cmd *cobra.Command, args []string) error {
		findings, err := runLint(cmd.Context(), a, args[0], models, o)
		if err != nil {
			return err
		}
		if asJSON {
			if err := a.printJSON(findings); err != nil {
				return err
			}
		} else {
			a.printFindings(findings, func(text string) { fmt.Fprintln(a.out, text) })
		}
		if errors, _ := count(findings); errors > 0 {
			return errFindings
		}
		return nil
	}
	buildFlags(c, &o)
	c.Flags().StringSliceVar(&models, "board", nil, "board model to check a folder for (see piimg recipe boards)")
	c.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	return c
}

// runLint checks a recipe file, a folder or an image of the store.
func runLint(ctx context.Context, a *app, what string, models []string, o buildOptions) ([]lint.Finding, error) {
	info, err := os.Stat(what)
	switch {
	case err == nil && info.IsDir():
		return lintFolder(ctx, what, models)
	case err == nil || strings.HasSuffix(what, ".toml"):
		return lintRecipe(ctx, a, what, o)
	}
	s, err := a.openStore(ctx)
	if err != nil {
		return nil, err
	}
	i, c, err := readImage(ctx, s, what)
	if err != nil {
		return nil, err
	}
	boards, err := boardsByName(c.Boards)
	if err != nil {
		return nil, err
	}
	return lintFiles(ctx, pipeline.FS(ctx, s, i.Files), boards, c.Bootloader)
}

func lintRecipe(ctx context.Context, a *app, file string, o buildOptions) ([]lint.Finding, error) {
	s, w, err := a.bench(ctx, file, o)
	if err != nil {
		return nil, err
	}
	i, _, err := w.build(ctx)
	if err != nil {
		return nil, err
	}
	return lintFiles(ctx, pipeline.FS(ctx, s, i.Files), w.boards, w.recipe.Bootloader)
}

func lintFolder(ctx context.Context, dir string, models []string) ([]lint.Finding, error) {
	if len(models) == 0 {
		return nil, hint(usageError{fmt.Errorf("lint %s: say which boards it is for", dir)}, "piimg lint --board pi4b %s", dir)
	}
	boards, err := boardsByName(models)
	if err != nil {
		return nil, usageError{err}
	}
	return lintFiles(ctx, os.DirFS(dir), boards, "")
}

func boardsByName(names []string) ([]recipes.Board, error) {
	var boards []recipes.Board
	for _, name := range names {
		b, err := recipes.BoardByName(name)
		if err != nil {
			return nil, err
		}
		boards = append(boards, b)
	}
	return boards, nil
}

func lintFiles(ctx context.Context, files fs.FS, boards []recipes.Board, bootloader string) ([]lint.Finding, error) {
	t := lint.Target{Bootloader: bootloader}
	for _, b := range boards {
		t.Boards = append(t.Boards, lint.Board{Board: b.Board, ROMFiles: b.ROMFiles})
	}
	findings, err := lint.Check(ctx, files, t)
	if err != nil {
		return nil, fmt.Errorf("lint: %w", err)
	}
	return findings, nil
}

// printFindings writes a line for each finding, and one for its hint.
func (a *app) printFindings(findings []lint.Finding, line func(string)) {
	for _, f := range findings {
		where := f.File
		if f.Line > 0 {
			where = fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		boards := ""
		if len(f.Boards) > 0 {
			boards = " (" + strings.Join(f.Boards, ", ") + ")"
		}
		line(fmt.Sprintf("%s %s %s: %s%s", f.Rule, f.Level, where, f.Message, boards))
		if f.Hint != "" {
			line("    hint: " + f.Hint)
		}
	}
}

func count(findings []lint.Finding) (errors, warnings int) {
	for _, f := range findings {
		if f.Level == lint.Error {
			errors++
		} else {
			warnings++
		}
	}
	return errors, warnings
}

// report shows the findings of a build of name, and is an error where one of them is.
func (a *app) report(name string, findings []lint.Finding) error {
	a.printFindings(findings, func(text string) { a.ui.say("%s", text) })
	errors, _ := count(findings)
	switch errors {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%s is not published: 1 of the %w above is an error", name, errFindings)
	}
	return fmt.Errorf("%s is not published: %d of the %w above are errors", name, errors, errFindings)
}
