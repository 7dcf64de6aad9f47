package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"piimg/cmd/piimg/config"
	"piimg/store"
	"piimg/store/board"
)

// sortedKeys is the keys of m in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// detailFlags change what is known of a board.
type detailFlags struct {
	labels, vars, also, addresses []string
	reason                        string
}

func newBoardDescribe(a *app) *cobra.Command {
	var d detailFlags
	c := &cobra.Command{
		Use:   "describe BOARD",
		Short: "Say what a board is: labels, variables, other names, addresses",
		Long: `describe changes what is known of a board, and not what it runs. Labels are for the rules of
piimg serve, variables for templates in the board's files. Whoever can read from the front
end can read what its files say: no secret belongs into a variable.

A label or variable without a value ("role=") is removed, and so is a name or address with
a minus before it.` + "\n" + exitCodes,
		Example: `  piimg board describe 91cdf03d --label role=kiosk --var hostname=lobby
  piimg board describe 91cdf03d --also e4:5f:01:09:02:f7 --address 192.0.2.7
  piimg board describe 91cdf03d --label role=`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := board.ParseID(args[0])
			if err != nil {
				return usageError{err}
			}
			if len(d.labels)+len(d.vars)+len(d.also)+len(d.addresses) == 0 {
				return hint(usageError{errors.New("board describe: say what the board is")}, "piimg board describe %s --label role=kiosk", args[0])
			}
			return a.describeBoard(cmd.Context(), id, d)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&d.labels, "label", nil, "key=value, as often as you like")
	f.StringArrayVar(&d.vars, "var", nil, "name=value, as often as you like")
	f.StringArrayVar(&d.also, "also", nil, "another name of the board: its MAC address beside its serial")
	f.StringArrayVar(&d.addresses, "address", nil, "an address that it asks from")
	f.StringVar(&d.reason, "reason", "", "why, for the history")
	return c
}

func (a *app) describeBoard(ctx context.Context, id board.ID, d detailFlags) error {
	s, err := a.openLogs(ctx)
	if err != nil {
		return err
	}
	was, err := board.Get(ctx, s, id)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	details, err := d.over(was.Details)
	if err != nil {
		return usageError{err}
	}
	set, err := board.Set(ctx, s, id, board.Options{Keep: true, Details: &details, Actor: a.actor(), Reason: d.reason, Now: a.now})
	if err != nil {
		return err
	}
	a.forewarn(ctx, s, set)
	return a.printBoard(set)
}

// over is was with the changes of d.
func (d detailFlags) over(was board.Details) (board.Details, error) {
	now := board.Details{Labels: maps.Clone(was.Labels), Vars: maps.Clone(was.Vars), Also: slices.Clone(was.Also), Addresses: slices.Clone(was.Addresses)}
	if err := cmp.Or(setPairs("--label", &now.Labels, d.labels), setPairs("--var", &now.Vars, d.vars)); err != nil {
		return now, err
	}
	for _, text := range d.also {
		name, remove := strings.CutPrefix(text, "-")
		id, err := board.ParseID(name)
		if err != nil {
			return now, fmt.Errorf("--also: %w", err)
		}
		now.Also = changed(now.Also, id, remove)
	}
	for _, text := range d.addresses {
		name, remove := strings.CutPrefix(text, "-")
		addr, err := netip.ParseAddr(name)
		if err != nil {
			return now, fmt.Errorf("--address: %w", err)
		}
		now.Addresses = changed(now.Addresses, addr.Unmap(), remove)
	}
	return now, nil
}

// setPairs sets key=value in m, and removes what has no value.
func setPairs(flag string, m *map[string]string, texts []string) error {
	for _, text := range texts {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return fmt.Errorf("%s %q: write key=value", flag, text)
		}
		if value == "" {
			delete(*m, key)
			continue
		}
		if *m == nil {
			*m = map[string]string{}
		}
		(*m)[key] = value
	}
	return nil
}

// changed is list with v, or without it.
func changed[T comparable](list []T, v T, remove bool) []T {
	list = slices.DeleteFunc(list, func(x T) bool { return x == v })
	if remove {
		return list
	}
	return append(list, v)
}

// printBoard prints what a board runs and is.
func (a *app) printBoard(b board.Assignment) error {
	line := fmt.Sprintf("%s %s", b.Board, target(b))
	for _, k := range sortedKeys(b.Labels) {
		line += fmt.Sprintf(" label:%s=%s", k, b.Labels[k])
	}
	for _, k := range sortedKeys(b.Vars) {
		line += fmt.Sprintf(" var:%s=%s", k, b.Vars[k])
	}
	for _, other := range b.Also {
		line += " also:" + string(other)
	}
	for _, addr := range b.Addresses {
		line += " address:" + addr.String()
	}
	_, err := fmt.Fprintln(a.out, line)
	return err
}

