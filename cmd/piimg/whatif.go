package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	Secrets bool              `json:"secrets"` // it may have secret files
	Files   []whatifFile      `json:"files,omitempty"`
}

type whatifFile struct {
	Path   string       `json:"path"`
	Size   int64        `json:"size"`
	Digest store.Digest `json:"digest"`
	Stage  string       `json:"stage"`          // the milestone that it stands for
	Made   string       `json:"made,omitempty"` // what is made of it for the board
}

func newWhatif(a *app) *cobra.Command {
	var o whatifOptions
	c := &cobra.Command{
		Use:   "whatif (--serial SERIAL | --mac MAC)",
		Short: "Say what a board would get if it booted now, and why",
		Long: `whatif goes the way of piimg serve, with its configuration file, from a board to the rule
that decides, the environment, its step, the image and every file, without a front end and
without changing anything. A board in a network is asked for with --address.

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
	if o.asJSON {
		return a.printJSON(w)
	}
	return a.printWhatif(w)
}

// whatif is the decision for the board id at addr, and everything that follows from it.
func (a *app) whatif(ctx context.Context, id board.ID, addr netip.Addr, def string) (*whatif, error) {
	c, err := a.serveConfig(config.Serve{Default: def})
	if err != nil {
		return nil, err
	}
	s, err := a.openStore(ctx)
	if err != nil {
		return nil, err
	}
	guard, err := a.guard()
	if err != nil {
		return nil, err
	}
	all, err := board.Snapshot(ctx, s, nil)
	if err != nil && all == nil {
		return nil, err
	}
	own, known := all[id]
	for _, b := range all {
		for _, other := range b.Also {
			if other == id {
				id, own, known = b.Board, b, true
			}
		}
	}
	told, err := fleet{s, guard}.assignment(ctx, own)
	if err != nil {
		return nil, err
	}
	rules := rulesOf(c)
	d := rules.Decide(told, addr)
	w := &whatif{Board: string(id), Known: known, Labels: told.Labels, Rule: d.Why, Mode: "net", Env: d.Env, Image: d.Image, Secrets: rules.Secrets(addr)}
	switch {
	case d.Local:
		w.Mode = "local"
	case d.Off:
		w.Mode = "off"
	case d.Env == "" && d.Image.IsZero():
		w.Mode = "none"
	case d.Image.IsZero():
		head, err := fleet{s, guard}.Head(ctx, d.Env, serve.Head{})
		if errors.Is(err, fs.ErrNotExist) {
			return w, nil
		}
		if err != nil {
			return nil, err
		}
		w.Step, w.Image = head.Seq, head.Image
	}
	if w.Image.IsZero() {
		return w, nil
	}
	return w, a.whatifFiles(ctx, s, c, w, told)
}

// whatifFiles adds the files of w's image.
func (a *app) whatifFiles(ctx context.Context, s *store.Store, c config.Serve, w *whatif, told serve.Assignment) error {
	image, err := s.Image(ctx, w.Image)
	if err != nil {
		return err
	}
	files, err := filesOf(c)
	if err != nil {
		return err
	}
	text := ""
	if f, ok := image.File("config.txt"); ok {
		doc, err := s.Blobs().Read(ctx, f.Parts[0], 64<<10)
		if err != nil {
			return err
		}
		text = string(doc)
	}
	view := serve.NewView(image, text)
	for _, f := range image.Files {
		w.Files = append(w.Files, whatifFile{f.Path, f.Size, f.Digest, view.Stage(f.Path).String(), ""})
		if !c.Plain {
			w.Files[len(w.Files)-1].Made = view.Made(f.Path, told.Labels, w.Secrets, files)
		}
	}
	return nil
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
	fmt.Fprintf(a.out, "image    %s\n\n", w.Image)
	return table(a.out, "STAGE\tSIZE\tDIGEST\tFILE\tMADE FOR THE BOARD", func(line func(string, ...any)) {
		for _, f := range w.Files {
			line("%s\t%s\t%s\t%s\t%s", f.Stage, size(f.Size), f.Digest.Short(), f.Path, f.Made)
		}
	})
}
