package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"piimg/store"
)

// Sign is the [sign] table. Paths in it are relative to the file's folder, or begin with ~/.
type Sign struct {
	Key   string `toml:"key"`   // private key, or public key of which an agent has the private half; "" signs nothing
	Trust string `toml:"trust"` // trust file; "" takes everything unsigned
}

// Policy is a [policy.<environment>] table: what its steps have to fulfil.
type Policy struct {
	From      []string `toml:"from"`      // environments that images come from; none: any image
	Soak      Duration `toml:"soak"`      // how long one of them has to have run an image
	Reason    bool     `toml:"reason"`    // every step says why
	Protected bool     `toml:"protected"` // a forced rollback needs a second approval
	Approvals int      `toml:"approvals"` // keys that have to sign a promotion; 0 is 1, where [sign] has a trust file
	Images    []string `toml:"images"`    // roles that have to have signed an image; absent: publisher, if anybody is that
}

// Duration is a time such as 90m, 24h or 7d.
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	if days, ok := strings.CutSuffix(string(text), "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			*d = Duration(time.Duration(n) * 24 * time.Hour)
			return nil
		}
	}
	got, err := time.ParseDuration(string(text))
	if err != nil || got < 0 {
		return fmt.Errorf("duration %q: use a number with s, m, h or d, such as 90m, 24h or 7d", text)
	}
	*d = Duration(got)
	return nil
}

// Set reads a duration from a flag.
func (d *Duration) Set(text string) error { return d.UnmarshalText([]byte(text)) }

// String is the duration, and nothing for 0.
func (d *Duration) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

// Type is what help calls it.
func (*Duration) Type() string { return "duration" }

// check refuses what contradicts itself.
func (c Config) check() error {
	for _, name := range slices.Sorted(maps.Keys(c.Policy)) {
		if err := c.Policy[name].check(name, c.Sign); err != nil {
			return fmt.Errorf("policy.%s%w", name, err)
		}
	}
	return nil
}

// check is an error that starts with the key it is about, after a dot.
func (p Policy) check(name string, s Sign) error {
	if err := store.CheckEnv(name); err != nil && name != "*" {
		return fmt.Errorf(": %w", err)
	}
	for _, from := range p.From {
		if err := store.CheckEnv(from); err != nil {
			return fmt.Errorf(".from: %w", err)
		}
	}
	for _, role := range p.Images {
		if role != "builder" && role != "publisher" {
			return fmt.Errorf(".images: role %q is neither builder nor publisher", role)
		}
	}
	switch {
	case p.Soak > 0 && len(p.From) == 0:
		return fmt.Errorf(".soak: say in which environments, with from")
	case p.Approvals < 0:
		return fmt.Errorf(".approvals: %d is less than none", p.Approvals)
	case p.Approvals > 0 && s.Trust == "":
		return fmt.Errorf(".approvals: an approval is a signature, and [sign] names no trust file that says whose count")
	case len(p.Images) > 0 && s.Trust == "":
		return fmt.Errorf(".images: [sign] names no trust file that says whose signatures count")
	}
	return nil
}
