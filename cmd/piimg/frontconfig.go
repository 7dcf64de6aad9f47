package main

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"piimg/cmd/piimg/config"
	"piimg/store/serve"
	"piimg/store/serve/web"
)

// frontOf is what a configuration says of a front end. Where boards find its servers over HTTP
// and HTTPS is asked of web and secure.
func frontOf(c config.Serve, web, secure func(board netip.Addr) string) (serve.Config, error) {
	policy, err := policyOf(c)
	return serve.Config{
		CacheSize: int64(c.CacheSize), Policy: policy, Plain: c.Plain, URL: web, Handover: time.Duration(c.Handover),
		SecretsURL: func(board netip.Addr) string {
			if at := secure(board); at != "" {
				return at + serve.SecretsPath
			}
			return ""
		},
	}, err
}

// policyOf is what a configuration says of boards.
func policyOf(c config.Serve) (serve.Policy, error) {
	p := serve.Policy{Rules: rulesOf(c)}
	var err error
	if p.Addresses, err = addressesOf(c); err == nil {
		p.Files, err = filesOf(c)
	}
	return p, err
}

// rulesOf are the rules of a configuration, which was checked when it was read.
func rulesOf(c config.Serve) serve.Rules {
	r := serve.Rules{Default: c.Default}
	for _, rule := range c.Rule {
		r.Rules = append(r.Rules, serve.Rule{Labels: rule.Labels, Target: targetOf(rule.Target)})
	}
	for _, n := range c.Network {
		r.Networks = append(r.Networks, serve.Network{
			Prefix: n.Prefix.Masked(), Secrets: n.Secrets, Target: targetOf(n.Target),
		})
	}
	return r
}

func targetOf(t config.Target) serve.Target {
	return serve.Target{Env: t.Env, Local: t.Mode == "local", Off: t.Mode == "off"}
}

// filesOf are the boards' own files of a configuration.
func filesOf(c config.Serve) ([]serve.OwnFile, error) {
	var all []serve.OwnFile
	for _, f := range c.File {
		o, err := ownFile(f)
		if err == nil {
			err = o.Check()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Where, err)
		}
		all = append(all, o)
	}
	return all, nil
}

func ownFile(f config.File) (serve.OwnFile, error) {
	mode, err := f.Bits()
	if err != nil {
		return serve.OwnFile{}, err
	}
	uid, gid, err := f.IDs()
	return serve.OwnFile{
		Path: f.Path, Mode: mode, UID: uid, GID: gid, Content: f.Content, From: f.From, Template: f.Template,
		Labels: f.Labels, Secret: f.Secret, Where: f.Where,
	}, err
}

// addressesOf are the boards of addresses.
func addressesOf(c config.Serve) (map[netip.Addr]string, error) {
	all := map[netip.Addr]string{}
	for text, board := range c.Addresses {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("serve.addresses: %w", err)
		}
		all[addr] = board
	}
	return all, nil
}

// isWeb says whether text is where a web server can be.
func isWeb(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}

// somewhere stands for the address of a front end that is not known. No IPv4 address is longer.
const somewhere = "front-end.example"

// urlFor says where a board finds a server: where the operator says, or else at the address
// that this host would answer the board from, unless the server listens at one of its own.
// It is nowhere, "", where the server is nil. A zero board is one whose address is not known.
func urlFor(said, scheme string, w *web.Server, board netip.Addr) string {
	if said != "" || w == nil {
		return strings.TrimSuffix(said, "/")
	}
	listen := w.Addr()
	if !listen.Addr().IsUnspecified() {
		return scheme + "://" + listen.String()
	}
	here := somewhere
	if board.IsValid() {
		// Connecting a UDP socket sends nothing, and asks for the route.
		conn, err := net.Dial("udp", netip.AddrPortFrom(board, 9).String())
		if err != nil {
			return ""
		}
		defer conn.Close()
		here = conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().String()
	}
	return scheme + "://" + net.JoinHostPort(here, strconv.Itoa(int(listen.Port())))
}
