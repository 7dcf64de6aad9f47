package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"piimg/recipes"
	"piimg/store"
	"piimg/store/serve/simpi"
)

// simulateOptions are the flags of piimg simulate, as text.
type simulateOptions struct {
	server, model, serial, mac, prefix, style string
	eeprom, firmware, local                   string
	seed                                      uint64
	timeout                                   time.Duration
	image                                     string
	asJSON                                    bool
}

func newSimulate(a *app) *cobra.Command {
	o := simulateOptions{}
	c := &cobra.Command{
		Use:   "simulate --server HOST[:PORT]",
		Short: "Boot a simulated Raspberry Pi from a TFTP server",
		Long: `simulate asks a TFTP server, this one or any other, for the files that the firmware of a
board asks for, in its order and with its habits: files looked for and broken off,
config.txt read four times, requests sent again after 2 seconds. It prints the trail,
what was missing, and what the board would run, and fails when a file that the firmware
needs was missing, short or late.

With --image every file that was fetched is compared with that image of the store.

What the firmware does was learnt from documentation, published logs and the binaries.
No hardware was used: DHCP, power and what the kernel does are not simulated.` + "\n" + exitCodes,
		Example: `  piimg simulate --server 192.0.2.1 --serial 91cdf03d
  piimg simulate --server 127.0.0.1:6969 --model cm4 --eeprom 2020-04-16 --style B
  piimg simulate --server 127.0.0.1:6969 --image prod`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runSimulate(cmd.Context(), a, o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.server, "server", "", "TFTP server, with its port if that is not 69")
	f.StringVar(&o.model, "model", "pi4b", "board: "+strings.Join(simpi.Simulated(), ", "))
	f.StringVar(&o.serial, "serial", "91cdf03d", "serial number, hexadecimal")
	f.StringVar(&o.mac, "mac", "", "MAC address, for --prefix mac")
	f.StringVar(&o.prefix, "prefix", "serial", "folder that the board asks below: serial, mac, or text such as lab/")
	f.StringVar(&o.style, "style", "A", "how files are looked for: A, B or C, as three releases of the firmware do")
	f.StringVar(&o.eeprom, "eeprom", "", "release of the bootloader, YYYY-MM-DD (default: the newest known)")
	f.StringVar(&o.firmware, "firmware", "", "release of start4.elf, YYYY-MM-DD (default: the newest known)")
	f.StringVar(&o.local, "local", "", "address to ask from")
	f.Uint64Var(&o.seed, "seed", 0, "choose another of the orders that boards were seen to use")
	f.DurationVar(&o.timeout, "timeout", simpi.DefaultFileTimeout, "how long a file may take")
	f.StringVar(&o.image, "image", "", "compare what comes with this image of the store")
	f.BoolVar(&o.asJSON, "json", false, "print the report as JSON")
	_ = c.MarkFlagRequired("server")
	return c
}

func runSimulate(ctx context.Context, a *app, o simulateOptions) error {
	b, err := o.board()
	if err != nil {
		return usageError{err}
	}
	server, err := resolveServer(ctx, o.server)
	if err != nil {
		return usageError{err}
	}
	var image *store.Image
	if o.image != "" {
		s, err := a.openStore(ctx)
		if err != nil {
			return err
		}
		if image, _, err = readImage(ctx, s, o.image); err != nil {
			return err
		}
	}
	report, err := a.simulate(ctx, b, server, o.asJSON)
	if err != nil {
		return err
	}
	if image != nil {
		if err := a.compare(report, image); err != nil {
			return err
		}
	}
	if !report.OK() {
		return errFindings
	}
	return nil
}

// simulate boots b and prints each request as it ends, and then the summary.
func (a *app) simulate(ctx context.Context, b simpi.Board, server netip.AddrPort, asJSON bool) (*simpi.Report, error) {
	var opts simpi.Options
	if !asJSON {
		opts.After = func(_ int, r simpi.Request) { fmt.Fprintln(a.out, r) }
	}
	report, err := b.Boot(ctx, server, opts)
	if err != nil {
		return nil, fmt.Errorf("boot from %s: %w", server, err)
	}
	if asJSON {
		return report, a.printJSON(report)
	}
	fmt.Fprint(a.out, report.Summary())
	return report, nil
}

// compare says which of the files that the board read are not those of the image.
func (a *app) compare(report *simpi.Report, image *store.Image) error {
	wrong := 0
	files := report.Files()
	if len(files) == 0 {
		return nil // the report says enough
	}
	for name, digest := range files {
		f, ok := image.File(name)
		switch {
		case !ok:
			a.ui.say("%s came, and the image has no such file", name)
			wrong++
		case f.Digest != digest && !madeOf(report, image, f):
			a.ui.say("%s came with the digest %s, the image has %s", name, digest.Short(), f.Digest.Short())
			wrong++
		}
	}
	if wrong > 0 {
		return errFindings
	}
	a.ui.say("all %d files that the board read are those of image %s", len(files), image.Digest.Short())
	return nil
}

// madeOf says whether what came in the place of f was made of it for this board, as far as
// that can be seen: a command line that says which image it is of, and an initramfs behind
// which something follows, where the command line says so.
func madeOf(report *simpi.Report, image *store.Image, f store.File) bool {
	if !strings.Contains(report.Cmdline+" ", " piimg.image="+image.Digest.String()+" ") {
		return false
	}
	if path.Base(f.Path) == "cmdline.txt" {
		return true
	}
	return slices.ContainsFunc(report.Initramfs, func(r simpi.File) bool { return r.Name == f.Path && r.Bytes > f.Size })
}

// checkModel says whether a board can be simulated.
func checkModel(model string) error {
	if known := simpi.Simulated(); !slices.Contains(known, model) {
		return fmt.Errorf("model %q is not simulated, only %s", model, strings.Join(known, ", "))
	}
	return nil
}

// check says which flag has a value that nothing can be made of.
func (o simulateOptions) check() error {
	if err := checkModel(o.model); err != nil {
		return fmt.Errorf("--model: %w", err)
	}
	if !slices.Contains([]string{"A", "B", "C"}, strings.ToUpper(o.style)) {
		return fmt.Errorf("--style: %q is none of A, B, C", o.style)
	}
	for flag, date := range map[string]string{"--eeprom": o.eeprom, "--firmware": o.firmware} {
		if _, err := time.Parse(time.DateOnly, date); err != nil && date != "" {
			return fmt.Errorf("%s: %q is no date such as 2022-10-03", flag, date)
		}
	}
	if (o.mac != "") != (o.prefix == string(simpi.PrefixMAC)) {
		return errors.New("--mac and --prefix mac go together")
	}
	if n := len(strings.TrimPrefix(o.serial, "0x")); n != 8 && n != 16 {
		return fmt.Errorf("--serial: %q has not 8 or 16 hexadecimal digits", o.serial)
	}
	return nil
}

func (o simulateOptions) board() (simpi.Board, error) {
	if err := o.check(); err != nil {
		return simpi.Board{}, err
	}
	model, err := recipes.BoardByName(o.model)
	if err != nil {
		return simpi.Board{}, err
	}
	b := simpi.Board{
		Model:       simpi.Model{Board: model.Board, EEPROMDate: simpi.Date(o.eeprom), FirmwareDate: simpi.Date(o.firmware)},
		Style:       simpi.Style(strings.ToUpper(o.style)),
		Seed:        o.seed,
		FileTimeout: o.timeout,
	}
	serial, err := strconv.ParseUint(strings.TrimPrefix(o.serial, "0x"), 16, 64)
	if err != nil {
		return b, fmt.Errorf("--serial: %q is no hexadecimal number", o.serial)
	}
	b.Serial = uint32(serial) // the bootloader uses the low half, too
	if o.mac != "" {
		if b.MAC, err = net.ParseMAC(o.mac); err != nil {
			return b, fmt.Errorf("--mac: %w", err)
		}
	}
	if o.local != "" {
		if b.Local, err = netip.ParseAddr(o.local); err != nil {
			return b, fmt.Errorf("--local: %w", err)
		}
	}
	switch o.prefix {
	case string(simpi.PrefixSerial), string(simpi.PrefixMAC):
		b.Prefix = simpi.PrefixMode(o.prefix)
	default:
		b.Prefix, b.PrefixString = simpi.PrefixString, o.prefix
	}
	return b, nil
}

// resolveServer is the address of a server; the port is TFTP's where none is given.
func resolveServer(ctx context.Context, s string) (netip.AddrPort, error) {
	host, port := s, uint16(69)
	if h, p, err := net.SplitHostPort(s); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("--server: port %q is no number", p)
		}
		host, port = h, uint16(n)
	}
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return netip.AddrPortFrom(addr, port), nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil || len(addrs) == 0 {
		return netip.AddrPort{}, fmt.Errorf("--server: no address for %s", host)
	}
	return netip.AddrPortFrom(addrs[0].Unmap(), port), nil
}
