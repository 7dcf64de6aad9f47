package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"piimg/pipeline"
	"piimg/pipeline/format/bootsig"
	"piimg/pipeline/lint"
	"piimg/recipes"
	"piimg/store"
)

func newLint(a *app) *cobra.Command {
	var o buildOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "lint RECIPE|IMAGE|FOLDER",
		Short: "Look at boot files with the eyes of the boards",
		Long: `lint evaluates config.txt as the firmware of each board does and says what the board
would miss: files, overlays, matching firmware, a kernel that it can start, and what its
TFTP client can carry. A recipe is built first, without publishing it. Boards are those
of the recipe or image, or those that --board names, as it has to for a folder, such as
the root of another TFTP server.

Where a rule is wrong for some boards, their recipe says so in its [lint.ignore] table,
with the reason: P04 = "why". What it finds is shown as ignored and does not count.` + "\n" + exitCodes,
		Example: `  piimg lint recipes/quickstart.toml
  piimg lint prod
  piimg lint --board pi4b --board cm4 /srv/tftp/91cdf03d
  piimg lint prod --board-key fleet.pub.pem       # would boards with this key start it?`,
		Args: cobra.ExactArgs(1),
	}
	var models []string
	var key string
	c.RunE = func(cmd *cobra.Command, args []string) error {
		findings, boards, err := runLint(cmd.Context(), a, args[0], lintOptions{o, models, key})
		if err != nil {
			return err
		}
		if len(findings) == 0 {
			a.ui.say("no findings for %s", strings.Join(names(boards), ", "))
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
	c.Flags().StringSliceVar(&models, "board", nil, "board model to check for (see piimg recipe boards)")
	c.Flags().StringVar(&key, "board-key", "", "public RSA key, PEM, of boards that start a signed boot.img alone (default: what the recipe says)")
	c.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	return c
}

// lintOptions are the flags of lint.
type lintOptions struct {
	buildOptions
	models   []string
	boardKey string // file
}

// runLint checks a recipe file, a folder or an image of the store, for the boards that the
// options name or else for its own.
func runLint(ctx context.Context, a *app, what string, o lintOptions) ([]lint.Finding, []recipes.Board, error) {
	boards, err := boardsByName(o.models)
	if err != nil {
		return nil, nil, usageError{err}
	}
	it, err := a.toLint(ctx, what, o.buildOptions)
	if err != nil {
		return nil, nil, err
	}
	if o.boardKey != "" {
		if it.target.BootKey, err = boardKey(o.boardKey); err != nil {
			return nil, nil, err
		}
	}
	others := len(boards) > 0
	if !others {
		boards = it.boards
	}
	if len(boards) == 0 {
		return nil, nil, hint(usageError{fmt.Errorf("lint %s: say which boards it is for", what)}, "piimg lint --board pi4b %s", what)
	}
	findings, err := lintFiles(ctx, it.files, boards, it.target)
	if err != nil {
		return nil, nil, err
	}
	idle := lint.Ignore(findings, it.recipe.Ignored())
	if !others { // what a rule finds for other boards says nothing about the recipe
		a.warnIdle(it.recipe, idle)
	}
	return findings, boards, nil
}

// linted is what is to be checked, with the boards and the rest of the target that it says
// itself that it is for.
type linted struct {
	files  fs.FS
	boards []recipes.Board
	target lint.Target
	recipe *recipes.Recipe // an empty one where there is none
}

// toLint opens what is to be checked.
func (a *app) toLint(ctx context.Context, what string, o buildOptions) (linted, error) {
	info, err := os.Stat(what)
	switch {
	case err == nil && info.IsDir():
		return linted{files: os.DirFS(what), recipe: &recipes.Recipe{}}, nil
	case err == nil || strings.HasSuffix(what, ".toml"):
		return a.recipeToLint(ctx, what, o)
	}
	s, err := a.openStore(ctx)
	if err != nil {
		return linted{}, err
	}
	i, c, err := readImage(ctx, s, what)
	if err != nil {
		return linted{}, err
	}
	r, err := recipeOf(c)
	if err != nil {
		return linted{}, err
	}
	boards, err := boardsByName(c.Boards)
	return linted{pipeline.FS(ctx, s, i.Files), boards, lintTarget(r), r}, err
}

// recipeToLint builds the recipe in file.
func (a *app) recipeToLint(ctx context.Context, file string, o buildOptions) (linted, error) {
	_, w, err := a.bench(ctx, file, o)
	if err != nil {
		return linted{}, err
	}
	i, _, err := w.build(ctx)
	if err != nil {
		return linted{}, err
	}
	target, err := w.lintTarget()
	return linted{pipeline.FS(ctx, w.pipeline.Read(), i.Files), w.boards, target, w.recipe}, err
}

// warnIdle warns of rules that a recipe ignores though they find nothing. That of an image has
// no places, its file need not be here, and a newer piimg may have more rules.
func (a *app) warnIdle(r *recipes.Recipe, idle []string) {
	for _, rule := range idle {
		place := ""
		if r.File != "" {
			key := "lint.ignore." + rule
			place = fmt.Sprintf("%s: %s: ", r.Pos(key), key)
		}
		if !slices.Contains(lint.IDs(), rule) {
			a.ui.warn("%signored rule %s is none that this piimg knows: a newer one may find more", place, rule)
			continue
		}
		a.ui.warn("%signored rule %s found nothing: remove it", place, rule)
	}
}

// lintTarget is what a recipe says of what it is for, besides the boards.
func lintTarget(r *recipes.Recipe) lint.Target {
	t := lint.Target{Bootloader: r.Bootloader}
	if r.Initramfs != nil {
		t.Limits = r.Initramfs.Limits.Format()
	}
	if o := r.Output; o != nil && o.SDCardImg {
		t.Card = &lint.Card{Size: o.SDCardSize}
	}
	return t
}

// lintTarget is the function of that name, with the key that is beside the recipe.
func (w *workbench) lintTarget() (lint.Target, error) {
	t := lintTarget(w.recipe)
	o := w.recipe.Output
	if o == nil || o.BootKey == "" {
		return t, nil
	}
	var err error
	t.BootKey, err = boardKey(w.recipe.Path(o.BootKey))
	return t, err
}

// boardKey reads the public key of boards.
func boardKey(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if _, err := bootsig.PublicKey(text); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return text, nil
}

func names(boards []recipes.Board) []string {
	var all []string
	for _, b := range boards {
		all = append(all, b.Model)
	}
	return all
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

// lint is lintFiles of an image, remembered in the store: a build that changes nothing does
// not read the kernel and unpack the initramfs once more.
func (w *workbench) lint(ctx context.Context, i store.Image) ([]lint.Finding, error) {
	target, err := w.lintTarget()
	if err != nil {
		return nil, err
	}
	on, err := json.Marshal(struct {
		Version int
		Files   []store.File
		Boards  []recipes.Board
		Target  lint.Target
	}{lint.Version, i.Files, w.boards, target})
	if err != nil {
		return nil, err
	}
	notes := w.pipeline.Store.Notes("lint")
	for _, scope := range slices.Compact([]string{w.pipeline.Scope, ""}) {
		var findings []lint.Finding
		err := notes.In(scope).Get(ctx, store.Sum(on), &findings)
		if !errors.Is(err, fs.ErrNotExist) {
			return findings, err
		}
	}
	findings, err := lintFiles(ctx, pipeline.FS(ctx, w.pipeline.Read(), i.Files), w.boards, target)
	if err != nil {
		return nil, err
	}
	return findings, notes.In(w.pipeline.Scope).Put(ctx, store.Sum(on), findings)
}

func lintFiles(ctx context.Context, files fs.FS, boards []recipes.Board, t lint.Target) ([]lint.Finding, error) {
	for _, b := range boards {
		t.Boards = append(t.Boards, lint.Board{Board: b.Board, ROMFiles: b.ROMFiles})
	}
	findings, err := lint.Check(ctx, files, t)
	if err != nil {
		return nil, fmt.Errorf("lint: %w", err)
	}
	return findings, nil
}

// printFindings writes a line for each finding, and one for its hint, or for the reason why
// it does not count.
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
		level, below, text := string(f.Level), "hint", f.Hint
		if f.Ignored != "" {
			level, below, text = "ignored", "reason", printable(f.Ignored)
		}
		line(fmt.Sprintf("%s %s %s: %s%s", f.Rule, level, where, f.Message, boards))
		if text != "" {
			line("    " + below + ": " + text)
		}
	}
}

// count counts the findings that are not ignored.
func count(findings []lint.Finding) (errors, warnings int) {
	for _, f := range findings {
		switch {
		case f.Ignored != "":
		case f.Level == lint.Error:
			errors++
		default:
			warnings++
		}
	}
	return errors, warnings
}

// report shows the findings of a build, and is an error where one of them is.
func (a *app) report(r *recipes.Recipe, findings []lint.Finding) error {
	a.printFindings(findings, func(text string) { a.ui.say("%s", text) })
	errors, _ := count(findings)
	var err error
	switch errors {
	case 0:
		return nil
	case 1:
		err = fmt.Errorf("%s is not published: 1 of the %w above is an error", r.Name, errFindings)
	default:
		err = fmt.Errorf("%s is not published: %d of the %w above are errors", r.Name, errors, errFindings)
	}
	return hint(err, "where a rule is wrong for your boards, [lint.ignore] in the recipe takes it, with the reason")
}
