package serve

import (
	"fmt"
	"net/netip"
	"strings"
)

// Target is where a board's boot comes from: what an environment runs, or nothing.
type Target struct {
	Env   string `json:"env,omitempty"`
	Local bool   `json:"local,omitempty"` // its own disk: every name is not found
	Off   bool   `json:"off,omitempty"`   // it is out of service: every name is not found, and that is as it should be
}

// IsZero says whether t says nothing.
func (t Target) IsZero() bool { return t == Target{} }

// Rule is a target for boards that have all of some labels.
type Rule struct {
	Labels map[string]string
	Target
}

// fits says whether a board with these labels has all of r's.
func (r Rule) fits(labels map[string]string) bool {
	return len(r.Labels) > 0 && hasAll(labels, r.Labels)
}

func hasAll(labels, want map[string]string) bool {
	for k, v := range want {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// Network is a part of the address space, what boards in it get where nothing else says,
// and whether secrets may be sent there.
type Network struct {
	Prefix  netip.Prefix
	Secrets bool
	Target
}

// Rules say what a board gets that has not been told anything. The zero value says nothing.
type Rules struct {
	Rules    []Rule
	Networks []Network
	Default  string // environment of all others; "" refuses them
}

// Decision is what a board gets, and why.
type Decision struct {
	Assignment
	Why string // in words: which rule has decided
}

// Decide is what a board at addr gets: what it has been told itself goes before the first
// rule whose labels it has, that before the smallest network with a target that it is in,
// and that before the default. The decision of none of them is empty.
func (r Rules) Decide(a Assignment, addr netip.Addr) Decision {
	if a.told() {
		return Decision{a, "the board's own assignment"}
	}
	for n, rule := range r.Rules {
		if rule.fits(a.Labels) {
			return Decision{a.with(rule.Target), fmt.Sprintf("rule %d, labels %s", n+1, pairsText(rule.Labels))}
		}
	}
	if n, ok := r.network(addr, func(n Network) bool { return !n.Target.IsZero() }); ok {
		return Decision{a.with(n.Target), "network " + n.Prefix.String()}
	}
	if r.Default != "" {
		return Decision{a.with(Target{Env: r.Default}), "the default environment"}
	}
	return Decision{a, "no assignment, no rule for its labels or network, and no default"}
}

// Secrets says whether secrets may be sent to addr: the smallest network that it is in has
// to say so.
func (r Rules) Secrets(addr netip.Addr) bool {
	n, ok := r.network(addr, func(Network) bool { return true })
	return ok && n.Secrets
}

// network is the smallest network that addr is in and that is wanted.
func (r Rules) network(addr netip.Addr, wanted func(Network) bool) (Network, bool) {
	best, found := Network{}, false
	for _, n := range r.Networks {
		if n.Prefix.Contains(addr) && wanted(n) && (!found || n.Prefix.Bits() > best.Prefix.Bits()) {
			best, found = n, true
		}
	}
	return best, found
}

// Envs are the environments that the rules name, in order.
func (r Rules) Envs() []string {
	names := map[string]bool{r.Default: true}
	for _, rule := range r.Rules {
		names[rule.Env] = true
	}
	for _, n := range r.Networks {
		names[n.Env] = true
	}
	delete(names, "")
	return sortedKeys(names)
}

// pairsText is labels in order, for people.
func pairsText(labels map[string]string) string {
	var all []string
	for _, k := range sortedKeys(labels) {
		all = append(all, k+"="+labels[k])
	}
	return strings.Join(all, " ")
}
