package simpi

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// PrefixMode says what a board puts before every name (TFTP_PREFIX in the settings of
// its bootloader).
type PrefixMode string

// The zero PrefixMode is PrefixSerial, which is the bootloader's default.
const (
	PrefixSerial PrefixMode = "serial" // the low half of the serial number: "91cdf03d/"
	PrefixString PrefixMode = "string" // Board.PrefixString
	PrefixMAC    PrefixMode = "mac"    // "e4-5f-01-09-02-f7/"
)

// maxPrefixString is the limit of TFTP_PREFIX_STR, in characters (bootloader documentation).
const maxPrefixString = 32

// Defaults of the bootloader (its documentation and release notes) and, for the resend
// interval, of a published capture.
const (
	DefaultFileTimeout = 30 * time.Second // TFTP_FILE_TIMEOUT, for each file
	DefaultResendEvery = 2 * time.Second
	DefaultRetryWait   = 5 * time.Second
)

// Board is one simulated board. Except for Model, the zero value of a field is what a
// board has that nobody configured.
type Board struct {
	Model

	Serial       uint32           // low half of the serial number
	MAC          net.HardwareAddr // needed for PrefixMAC
	Prefix       PrefixMode
	PrefixString string // prepended as it is, so it ends in "/"; 32 characters at most

	Style   Style  // how files are looked for; StyleA where empty
	Seed    uint64 // chooses among orders that were seen on real boards; 0 is that of the published log
	Retries int    // NET_BOOT_MAX_RETRIES: how often to start anew; -1 for ever
	// SelfUpdate says that an update of the bootloader is expected. Without it a
	// pieeprom.sig that the server has is an error.
	SelfUpdate bool

	FileTimeout time.Duration // DefaultFileTimeout where 0
	ResendEvery time.Duration // DefaultResendEvery where 0
	RetryWait   time.Duration // DefaultRetryWait where 0
	Network     Network       // what happens to its packets
	Local       netip.Addr    // source address; the zero Addr leaves it to the system
}

// Options are what a caller wants to see of a boot. The functions are called on the
// goroutine that runs [Board.Boot], which waits for them.
type Options struct {
	// Before is called before each request leaves; of req, Attempt, Stage, Kind, Name,
	// Path and Start are set. n counts from 0 on.
	Before func(n int, req Request)
	// After is called with each finished request, such as to print it.
	After func(n int, req Request)
	// Now is the clock, time.Now where nil. The time limits of sockets come from it, so
	// it has to advance as time does.
	Now func() time.Time
}

// Boot boots the board from the TFTP server and reports. A board may boot any number of
// times, at the same time too. What the server does wrong is
// in the report; an error is about the board (its model or settings, a socket, or ctx),
// and the report, which is never nil then, holds what happened until there.
func (b Board) Boot(ctx context.Context, server netip.AddrPort, opts Options) (*Report, error) {
	b, opts = b.withDefaults(), opts.withDefaults()
	report := &Report{
		Model: b.Board.Model, Serial: fmt.Sprintf("%08x", b.Serial), Server: server.String(), Outcome: Interrupted,
		Requests: []Request{}, Findings: []Problem{},
	}
	fam, err := b.check(server)
	if err != nil {
		return report, err
	}
	server = netip.AddrPortFrom(server.Addr().Unmap(), server.Port())
	report.Prefix = b.prefix()
	t := &trip{board: b, server: server, opts: opts, report: report, start: opts.Now(), air: newAir(b)}
	t.rng = rand.New(rand.NewPCG(b.Seed, uint64(b.Serial)))
	err = t.run(ctx, fam)
	report.Duration = t.since()
	return report, err
}

// trip is one call of Boot: as many attempts as the board makes.
type trip struct {
	board  Board
	server netip.AddrPort
	opts   Options
	report *Report
	rng    *rand.Rand
	air    *air
	start  time.Time
}

func (t *trip) since() time.Duration { return t.opts.Now().Sub(t.start) }

// run boots until an attempt ends for good. With retries left, the bootloader waits and
// begins again with the prefix that is configured (its release notes of 2019-11 and 2020-06).
func (t *trip) run(ctx context.Context, fam family) error {
	for attempt := 1; ; attempt++ {
		s := newSession(t, attempt)
		outcome := fam.boot(ctx, s)
		s.settle()
		if s.err != nil {
			outcome = Interrupted
		}
		t.report.conclude(s, outcome)
		left := t.board.Retries < 0 || attempt <= t.board.Retries
		if s.err != nil || outcome != FirmwareNotFound || !left {
			return s.err
		}
		t.report.demote(attempt)
		if err := sleep(ctx, t.board.RetryWait); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (b Board) withDefaults() Board {
	if b.Prefix == "" {
		b.Prefix = PrefixSerial
	}
	if b.Style == "" {
		b.Style = StyleA
	}
	b.FileTimeout = orDefault(b.FileTimeout, DefaultFileTimeout)
	b.ResendEvery = orDefault(b.ResendEvery, DefaultResendEvery)
	b.RetryWait = orDefault(b.RetryWait, DefaultRetryWait)
	b.Board.Serial = b.Serial
	return b
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

func (o Options) withDefaults() Options {
	if o.Before == nil {
		o.Before = func(int, Request) {}
	}
	if o.After == nil {
		o.After = func(int, Request) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// check refuses settings that no board can have.
func (b Board) check(server netip.AddrPort) (family, error) {
	fam, err := b.family()
	if err != nil {
		return fam, err
	}
	if err := b.Model.check(); err != nil {
		return fam, err
	}
	switch {
	case !server.IsValid() || server.Port() == 0:
		return fam, fmt.Errorf("server %q is not an address with a port", server)
	case b.Local.IsValid() && b.Local.Is4() != server.Addr().Is4():
		return fam, fmt.Errorf("local address %s cannot reach server %s", b.Local, server)
	case b.Style != StyleA && b.Style != StyleB && b.Style != StyleC:
		return fam, fmt.Errorf("probe style %q is none of A, B, C", b.Style)
	case b.FileTimeout < 0 || b.ResendEvery < 0 || b.RetryWait < 0:
		return fam, fmt.Errorf("a time limit of the board is negative")
	}
	if err := b.Network.check(); err != nil {
		return fam, err
	}
	return fam, b.checkPrefix()
}

func (b Board) checkPrefix() error {
	switch b.Prefix {
	case PrefixSerial:
		return nil
	case PrefixString:
		if n := len(b.PrefixString); n > maxPrefixString {
			return fmt.Errorf("prefix %q has %d characters, a board takes %d at most", b.PrefixString, n, maxPrefixString)
		}
		return nil
	case PrefixMAC:
		if len(b.MAC) != 6 {
			return fmt.Errorf("prefix mode mac needs a MAC address of 6 bytes, not %q", b.MAC)
		}
		return nil
	}
	return fmt.Errorf("prefix mode %q is none of serial, string, mac", b.Prefix)
}

// prefix is what the bootloader puts before names (format strings in its binary).
func (b Board) prefix() string {
	switch b.Prefix {
	case PrefixString:
		return b.PrefixString
	case PrefixMAC:
		m := b.MAC
		return fmt.Sprintf("%02x-%02x-%02x-%02x-%02x-%02x/", m[0], m[1], m[2], m[3], m[4], m[5])
	default:
		return fmt.Sprintf("%08x/", b.Serial)
	}
}
