package serve

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"piimg/store"
)

// Policy is what the operator says of boards. It can be replaced while a front end serves.
type Policy struct {
	Rules                           // for boards that have not been told anything
	Files     []OwnFile             // what boards get in their initramfs
	Addresses map[netip.Addr]string // board by client address, for names without a board
}

// filesFor are the files of their own that a board with these labels gets, and those that are
// withheld from it, since they are secret and it may not have secrets.
func (p *Policy) filesFor(labels map[string]string, secrets bool) (own, withheld []OwnFile) {
	for _, o := range p.Files {
		switch {
		case !hasAll(labels, o.Labels):
		case o.Secret && !secrets:
			withheld = append(withheld, o)
		default:
			own = append(own, o)
		}
	}
	return own, withheld
}

// Check says what is wrong with p.
func (p Policy) Check(fleet Fleet) error {
	_, err := p.checked(fleet)
	return err
}

// checked is p with the boards of addresses in the spelling of their ids.
func (p Policy) checked(fleet Fleet) (*Policy, error) {
	for _, name := range p.Envs() {
		if err := store.CheckEnv(name); err != nil {
			return nil, err
		}
	}
	for _, o := range p.Files {
		if err := o.Check(); err != nil {
			return nil, fmt.Errorf("a board's own file: %w", err)
		}
	}
	ids := make(map[netip.Addr]string, len(p.Addresses))
	for addr, name := range p.Addresses {
		id, ok := fleet.Board(name)
		if !ok {
			return nil, fmt.Errorf("address %s: %q is no board", addr, name)
		}
		ids[plainAddr(addr)] = id
	}
	p.Addresses = ids
	return &p, nil
}

// Replace makes p what holds for boots that begin from now on; those that have begun go on
// with what they began with. The images of environments that are new in p are fetched first,
// for as long as ctx allows. Where something is wrong with p, the one before stays.
func (f *Front) Replace(ctx context.Context, p Policy) error {
	checked, err := p.checked(f.cfg.Fleet)
	if err != nil {
		return err
	}
	for _, name := range checked.Envs() {
		if e := (&environment{name: name}); !f.hasEnv(name) {
			f.adopt(e)              // so that what is wrong with it is logged
			_, _ = f.follow(ctx, e) // and noted in e
		}
	}
	f.take(checked)
	f.mu.Lock()
	f.checked = nil
	f.mu.Unlock()
	for _, st := range f.allStations() {
		st.forgive()
	}
	return nil
}

func (f *Front) hasEnv(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.envs[name] != nil
}

// take makes p what holds, and follows its environments.
func (f *Front) take(p *Policy) {
	f.policy.Store(p)
	f.warnOfSecrets(p)
	for _, name := range p.Envs() {
		f.adopt(&environment{name: name})
	}
}

// warnOfSecrets says where secret files can be read by everybody.
func (f *Front) warnOfSecrets(p *Policy) {
	if f.cfg.Plain || !slices.ContainsFunc(p.Files, func(o OwnFile) bool { return o.Secret }) {
		return
	}
	for _, n := range p.Networks {
		if n.Secrets {
			f.log.Warn("secret files are sent to a network, where everybody can read them as they pass, or ask for them", "network", n.Prefix)
		}
	}
}

// policyOf is what holds for the boot s: what it began with, or what holds now where that was
// before a restart.
func (f *Front) policyOf(s *session) *Policy {
	if s.policy != nil {
		return s.policy
	}
	return f.policy.Load()
}
