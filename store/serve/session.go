package serve

import (
	"net/netip"
	"path"
	"strings"
	"time"

	"piimg/store"
)

// session is one boot of one board: everything that the board gets in it comes from
// one image. The exported fields are what outlives a restart of the front end.
type session struct {
	Image   store.Digest `json:"image"`
	Env     string       `json:"env,omitempty"`
	Why     string       `json:"why,omitempty"` // which rule has decided that
	Opened  time.Time    `json:"opened"`
	Touched time.Time    `json:"touched"` // the last sign of life
	First   string       `json:"first"`   // the first file that was asked for
	Second  bool         `json:"second,omitempty"`
	Done    bool         `json:"done,omitempty"` // the kernel was delivered to its last byte

	// What its files are made with: the same from the first to the last.
	Told  *Assignment `json:"told,omitempty"`
	Addr  netip.Addr  `json:"addr,omitzero"`
	URL   string      `json:"url,omitempty"`   // of this front end, for the board
	Token string      `json:"token,omitempty"` // by which the board shows that it is in this session; a secret

	Secrets string `json:"secrets,omitempty"` // where the board is handed its secret files, "" where it is not
	Spent   bool   `json:"spent,omitempty"`   // it was
	Alive   bool   `json:"alive,omitempty"`   // it has said that it is up
	Warning string `json:"warning,omitempty"` // what is wrong with its files

	policy   *Policy                 // that it began with; nil after a restart
	rendered map[string]store.Digest // files that were made for it, as they were logged

	active int       // transfers in progress
	saved  time.Time // Touched of the saved copy
}

// opening is the session of a board at addr that begins under p with the decision d. Where
// that names no image, the caller says which one the environment runs.
func (c *Config) opening(p *Policy, d Decision, addr netip.Addr) *session {
	s := &session{Image: d.Image, Why: d.Why, Told: &d.Assignment, Addr: addr, policy: p}
	if d.Image.IsZero() {
		s.Env = d.Env
	}
	if c.URL != nil {
		s.URL = c.URL(addr)
	}
	c.sayWhereSecretsAre(p, s)
	return s
}

// sayWhereSecretsAre tells s from where the board gets the files that are withheld from it.
func (c *Config) sayWhereSecretsAre(p *Policy, s *session) {
	s.Secrets = ""
	if c.Handover <= 0 || c.SecretsURL == nil || len(c.withheld(p, s)) == 0 {
		return
	}
	s.Secrets = c.SecretsURL(s.Addr)
}

// withheld are the files that the board of s does not get because they are secret.
func (c *Config) withheld(p *Policy, s *session) []OwnFile {
	if c.Plain {
		return nil
	}
	_, withheld := p.filesFor(s.told().Labels, p.Secrets(s.Addr))
	return withheld
}

// told is what the board was told to run, as far as that was kept.
func (s *session) told() Assignment {
	if s.Told == nil {
		return Assignment{}
	}
	return *s.Told
}

// over says whether a request for name is no longer part of the boot s.
//
// A board says nowhere that it starts over. It shows by asking for its first file
// again, but the firmware reads some files several times in one boot: a Pi 4 asks for
// start4.elf twice in its first stage and never in its second, and for config.txt four
// times over both; a Pi 5, whose first file is config.txt, reads that until just before
// the kernel. So a loader begins a new boot once the second stage was seen, config.txt
// once the kernel was delivered. After the limit the first file does in any case: no
// boot takes that long, but a board that fails and tries for ever does.
func (s *session) over(name string, now time.Time, idle, limit time.Duration) bool {
	again := name == s.First || isLoader(name)
	switch {
	case s.active == 0 && now.Sub(s.Touched) >= idle:
		return true
	case s.Done:
		return again || name == "config.txt"
	case s.Second && isLoader(name):
		return true
	}
	return again && now.Sub(s.Opened) >= limit
}

// asked takes note of a request that belongs to s.
func (s *session) asked(name string, now time.Time) {
	s.Touched = now
	if isFixup(name) {
		s.Second = true
	}
}

// isLoader says whether the file at name is a stage that only an earlier stage asks
// for: the boot ROM, bootcode.bin or the EEPROM. None of those runs twice in a boot.
func isLoader(name string) bool {
	base := path.Base(name)
	return base == "bootcode.bin" || base == "bootsig.bin" ||
		strings.HasPrefix(base, "start") && path.Ext(base) == ".elf"
}

// isFixup says whether the file at name is the last one that the first stage asks for:
// fixup4.dat or one of its variants.
func isFixup(name string) bool {
	base := path.Base(name)
	return strings.HasPrefix(base, "fixup") && path.Ext(base) == ".dat"
}
