package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"piimg/cmd/piimg/config"
	"piimg/store"
	"piimg/store/board"
	"piimg/store/serve"
)

// whatifOptions are the flags of piimg whatif.
type whatifOptions struct {
	serial, mac, address, at string
	def                      string
	asJSON                   bool
}

// whatif is what a board would get now.
type whatif struct {
	Board   string            `json:"board"`
	Known   bool              `json:"known"`
	Labels  map[string]string `json:"labels,omitempty"`
	Rule    string            `json:"rule"` // which decides
	Mode    string            `json:"mode"` // net, local, off or none
	Env     string            `json:"env,omitempty"`
	Step    int64             `json:"step,omitempty"`
	Image   store.Digest      `json:"image,omitzero"`
	Secrets bool              `json:"secrets"`         // it may have secret files
	Wrong   []string          `json:"wrong,omitempty"` // files that cannot be made for it
	Files   []whatifFile      `json:"files,omitempty"`
}

type whatifFile struct {
	Path   string       `json:"path"`
	Size   int64        `json:"size"`
	Digest store.Digest `json:"digest"`
	Stage  string       `json:"stage"`          // the milestone that it stands for
	Made   string       `json:"made,omitempty"` // what is made of it for the board
	Text   string       `json:"text,omitempty"` // what it says then, where that is a text
}

