package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"piimg/recipes"
	"piimg/store/serve/simpi"
)

// stormOptions are the flags of piimg bench storm, as text.
type stormOptions struct {
	server, http                   string
	boards                         int
	models, styles                 []string
	serial, prefix, local          string
	loss, duplicate, reorder       string
	delay, spread, timeout, resend time.Duration
	retries                        int
	seed                           uint64
	asJSON                         bool
}

func newBenchStorm(a *app) *cobra.Command {
	o := stormOptions{}
	c := &cobra.Command{
		Use:   "storm {--server HOST[:PORT] | --http URL}",
		Short: "Boot many simulated boards at once, and report boots a minute and boot times",
		Long: `storm switches on many simulated boards and lets each of them boot as piimg simulate does,
from any TFTP server, this one or any other, or from a web server with --http. It reports
boots per minute, the boot times of half and of 99 % of the boards, bytes, packets that
were sent again, and what went wrong; it fails when a board did not boot.

The boards have the serial numbers from --serial on, and ask below a folder of that name;
--prefix TEXT lets all of them ask below one folder, which is how to compare with servers
that serve a plain folder: copy the boot files to it. With several --model the boards are
dealt out in turn, and so are the ways to look for files (A, B and C). A Pi 3 asks for
bootcode.bin in the root of the server.

--loss, --duplicate and --reorder are shares of all packets in each direction, --delay is
the time that each takes one way. They are made by the boards, so they need no rights, and
the same seed gives the same faults. --local 127.1.0.0 gives each board an address of its
own, from that one on.

In the URL of --http, {board} stands for a board's serial number; boot.sig and boot.img are
fetched from below it. Faults of the network, prefixes and styles are for TFTP.` + "\n" + exitCodes,
		Example: `  piimg bench storm --server 127.0.0.1:6969 --boards 200 --local 127.1.0.0
  piimg bench storm --server 192.0.2.1 --boards 48 --model pi4b,pi5 --spread 2s --loss 1% --delay 5ms
  piimg bench storm --server 192.0.2.9 --boards 48 --prefix tftproot/ --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.checkHTTP(cmd.Flags().Changed); err != nil {
				return usageError{err}
			}
			return runBenchStorm(cmd.Context(), a, o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.server, "server", "", "TFTP server, with its port if that is not 69")
	f.StringVar(&o.http, "http", "", "URL to boot from over HTTP instead")
	f.IntVar(&o.boards, "boards", 100, "how many")
	f.StringSliceVar(&o.models, "model", []string{"pi4b"}, "of which models: "+strings.Join(simpi.Simulated(), ", "))
	f.StringSliceVar(&o.styles, "style", []string{"A", "B", "C"}, "how files are looked for")
	f.StringVar(&o.serial, "serial", "10000000", "serial number of the first board, hexadecimal")
	f.StringVar(&o.prefix, "prefix", "serial", "folder that boards ask below: serial, or text such as tftproot/")
	f.StringVar(&o.local, "local", "", "address of the first board")
	f.StringVar(&o.loss, "loss", "0", "share of the packets that get lost, such as 1%")
	f.StringVar(&o.duplicate, "duplicate", "0", "share of the packets that come twice")
	f.StringVar(&o.reorder, "reorder", "0", "share of the packets that come late")
	f.DurationVar(&o.delay, "delay", 0, "time that a packet takes one way")
	f.DurationVar(&o.spread, "spread", 0, "time within which the boards are switched on")
	f.DurationVar(&o.timeout, "timeout", simpi.DefaultFileTimeout, "how long a file may take")
	f.DurationVar(&o.resend, "resend", simpi.DefaultResendEvery, "how long a board waits before it asks again")
	f.IntVar(&o.retries, "retries", 0, "how often a board that did not boot starts anew")
	f.Uint64Var(&o.seed, "seed", 1, "of the starts, the faults, and the orders of the requests")
	f.BoolVar(&o.asJSON, "json", false, "print the figures as JSON")
	return c
}

// checkHTTP refuses what a storm over HTTP would leave out.
func (o stormOptions) checkHTTP(given func(flag string) bool) error {
	if o.http == "" {
		return nil
	}
	for _, flag := range []string{"loss", "duplicate", "reorder", "delay", "prefix", "style", "resend", "retries"} {
		if given(flag) {
			return fmt.Errorf("--%s is for TFTP, not for --http", flag)
		}
	}
	if !isWeb(o.http) {
		return fmt.Errorf("--http: %q is no URL such as http://192.0.2.1:8080/{board}", o.http)
	}
	return nil
}

func runBenchStorm(ctx context.Context, a *app, o stormOptions) error {
	if (o.server == "") == (o.http == "") {
		return usageError{errors.New("either --server or --http is needed")}
	}
	storm, err := o.storm()
	if err != nil {
		return usageError{err}
	}
	ended := 0
	storm.After = func(r *simpi.Report) {
		ended++
		if !r.OK() {
			a.ui.say("board %s: %s", r.Serial, r.Outcome)
		}
		a.ui.now("%d of %d boards have ended", ended, o.boards)
	}
	figures, err := o.run(ctx, storm)
	if err != nil {
		return err
	}
	if o.asJSON {
		err = a.printJSON(figures)
	} else {
		err = a.printFigures(figures, o.http == "")
	}
	if err == nil && figures.Failed > 0 {
		return errFindings
	}
	return err
}

func (o stormOptions) run(ctx context.Context, storm simpi.Storm) (*simpi.Figures, error) {
	if o.http != "" {
		return storm.RunHTTP(ctx, o.http)
	}
	server, err := resolveServer(ctx, o.server)
	if err != nil {
		return nil, usageError{err}
	}
	figures, err := storm.Run(ctx, server)
	if err != nil {
		return nil, fmt.Errorf("boot from %s: %w", server, err)
	}
	return figures, nil
}

// storm is the boards that the flags describe.
func (o stormOptions) storm() (simpi.Storm, error) {
	s := simpi.Storm{Spread: o.spread, Seed: o.seed}
	if o.boards < 1 {
		return s, fmt.Errorf("--boards: %d are none", o.boards)
	}
	for _, style := range o.styles {
		if !slices.Contains([]string{"A", "B", "C"}, strings.ToUpper(style)) {
			return s, fmt.Errorf("--style: %q is none of A, B, C", style)
		}
	}
	first, err := strconv.ParseUint(o.serial, 16, 32)
	if err != nil {
		return s, fmt.Errorf("--serial: %q is no hexadecimal number of 8 digits", o.serial)
	}
	network, err := o.network()
	if err != nil {
		return s, err
	}
	var local netip.Addr
	if o.local != "" {
		if local, err = netip.ParseAddr(o.local); err != nil {
			return s, fmt.Errorf("--local: %w", err)
		}
	}
	rng := rand.New(rand.NewPCG(o.seed, 0))
	for n := range o.boards {
		b := simpi.Board{
			Serial: uint32(first) + uint32(n), Network: network, Retries: o.retries, Seed: rng.Uint64(), Local: local,
			Style: simpi.Style(strings.ToUpper(o.styles[n%len(o.styles)])), FileTimeout: o.timeout, ResendEvery: o.resend,
		}
		if b.Model, err = stormModel(o.models[n%len(o.models)]); err != nil {
			return s, err
		}
		if o.prefix != string(simpi.PrefixSerial) {
			b.Prefix, b.PrefixString = simpi.PrefixString, o.prefix
		}
		s.Boards = append(s.Boards, b)
		if local.IsValid() {
			local = local.Next()
		}
	}
	return s, nil
}

func stormModel(name string) (simpi.Model, error) {
	if err := checkModel(name); err != nil {
		return simpi.Model{}, fmt.Errorf("--model: %w", err)
	}
	model, err := recipes.BoardByName(name)
	return simpi.Model{Board: model.Board}, err
}

func (o stormOptions) network() (n simpi.Network, err error) {
	n.Delay = o.delay
	for _, f := range []struct {
		flag, text string
		to         *float64
	}{{"--loss", o.loss, &n.Loss}, {"--duplicate", o.duplicate, &n.Duplicate}, {"--reorder", o.reorder, &n.Reorder}} {
		if *f.to, err = parseShare(f.text); err != nil {
			return n, fmt.Errorf("%s: %w", f.flag, err)
		}
	}
	return n, nil
}

// parseShare reads 0.01 or 1%.
func parseShare(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	x, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no share such as 0.01 or 1%%", text)
	}
	if percent {
		x /= 100
	}
	if !(x >= 0 && x < 1) {
		return 0, fmt.Errorf("%s is not between 0 and 1", text)
	}
	return x, nil
}

// printFigures prints what became of a storm; packets are those of TFTP.
func (a *app) printFigures(f *simpi.Figures, packets bool) error {
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	row := func(what, format string, args ...any) { fmt.Fprintf(w, what+"\t"+format+"\n", args...) }
	ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	row("boards", "%d booted, %d failed", f.Booted, f.Failed)
	row("time", "%s", ms(f.Wall))
	row("boots per minute", "%.1f", f.PerMinute)
	row("boot time", "%s for half, %s for 99 %%, %s at most", ms(f.BootP50), ms(f.BootP99), ms(f.BootMax))
	row("first answer", "%s for half, %s for 99 %%", f.AnswerP50.Round(time.Microsecond), f.AnswerP99.Round(time.Microsecond))
	row("requests", "%d", f.Requests)
	row("received", "%s", size(f.Bytes))
	if packets {
		row("asked again", "%d packets of boards", f.Asked)
		row("came twice", "%d packets for boards", f.Repeated)
	}
	row("not in time", "%d files", f.Timeouts)
	for _, p := range f.Problems {
		row(string(p.Severity), "%d boards: %s", p.Boards, p.What)
	}
	return w.Flush()
}
