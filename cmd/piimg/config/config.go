// Package config reads the operator's configuration file: what belongs to a machine or to
// those who run it, and not to a recipe or a store.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/BurntSushi/toml"
)

// Config is the file. Its zero value is what holds without one.
type Config struct {
	Serve  Serve             `toml:"serve"`
	TFTP   TFTP              `toml:"tftp"`
	Build  Build             `toml:"build"`
	Sign   Sign              `toml:"sign"`
	Policy map[string]Policy `toml:"policy"` // by environment; "*" for those without one
}

// Serve is the [serve] table.
type Serve struct {
	TFTP      string            `toml:"tftp"`       // address to listen on; "" for none
	HTTP      string            `toml:"http"`       // address to listen on; "" for none
	HTTPS     string            `toml:"https"`      // address to listen on; "" for none
	Cert      string            `toml:"cert"`       // file with the certificate for it, PEM
	Key       string            `toml:"key"`        // file with the key of that, PEM
	Default   string            `toml:"default"`    // environment of boards that nobody has set; "" refuses them
	Cache     string            `toml:"cache"`      // folder for images
	CacheSize Size              `toml:"cache_size"` // most that they may have there; 0: as much as the disk allows
	Blksize   int               `toml:"blksize"`    // largest TFTP block, in bytes
	Addresses map[string]string `toml:"addresses"`  // IP address to board, for clients that do not say who they are
	URL       string            `toml:"url"`        // where boards find this front end over HTTP; "" is found out
	SecureURL string            `toml:"https_url"`  // where they find it over HTTPS
	Handover  Duration          `toml:"handover"`   // how long after its boot has begun a board is handed its secret files over HTTPS; 0: never
	Plain     bool              `toml:"plain"`      // nothing is made for a board: files are as in the image
	NoShare   bool              `toml:"no_share"`   // other front ends may not read the store from here
	Rule      []Rule            `toml:"rule"`       // for boards that have not been told anything; the first one that fits
	Network   []Place           `toml:"network"`    // after those, the smallest one
	File      []File            `toml:"file"`       // boards' own files

	Limits TFTP `toml:"-"` // the [tftp] table, where it is wanted together with this one
}

// Build is the [build] table.
type Build struct {
	Scope string `toml:"scope"` // trust scope of builds on this machine; "" for the trusted one
}

// Load reads file. A key that is not known is an error. Where there is no such file and
// optional is set, the zero Config comes back.
func Load(file string, optional bool) (Config, error) {
	var c Config
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && optional {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	md, err := toml.Decode(string(text), &c)
	if err != nil {
		return c, fmt.Errorf("%s: %w", file, err)
	}
	if unknown := md.Undecoded(); len(unknown) > 0 {
		keys := make([]string, len(unknown))
		for n, k := range unknown {
			keys[n] = k.String()
		}
		return c, fmt.Errorf("%s: unknown key %s", file, strings.Join(keys, ", "))
	}
	where := tables(file, string(text), "serve.file")
	for n := range c.Serve.File {
		c.Serve.File[n].Where = where(n)
	}
	if err := c.Serve.check(); err != nil {
		return c, fmt.Errorf("%s: %w", file, err)
	}
	if err := c.check(); err != nil {
		return c, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

// check says what is wrong with a value that no type can refuse.
func (s Serve) check() error {
	for n, r := range s.Rule {
		if err := r.check(); err != nil {
			return fmt.Errorf("serve.rule %d: %w", n+1, err)
		}
		if len(r.Labels) == 0 {
			return fmt.Errorf("serve.rule %d: it has no labels; serve.default is for all boards", n+1)
		}
		if r.Target == (Target{}) {
			return fmt.Errorf(`serve.rule %d: say what its boards get: env = "prod", mode = "local" or mode = "off"`, n+1)
		}
	}
	for _, n := range s.Network {
		if err := n.check(); err != nil {
			return fmt.Errorf("serve.network %s: %w", n.Prefix, err)
		}
		if !n.Prefix.IsValid() {
			return errors.New(`serve.network: say which, such as prefix = "10.1.0.0/16"`)
		}
	}
	for addr := range s.Addresses {
		if _, err := netip.ParseAddr(addr); err != nil {
			return fmt.Errorf("serve.addresses: %q is no IP address such as 192.0.2.7", addr)
		}
	}
	for _, f := range s.File {
		_, err := f.Bits()
		_, _, err2 := f.IDs()
		if err := errors.Join(err, err2); err != nil {
			return err
		}
	}
	return nil
}
