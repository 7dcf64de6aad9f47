// Package web serves the files of a front end over HTTP, for reading, for clients as
// small as the one in a Raspberry Pi's EEPROM: an exact length, one range, and never a
// redirect, a chunk or a compressed byte.
package web

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"piimg/store"
	"piimg/store/serve"
)

// Front decides what a request gets, and says whether it can; a serve.Front is one.
type Front interface {
	Open(context.Context, serve.Request) (*serve.File, error)
	Ready() error

	// Blob, Manifest, Referrers and Environments are for /v2/.
	Blob(context.Context, serve.Request, store.Digest) (*serve.File, error)
	Manifest(context.Context, store.Digest) ([]byte, error)
	Referrers(context.Context, store.Digest) ([]store.Referrer, error)
	Environments() []serve.Environment
}

// Config is what a Server is made of. The zero value works.
type Config struct {
	Addr        string        // to listen at; ":8080"
	Connections int           // at a time; further ones wait; 1024
	PerClient   int           // of them, from one address; further ones are hung up on; 256
	Stall       time.Duration // a transfer of which the client takes no byte for so long is ended; 60 s
	Idle        time.Duration // an open connection without a request is closed; 60 s
	Grace       time.Duration // for transfers in progress when the server stops; 5 s
	Metrics     http.Handler  // answers /metrics; nil for none
	Share       http.Handler  // answers what is below /store/, without that; nil for none
	Report      http.Handler  // answers serve.ReportPath and what is below; nil for none
	TLS         *tls.Config   // serves HTTPS; nil for HTTP
	Log         *slog.Logger  // nil is silent
}

// Defaults of Config, and limits that nobody needs to change.
const (
	defaultAddr        = ":8080"
	defaultConnections = 1024
	defaultPerClient   = 256
	defaultStall       = time.Minute
	defaultIdle        = time.Minute
	defaultGrace       = 5 * time.Second

	headerTimeout = 5 * time.Second
	maxHeader     = 8 << 10 // bytes
)

// Server is an HTTP server that listens. Its Serve has to be called once.
type Server struct {
	cfg  Config
	name string // of the protocol
	ln   net.Listener
	http *http.Server
}

// Listen binds the address of cfg. From then on requests wait for Serve.
func Listen(cfg Config, f Front) (*Server, error) {
	cfg.Addr = cmp.Or(cfg.Addr, defaultAddr)
	cfg.Connections = cmp.Or(cfg.Connections, defaultConnections)
	cfg.PerClient = cmp.Or(cfg.PerClient, defaultPerClient)
	cfg.Stall = cmp.Or(cfg.Stall, defaultStall)
	cfg.Idle = cmp.Or(cfg.Idle, defaultIdle)
	cfg.Grace = cmp.Or(cfg.Grace, defaultGrace)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Connections < 0 || cfg.PerClient < 0 || cfg.Stall < 0 || cfg.Idle < 0 || cfg.Grace < 0 {
		return nil, errors.New("http: a limit or a time is negative")
	}
	ln, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	// There is no time limit for a whole answer: a slow board may take minutes, as
	// long as it takes something.
	name := "http"
	if cfg.TLS != nil {
		name = "https"
	}
	return &Server{cfg: cfg, name: name, ln: limit(ln, cfg.Connections, cfg.PerClient), http: &http.Server{
		Handler:                      Handler(cfg, f),
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  headerTimeout, // requests have no body
		IdleTimeout:                  cfg.Idle,
		MaxHeaderBytes:               maxHeader,
		ErrorLog:                     slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
		DisableGeneralOptionsHandler: true,
	}}, nil
}

// Addr is the address that the server listens at.
func (s *Server) Addr() netip.AddrPort { return s.ln.Addr().(*net.TCPAddr).AddrPort() }

// Serve answers requests until ctx ends. Then it takes no more, gives transfers in
// progress the grace time, ends those that are left, and returns nil.
func (s *Server) Serve(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.listen() }()
	select {
	case err := <-served:
		return fmt.Errorf("%s: %w", s.name, err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Grace)
	defer cancel()
	if s.http.Shutdown(grace) != nil {
		s.http.Close()
	}
	<-served
	return nil
}

// listen accepts connections. HTTP/2 is not offered: boards and caches have no use for it,
// and its streams would go round the limits for connections.
func (s *Server) listen() error {
	if s.cfg.TLS == nil {
		return s.http.Serve(s.ln)
	}
	return s.http.Serve(tls.NewListener(s.ln, s.cfg.TLS))
}

// Close gives up the address of a server that is not to serve after all.
func (s *Server) Close() error { return s.ln.Close() }