func newBoardImport(a *app) *cobra.Command {
	var reason string
	var force bool
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Set and describe many boards from a list in TOML or CSV",
		Long: `import reads a list of boards and sets each to what it says: a TOML file with a [[board]]
for each, or a CSV file whose first line names the columns. Keys and columns are board, env,
image, mode (net, local, off, unset), also, addresses, and labels and vars; in CSV each label and
variable has a column of its own, label:rack and var:hostname, and lists have blanks between.

The whole list is checked before anything is set, also whether the templates in each board's
files find their variables, as far as this machine has the configuration of piimg serve. What a list says of a board replaces what
was known of it; a board that says nothing of what it runs keeps that. Running it again
changes nothing.` + "\n" + exitCodes,
		Example: `  piimg board import boards.csv --reason "rack a1"
  piimg board import boards.toml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.importBoards(cmd.Context(), args[0], reason, force)
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	c.Flags().BoolVar(&force, "force", false, "allow environments that have never run an image, and boards whose files cannot be made")
	return c
}

// imported is a board of a list, ready to be set.
type imported struct {
	id      board.ID
	options board.Options
}

func (a *app) importBoards(ctx context.Context, file, reason string, force bool) error {
	list, err := config.LoadBoards(file)
	if err != nil {
		return err
	}
	s, err := a.openLogs(ctx)
	if err != nil {
		return err
	}
	rules, err := a.rules()
	if err != nil {
		return err
	}
	view, err := a.foresight(s, config.Serve{}, nil)
	if err != nil {
		return err
	}
	was, err := board.Snapshot(ctx, s, nil)
	if was == nil || ctx.Err() != nil {
		return err // damage to the log of a board of the list is found when that is set
	}
	var all []imported
	seen := map[board.ID]string{}
	for _, b := range list {
		one, err := a.imported(ctx, s, b, force)
		if err == nil && seen[one.id] != "" {
			err = fmt.Errorf("board %s is at %s already", one.id, seen[one.id])
		}
		if err == nil && !one.options.Image.IsZero() {
			err = rules.CheckImage(ctx, s, "*", one.options.Image, a.now())
		}
		if err == nil && !force {
			err = one.check(ctx, was[one.id], view)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", b.Where, err)
		}
		seen[one.id] = b.Where
		one.options.Actor, one.options.Reason, one.options.Now = a.actor(), reason, a.now
		one.options.Trusted = rules.TrustedYank(a.now())
		all = append(all, one)
	}
	for _, one := range all {
		set, err := board.Set(ctx, s, one.id, one.options)
		if err != nil {
			return err
		}
		if set.Unchanged {
			continue
		}
		if err := a.printBoard(set); err != nil {
			return err
		}
	}
	return nil
}

// check says which of its files the board could not have as the list has it; it was what was
// known of it.
func (i imported) check(ctx context.Context, was board.Assignment, view *foresight) error {
	own := board.Assignment{Board: i.id, Mode: i.options.Mode, Env: i.options.Env, Image: i.options.Image, Details: *i.options.Details}
	if i.options.Keep {
		own.Mode, own.Env, own.Image = was.Mode, was.Env, was.Image
	}
	wrong, _ := view.check(ctx, i.id, own) // a list may be there before what its boards run
	if len(wrong) > 0 {
		return hint(fmt.Errorf("board %s could not have %s", i.id, strings.Join(texts(wrong), "; ")), "give it the variable, or set it all the same with --force")
	}
	return nil
}

// imported is what b says, checked as far as can be seen without setting it.
func (a *app) imported(ctx context.Context, s *store.Store, b config.Board, force bool) (imported, error) {
	id, err := board.ParseID(b.Board)
	if err != nil {
		return imported{}, err
	}
	details, err := detailFlags{also: b.Also, addresses: b.Addresses}.over(board.Details{Labels: b.Labels, Vars: b.Vars})
	for k, v := range b.Labels {
		err = cmp.Or(err, board.CheckLabel(k, v))
	}
	for k, v := range b.Vars {
		err = cmp.Or(err, board.CheckVar(k, v))
	}
	o := board.Options{Details: &details}
	switch {
	case err != nil:
	case b.Env != "" && b.Image != "" || b.Mode != "" && b.Mode != string(board.Net) && b.Env+b.Image != "":
		err = errors.New("it has several of env, image and mode")
	case b.Env+b.Image != "":
		o, err = assignment(ctx, s, b.Env+b.Image, force, o)
	case b.Mode == string(board.Net):
		err = errors.New("mode is net, and there is neither env nor image")
	case b.Mode != "":
		o.Mode = board.Mode(b.Mode)
		if !slices.Contains([]board.Mode{board.Local, board.Off, board.Unset}, o.Mode) {
			err = fmt.Errorf("mode %q is none of net, local, off, unset", b.Mode)
		}
	default:
		o.Keep = true
	}
	return imported{id, o}, err
}
