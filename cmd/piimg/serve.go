package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"piimg/cmd/piimg/config"
	"piimg/store/serve"
)

func newServe(a *app) *cobra.Command {
	var flags config.Serve
	var debug, check bool
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve boards over TFTP and HTTP",
		Long: `serve answers boards from a local, verified copy of the images that they run. A board is
known by the folder it asks below (the last 8 digits of its serial, or its MAC address)
and gets, from its first file to its kernel, the files of one image.

    /<board>/<file>              what the board runs
    /env/<env>/<file>            what an environment runs
    /by-digest/sha256:…/<file>   that image, for ever

What a board has been told itself (piimg board set) goes before the first rule in the
configuration file that fits its labels, that before the smallest network that it is in, and
that before the default environment; without any it gets nothing. piimg whatif says which it
is.

Each board's cmdline.txt says what it runs (piimg.image=), where this front end is
(piimg.url=) and a token of this boot (piimg.token=); templates in cmdline.txt and config.txt
are filled in with the board's variables, and its own files ([[serve.file]]) follow the
initramfs. --plain adds nothing.

TFTP and plain HTTP hide nothing from anybody on the network: put no secret into an image.
Files that are marked secret are left out, unless a [[serve.network]] says secrets = true.
With --handover a board fetches them itself, once in a boot, with its token over HTTPS. That
keeps them from who only listens, not from who boots in the board's name.

--check looks at the configuration file and tries to make the files of every known board, as
a front end does when a board asks. Run it before a restart. A front end that runs says the
same in its log, and goes on with what was known of a board at its last boot.

On SIGHUP the front end reads its configuration file again: default, addresses, rule, network
and file of [serve] hold for boots that begin from then on, the rest at the next start. Where
something is wrong with the file, what held before goes on to hold.` + "\n" + exitCodes,
		Example: `  piimg serve --tftp :69 --http :8080 --default prod
  piimg serve --check
  piimg serve --tftp 127.0.0.1:6969        # without root`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if check {
				return a.checkServe(cmd.Context(), flags)
			}
			return runServe(cmd.Context(), a, flags, debug)
		},
	}
	f := c.Flags()
	f.StringVar(&flags.TFTP, "tftp", "", "address to serve TFTP at, such as :69")
	f.StringVar(&flags.HTTP, "http", "", "address to serve HTTP at, such as :8080")
	f.StringVar(&flags.HTTPS, "https", "", "address to serve HTTPS at, such as :8443, with --cert and --key")
	f.StringVar(&flags.Cert, "cert", "", "certificate for HTTPS and those that signed it, PEM")
	f.StringVar(&flags.Key, "key", "", "its private key, PEM; both are read again when they change")
	f.StringVar(&flags.Default, "default", "", "environment of boards that nobody has set")
	f.StringVar(&flags.Cache, "cache", "", "folder for images that are being served")
	f.Var(&flags.CacheSize, "cache-size", "most that they may have there, such as 20GB (default: as much as the disk allows)")
	f.IntVar(&flags.Blksize, "blksize", 0, "largest TFTP block in bytes (default 1468)")
	f.StringVar(&flags.URL, "url", "", "where boards find this front end over HTTP (default: the address that answers them)")
	f.Var(&flags.Handover, "handover", "hand secret files that are left out to a board once, with its token over HTTPS, so long after its boot began, such as 5m (default: never)")
	f.BoolVar(&flags.Plain, "plain", false, "serve files as in the image: add nothing for a board")
	f.BoolVar(&flags.NoShare, "no-share", false, "do not let other front ends read the store below /store/")
	f.BoolVar(&debug, "debug", false, "log every transfer")
	f.BoolVar(&check, "check", false, "serve nothing: look at the configuration and at what each board would get, and say what is wrong")
	return c
}

// neverRun is said of an environment that a configuration names.
const neverRun = "%s has never run an image: boards get nothing until piimg promote IMAGE %s"

