package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"piimg/cmd/piimg/config"
	"piimg/store/env"
	"piimg/store/sign"
)

// config is the configuration file and its path. Where there is none at the usual place, or
// no such place, as for services of the system, it says nothing.
func (a *app) config() (config.Config, string, error) {
	file, optional := cmp.Or(a.configFile, a.getenv("PIIMG_CONFIG")), false
	if file == "" {
		dir, err := a.dir("XDG_CONFIG_HOME", ".config")
		if err != nil {
			return config.Config{}, "", nil // there is none
		}
		file, optional = filepath.Join(dir, "config.toml"), true
	}
	c, err := config.Load(file, optional)
	return c, file, err
}

// beside is a path that the configuration file names.
func (a *app) beside(configFile, path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		return filepath.Join(a.getenv("HOME"), rest)
	}
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(configFile), path)
}

// keyFlag is --key of a command that signs.
func (a *app) keyFlag(c *cobra.Command) {
	c.Flags().StringVar(&a.key, "key", "", "key to sign with: a private key file, or a public one whose private half your agent has (default: $PIIMG_KEY, or key in [sign] of the configuration file)")
}

// keyFile is the key to sign with, "" for none.
func (a *app) keyFile() (string, error) {
	if file := cmp.Or(a.key, a.getenv("PIIMG_KEY")); file != "" {
		return file, nil
	}
	c, file, err := a.config()
	return a.beside(file, c.Sign.Key), err
}

// signer opens the key to sign with, and is nil where there is none.
func (a *app) signer(ctx context.Context) (sign.Signer, error) {
	file, err := a.keyFile()
	if err != nil || file == "" {
		return nil, err
	}
	s, err := sign.Open(ctx, file, a.getenv("SSH_AUTH_SOCK"), func() ([]byte, error) { return a.passphrase("passphrase of " + file) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint(fmt.Errorf("open the key: %w", err), "piimg key new %s makes one", file)
	}
	if err != nil {
		return nil, fmt.Errorf("open the key: %w", err)
	}
	return s, nil
}

// mustSign is the key to sign with, which there has to be.
func (a *app) mustSign(ctx context.Context) (sign.Signer, error) {
	s, err := a.signer(ctx)
	if err == nil && s == nil {
		return nil, hint(errors.New("there is no key to sign with"), "say which one with --key, PIIMG_KEY or key in [sign] of the configuration file; piimg key new FILE makes one")
	}
	return s, err
}

const passphraseVariable = "PIIMG_KEY_PASSPHRASE"

// passphrase is what the environment says, or else what is typed at the terminal.
func (a *app) passphrase(what string) ([]byte, error) {
	if p := a.getenv(passphraseVariable); p != "" {
		return []byte(p), nil
	}
	tty, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(tty.Fd())) {
		return nil, hint(fmt.Errorf("it has a passphrase, and there is no terminal to ask for it"),
			"set %s, or let an agent have the key: ssh-add", passphraseVariable)
	}
	fmt.Fprintf(a.ui.w, "%s: ", what)
	p, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(a.ui.w)
	return p, err
}

// policies are what the configuration file asks of steps, without a key and without what is
// in the trust file.
func (a *app) policies() (env.Rules, error) {
	c, file, err := a.config()
	if err != nil {
		return env.Rules{}, err
	}
	r := env.Rules{Where: file, Policies: map[string]env.Policy{}}
	for name, p := range c.Policy {
		r.Policies[name] = env.Policy{
			From: p.From, Soak: time.Duration(p.Soak), Reason: p.Reason,
			Protected: p.Protected, Approvals: p.Approvals, Images: p.Images,
		}
	}
	r.TrustFile = a.beside(file, c.Sign.Trust)
	return r, nil
}

// rules are the policies with the trust file, without a key.
func (a *app) rules() (env.Rules, error) {
	r, err := a.policies()
	if err != nil || r.TrustFile == "" {
		return r, err
	}
	chain, err := readChain(r.TrustFile)
	if errors.Is(err, fs.ErrNotExist) {
		return r, hint(fmt.Errorf("trust file: %w", err), "piimg trust init makes one; without trust in [sign] of %s signatures are off", r.Where)
	}
	if err == nil {
		r.Trust, err = chain.Trust()
	}
	if err != nil {
		return r, hint(fmt.Errorf("trust file %s: %w", r.TrustFile, err), "piimg trust show says what is in it, piimg trust sign adds a signature")
	}
	return r, nil
}

// stepRules are the rules for a command that makes a step, with the key that signs it.
// Where signatures are off, it says so.
func (a *app) stepRules(ctx context.Context) (env.Rules, error) {
	r, err := a.rules()
	if err != nil {
		return r, err
	}
	if r.Signer, err = a.signer(ctx); err != nil {
		return r, err
	}
	switch {
	case r.Trust == nil && r.Signer == nil:
		a.ui.say("signatures are off: no trust file is configured")
	case r.Trust == nil:
		a.ui.say("signing as %s; nothing is checked: no trust file is configured", r.Signer.Key().ID())
	}
	return r, nil
}

func readChain(file string) (*sign.Chain, error) {
	doc, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return sign.ParseChain(doc)
}