func newWhatif(a *app) *cobra.Command {
	var o whatifOptions
	c := &cobra.Command{
		Use:   "whatif (--serial SERIAL | --mac MAC)",
		Short: "Say what a board would get if it booted now, and why",
		Long: `whatif goes the way of piimg serve, with its configuration file, from a board to the rule
that decides, the environment, its step, the image and every file, without a front end and
without changing anything. A board in a network is asked for with --address; without that it
asks from the first address that is known of it. A file that could not be made for the board,
since a template names a variable that it does not have, is a finding (exit code 3).

--at shows only the files of one stage: config, start4, fixup, dtb, initramfs, kernel, or
prefix-probe for all others.` + "\n" + exitCodes,
		Example: `  piimg whatif --serial 91cdf03d
  piimg whatif --mac e4:5f:01:09:02:f7 --address 10.1.2.3
  piimg whatif --serial 91cdf03d --at kernel`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runWhatif(cmd.Context(), a, o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.serial, "serial", "", "serial number, or its last 8 digits")
	f.StringVar(&o.mac, "mac", "", "MAC address")
	f.StringVar(&o.address, "address", "", "address that it asks from, for rules of networks")
	f.StringVar(&o.at, "at", "", "show only the files of this stage")
	f.StringVar(&o.def, "default", "", "the --default of piimg serve, where that is not in the configuration file")
	f.BoolVar(&o.asJSON, "json", false, "print the answer as JSON")
	return c
}

func runWhatif(ctx context.Context, a *app, o whatifOptions) error {
	if (o.serial == "") == (o.mac == "") {
		return hint(usageError{errors.New("whatif: say which board, by one of --serial and --mac")}, "piimg whatif --serial 91cdf03d")
	}
	id, err := board.ParseID(o.serial + o.mac)
	if err != nil {
		return usageError{err}
	}
	addr := netip.Addr{}
	if o.address != "" {
		if addr, err = netip.ParseAddr(o.address); err != nil {
			return usageError{fmt.Errorf("--address: %w", err)}
		}
	}
	var stage serve.Milestone
	if o.at != "" {
		if err := stage.UnmarshalText([]byte(o.at)); err != nil {
			return usageError{fmt.Errorf("--at: %w", err)}
		}
	}
	w, err := a.whatif(ctx, id, addr, o.def)
	if err != nil {
		return err
	}
	if o.at != "" {
		kept := w.Files[:0]
		for _, f := range w.Files {
			if f.Stage == o.at {
				kept = append(kept, f)
			}
		}
		w.Files = kept
	}
	show := a.printWhatif
	if o.asJSON {
		show = func(w *whatif) error { return a.printJSON(w) }
	}
	if err := show(w); err != nil || len(w.Wrong) == 0 {
		return err
	}
	return errFindings
}

// whatif is the decision for the board id at addr, and everything that follows from it.
func (a *app) whatif(ctx context.Context, id board.ID, addr netip.Addr, def string) (*whatif, error) {
	s, err := a.openStore(ctx)
	if err != nil {
		return nil, err
	}
	g, err := a.guard()
	if err != nil {
		return nil, err
	}
	f, err := a.foresight(s, config.Serve{Default: def}, g)
	if err != nil {
		return nil, err
	}
	all, err := board.Snapshot(ctx, s, nil)
	id, own, known := board.Find(all, id)
	if err != nil && !known { // what cannot be read may be of this board
		return nil, err
	}
	if !addr.IsValid() && len(own.Addresses) > 0 {
		addr = own.Addresses[0]
	}
	p, err := f.prospect(ctx, id, own, addr)
	if err != nil {
		return nil, err
	}
	w := &whatif{
		Board: string(id), Known: known, Labels: p.Labels, Rule: p.Why, Mode: p.mode, Env: p.Env, Step: p.head.Seq, Image: p.Image,
		Secrets: f.front.Secrets(addr),
	}
	if p.seen.image == nil {
		return w, nil
	}
	for _, file := range p.seen.image.Files {
		line := whatifFile{file.Path, file.Size, file.Digest, p.seen.view.Stage(file.Path).String(), "", ""}
		if !f.front.Plain {
			line.Made = p.seen.view.Made(file.Path, p.visit)
			line.Text = p.seen.view.Text(file.Path, p.visit, "(another-for-each-boot)")
		}
		w.Files = append(w.Files, line)
	}
	if !f.front.Plain {
		w.Wrong = texts(p.seen.view.Check(p.visit))
	}
	return w, nil
}

func (a *app) printWhatif(w *whatif) error {
	known := "nobody has set or described it"
	if w.Known {
		known = "known"
	}
	var labels []string
	for _, k := range sortedKeys(w.Labels) {
		labels = append(labels, k+"="+w.Labels[k])
	}
	fmt.Fprintf(a.out, "board    %s (%s)\n", w.Board, known)
	if len(labels) > 0 {
		fmt.Fprintf(a.out, "labels   %s\n", strings.Join(labels, " "))
	}
	fmt.Fprintf(a.out, "rule     %s\n", w.Rule)
	switch {
	case w.Mode != "net":
		fmt.Fprintf(a.out, "gets     nothing (%s): every file is not found\n", w.Mode)
	case w.Image.IsZero():
		fmt.Fprintf(a.out, "gets     nothing: %s has never run an image\n", w.Env)
	case w.Env != "":
		fmt.Fprintf(a.out, "runs     %s@%d\n", w.Env, w.Step)
	}
	if w.Image.IsZero() {
		return a.out.err
	}
	fmt.Fprintf(a.out, "image    %s\n", w.Image)
	for _, fault := range w.Wrong {
		fmt.Fprintf(a.out, "wrong    %s\n", printable(fault))
	}
	fmt.Fprintln(a.out)
	err := table(a.out, "STAGE\tSIZE\tDIGEST\tFILE\tMADE FOR THE BOARD", func(line func(string, ...any)) {
		for _, f := range w.Files {
			line("%s\t%s\t%s\t%s\t%s", f.Stage, size(f.Size), f.Digest.Short(), f.Path, f.Made)
		}
	})
	for _, f := range w.Files {
		if f.Text == "" {
			continue
		}
		fmt.Fprintf(a.out, "\n%s for the board:\n", f.Path)
		for line := range strings.Lines(f.Text) {
			fmt.Fprintf(a.out, "    %s\n", printable(strings.TrimRight(line, "\n")))
		}
	}
	return cmp.Or(err, a.out.err)
}