func runServe(ctx context.Context, a *app, flags config.Serve, debug bool) error {
	c, err := a.servable(flags)
	if err != nil {
		return err
	}
	if c.TFTP == "" && c.HTTP == "" && c.HTTPS == "" {
		return hint(usageError{errors.New("serve: neither --tftp nor --http is given")}, "piimg serve --tftp :69 --http :8080")
	}
	s, err := a.attach(ctx, c.Cache)
	if err != nil {
		return err
	}
	if s.guard, err = a.guard(); err != nil {
		return err
	}
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(a.ui.w, &slog.HandlerOptions{Level: level}))
	f, err := openFrontEnd(s, c, log)
	if err != nil {
		return listenHint(err)
	}
	if c.Default == "" {
		a.ui.warn("no --default: boards get nothing that neither piimg board set nor a rule or network of the configuration file names")
	} else if _, err := s.Head(ctx, c.Default, serve.Head{}); errors.Is(err, fs.ErrNotExist) {
		a.ui.warn(neverRun, c.Default, c.Default)
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	f.also = []func(context.Context) error{
		(&inUseReporter{store: s, front: f.front, name: frontName(c.Cache), log: log, now: a.now}).run,
		func(ctx context.Context) error { return a.reload(ctx, hangup, f.front, c, flags, log) },
	}
	f.announce(a)
	return f.run(ctx)
}

// servable is the configuration file with the flags over it, if a front end would start with it
// as far as that can be seen beforehand.
func (a *app) servable(flags config.Serve) (config.Serve, error) {
	c, err := a.serveConfig(flags)
	if err != nil {
		return c, err
	}
	for flag, addr := range map[string]string{"--tftp": c.TFTP, "--http": c.HTTP, "--https": c.HTTPS} {
		if _, err := net.ResolveTCPAddr("tcp", addr); err != nil && addr != "" {
			return c, hint(usageError{fmt.Errorf("%s: %w", flag, err)}, "such as :69, or 127.0.0.1:6969 for a trial")
		}
	}
	for key, text := range map[string]string{"url": c.URL, "https_url": c.SecureURL} {
		if text != "" && !isWeb(text) {
			return c, usageError{fmt.Errorf("%s: %q is no URL such as http://192.0.2.1:8080", key, text)}
		}
	}
	policy, err := policyOf(c)
	if err == nil {
		err = policy.Check(fleet{})
	}
	return c, cmp.Or(err, tftpConfig(c, nil).Check())
}

// serveConfig is the configuration file with the flags over it.
func (a *app) serveConfig(flags config.Serve) (config.Serve, error) {
	whole, file, err := a.config()
	if err != nil {
		return config.Serve{}, err
	}
	c := whole.Serve
	c.Cert, c.Key, c.Cache = a.beside(file, c.Cert), a.beside(file, c.Key), a.beside(file, c.Cache)
	for n := range c.File {
		c.File[n].From = a.beside(file, c.File[n].From)
	}
	c.Limits = whole.TFTP
	c.TFTP = cmp.Or(flags.TFTP, c.TFTP)
	c.HTTP = cmp.Or(flags.HTTP, c.HTTP)
	c.HTTPS = cmp.Or(flags.HTTPS, c.HTTPS)
	c.Cert, c.Key = cmp.Or(flags.Cert, c.Cert), cmp.Or(flags.Key, c.Key)
	c.Default = cmp.Or(flags.Default, c.Default)
	c.Cache = cmp.Or(flags.Cache, c.Cache)
	c.URL = cmp.Or(flags.URL, c.URL)
	c.Handover = cmp.Or(flags.Handover, c.Handover)
	c.Plain, c.NoShare = c.Plain || flags.Plain, c.NoShare || flags.NoShare
	c.CacheSize = cmp.Or(flags.CacheSize, c.CacheSize)
	c.Blksize = cmp.Or(flags.Blksize, c.Blksize)
	if c.Cache == "" {
		dir, err := a.cacheDir()
		if err != nil {
			return config.Serve{}, err
		}
		c.Cache = filepath.Join(dir, "serve")
	}
	return c, nil
}

// listenHint says what helps against the two usual troubles of a server that starts.
func listenHint(err error) error {
	switch {
	case errors.Is(err, serve.ErrInUse):
		return hint(err, "give each piimg serve a --cache of its own")
	case errors.Is(err, os.ErrPermission):
		return hint(err, "ports below 1024 need root or CAP_NET_BIND_SERVICE; another port works for a trial")
	case errors.Is(err, syscall.EADDRINUSE):
		return hint(err, "something else listens there: ss -lnup shows it for TFTP, ss -lntp for HTTP")
	}
	return err
}
