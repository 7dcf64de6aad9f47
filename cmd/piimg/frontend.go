package main

import (
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"piimg/cmd/piimg/config"
	"piimg/store/serve"
	"piimg/store/serve/tftp"
	"piimg/store/serve/web"
)

// frontEnd is a front end with its listeners.
type frontEnd struct {
	front *serve.Front
	tftp  *tftp.Server                  // nil where TFTP is off
	web   *web.Server                   // nil where HTTP is off
	https *web.Server                   // nil where HTTPS is off
	also  []func(context.Context) error // run beside them
}

// openFrontEnd opens the cache and binds the addresses.
func openFrontEnd(s *attachment, c config.Serve, log *slog.Logger) (*frontEnd, error) {
	f := &frontEnd{}
	cfg, err := frontOf(c,
		func(board netip.Addr) string { return urlFor(c.URL, "http", f.web, board) },
		func(board netip.Addr) string { return urlFor(c.SecureURL, "https", f.https, board) })
	if err != nil {
		return nil, err
	}
	cfg.Dir, cfg.Fleet, cfg.Source, cfg.Log = filepath.Join(c.Cache, s.id), s, s, log
	if f.front, err = serve.New(cfg); err != nil {
		return nil, err
	}
	if err := f.listen(s, c, log); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// listen binds the addresses.
func (f *frontEnd) listen(s *attachment, c config.Serve, log *slog.Logger) (err error) {
	if c.TFTP != "" {
		if f.tftp, err = tftp.Listen(tftpConfig(c, log), f.front); err != nil {
			return err
		}
		f.tftp.Measure(f.front.Meter())
	}
	w := web.Config{Metrics: f.front.Metrics(), Report: f.front.Report(!c.NoShare), Log: log}
	if !c.NoShare {
		w.Share = share(f.front, s, log)
	}
	if c.HTTP != "" {
		w.Addr = c.HTTP
		if f.web, err = web.Listen(w, f.front); err != nil {
			return err
		}
	}
	w.Addr = c.HTTPS
	if w.TLS, err = httpsConfig(c); err == nil && w.TLS != nil {
		f.https, err = web.Listen(w, f.front)
	}
	return err
}

// close gives everything up that is not to serve after all.
func (f *frontEnd) close() {
	if f.tftp != nil {
		f.tftp.Close()
	}
	for _, s := range []*web.Server{f.web, f.https} {
		if s != nil {
			s.Close()
		}
	}
	f.front.Close()
}

// tftpConfig is what the file says about TFTP.
func tftpConfig(c config.Serve, log *slog.Logger) tftp.Config {
	t := tftp.Config{
		Addr: c.TFTP, BlockSize: c.Blksize, SinglePort: c.Limits.SinglePort, Window: c.Limits.Window, Log: log,
		Transfers: c.Limits.Transfers, BoardTransfers: c.Limits.BoardTransfers, Waiting: c.Limits.Waiting, Promise: int64(c.Limits.Promise),
		Timeout: time.Duration(c.Limits.Timeout), Floor: time.Duration(c.Limits.TimeoutFloor), Retries: c.Limits.Retries,
	}
	for _, n := range c.Limits.Networks {
		t.Networks = append(t.Networks, tftp.Network{Prefix: n.Prefix, Rate: int64(n.Rate)})
	}
	return t
}

// announce says where the front end listens. Scripts wait for these lines.
func (f *frontEnd) announce(a *app) {
	if f.tftp != nil {
		a.ui.say("serving TFTP at %s", f.tftp.Addr())
	}
	if f.web != nil {
		a.ui.say("serving HTTP at %s", f.web.Addr())
	}
	if f.https != nil {
		a.ui.say("serving HTTPS at %s", f.https.Addr())
	}
}

// run serves until ctx ends or a server fails.
func (f *frontEnd) run(ctx context.Context) error {
	defer f.front.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	runs := []func(context.Context) error{f.front.Run}
	if f.tftp != nil {
		runs = append(runs, f.tftp.Serve)
	}
	for _, s := range []*web.Server{f.web, f.https} {
		if s != nil {
			runs = append(runs, s.Serve)
		}
	}
	runs = append(runs, f.also...)
	done := make(chan error, len(runs))
	for _, run := range runs {
		go func() { done <- run(ctx) }()
	}
	var first error
	for range runs {
		err := <-done
		if err != nil && ctx.Err() == nil {
			first = err
		}
		cancel(err)
	}
	return first
}
