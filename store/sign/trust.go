package sign

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"piimg/store"
)

// The roles of keys. That of a promoter is of one environment: [Promoter].
const (
	Root      = "root"      // signs the next version of the trust file
	Builder   = "builder"   // signs images that it built
	Publisher = "publisher" // signs images that may be used
)

const promoter = "promoter:"

// Promoter is the role that may sign steps of the environment called env; that of "*" may
// sign those of all.
func Promoter(env string) string { return promoter + env }

// checkRole says what is wrong with the name of a role.
func checkRole(role string) error {
	switch role {
	case Root, Builder, Publisher, Promoter("*"):
		return nil
	}
	if env, ok := strings.CutPrefix(role, promoter); ok {
		return store.CheckEnv(env)
	}
	return fmt.Errorf("role %q is none of root, builder, publisher, promoter:<environment>, promoter:*", role)
}

// Key is a key of the trust file, and what it is trusted for.
type Key struct {
	Public PublicKey `json:"key"`
	Name   string    `json:"name"` // whose it is
	Roles  []string  `json:"roles"`
	From   time.Time `json:"from,omitzero"`  // not before; zero for no limit
	Until  time.Time `json:"until,omitzero"` // not from here on; zero for no limit

	Revoked time.Time `json:"revoked,omitzero"` // nothing that it signed counts, whenever that was
	Reason  string    `json:"reason,omitempty"` // of revoking it
}

// MarshalText is the key as a .pub file has it.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a line of a .pub file.
func (k *PublicKey) UnmarshalText(b []byte) error {
	key, _, err := ParsePublic(string(b))
	*k = key
	return err
}

// has says whether k may sign in role.
func (k Key) has(role string) bool {
	return slices.Contains(k.Roles, role) || strings.HasPrefix(role, promoter) && slices.Contains(k.Roles, Promoter("*"))
}

// trouble is why k does not count for what was signed at a time, as seen now; "" if it does.
func (k Key) trouble(role string, at, now time.Time) string {
	switch {
	case !k.Revoked.IsZero():
		return "the key is revoked since " + day(k.Revoked)
	case !k.has(role):
		return fmt.Sprintf("the key is not trusted as %s", role)
	case at.Before(k.From) || now.Before(k.From):
		return "the key is valid from " + day(k.From) + " on"
	case !k.Until.IsZero() && !at.Before(k.Until):
		return "the key expired on " + day(k.Until)
	}
	return ""
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

func (k Key) check() error {
	if k.Public.ssh == nil {
		return fmt.Errorf("key %q: there is no public key", k.Name)
	}
	if k.Name == "" || strings.ContainsAny(k.Name, ", ") {
		return fmt.Errorf("key %s: its name %q is empty or has a blank or a comma", k.Public.ID(), k.Name)
	}
	if err := cmp.Or(store.CheckLine("name", k.Name), store.CheckLine("reason", k.Reason)); err != nil {
		return err
	}
	if len(k.Roles) == 0 {
		return fmt.Errorf("key %s has no role", k.Name)
	}
	for _, r := range k.Roles {
		if err := checkRole(r); err != nil {
			return fmt.Errorf("key %s: %w", k.Name, err)
		}
	}
	return nil
}

// Trust says whose signatures count: one version of a trust file.
type Trust struct {
	store.Link           // place among the versions
	Version    int       `json:"v"`
	Threshold  int       `json:"threshold"` // how many root keys have to sign the next version
	Keys       []Key     `json:"keys"`
	Time       time.Time `json:"time"` // UTC, whole seconds, by the clock of who made it

	Digest store.Digest `json:"-"` // of the version's envelope
}

const trustVersion = 1

func (t *Trust) check() error {
	if t.Version != trustVersion {
		return fmt.Errorf("it has format %d, this piimg knows format %d", t.Version, trustVersion)
	}
	names, ids := map[string]bool{}, map[string]bool{}
	roots := 0
	for _, k := range t.Keys {
		if err := k.check(); err != nil {
			return err
		}
		if names[k.Name] || ids[k.Public.ID()] {
			return fmt.Errorf("key %s (%s) is there twice, by its name or by itself", k.Name, k.Public.ID())
		}
		names[k.Name], ids[k.Public.ID()] = true, true
		if k.trouble(Root, t.Time, t.Time) == "" {
			roots++
		}
	}
	if t.Threshold < 1 || t.Threshold > roots {
		return fmt.Errorf("the next version would need %d root keys to sign it, and there are %d: nobody could change the trust file any more", t.Threshold, roots)
	}
	return nil
}

// Find is the key with that name, fingerprint or public key.
func (t *Trust) Find(name string) (Key, bool) {
	n := slices.IndexFunc(t.Keys, func(k Key) bool { return k.Name == name || k.Public.ID() == name })
	if n < 0 {
		return Key{}, false
	}
	return t.Keys[n], true
}

// Any says whether a key that is not revoked has the role.
func (t *Trust) Any(role string) bool {
	return slices.ContainsFunc(t.Keys, func(k Key) bool { return k.Revoked.IsZero() && k.has(role) })
}

// Claim is what signatures are checked for.
type Claim struct {
	Namespace string
	Message   []byte
	Role      string    // that a key has to have
	Time      time.Time // at which it has to be valid; where the message has none, Now
	Now       time.Time
}

// Verdict is what signatures are worth. Each key is there once, however often it signed.
type Verdict struct {
	Keys []Key    // that count
	Bad  []string // of each other signature, why it does not
}

// Names are those of the keys that count, sorted.
func (v Verdict) Names() []string {
	names := []string{}
	for _, k := range v.Keys {
		names = append(names, k.Name)
	}
	slices.Sort(names)
	return names
}

// Need is an error unless n keys count. It says why others do not.
func (v Verdict) Need(n int, role string) error {
	if len(v.Keys) >= n {
		return nil
	}
	have := "nobody has"
	if len(v.Keys) > 0 {
		have = fmt.Sprintf("%d has (%s)", len(v.Keys), strings.Join(v.Names(), ", "))
	}
	text := fmt.Sprintf("%d with the role %s must have signed, %s", n, role, have)
	if len(v.Bad) > 0 {
		text += ": " + strings.Join(v.Bad, "; ")
	}
	return errors.New(text)
}

// Check says which of sigs count for c.
func (t *Trust) Check(c Claim, sigs []store.Sig) Verdict {
	var v Verdict
	seen := map[string]bool{}
	for _, sig := range sigs {
		key, err := Verify(sig.SSHSig, c.Namespace, c.Message)
		if err == nil && key.ID() != sig.KeyID {
			err = fmt.Errorf("a signature by %s says that it is by another key", key.ID())
		}
		if err != nil {
			v.Bad = append(v.Bad, err.Error())
			continue
		}
		if seen[key.ID()] {
			continue
		}
		seen[key.ID()] = true
		k, known := t.Find(key.ID())
		if !known {
			v.Bad = append(v.Bad, fmt.Sprintf("%s is not in the trust file", key.ID()))
		} else if why := k.trouble(c.Role, c.Time, c.Now); why != "" {
			v.Bad = append(v.Bad, fmt.Sprintf("signed by %s, but %s", k.Name, why))
		} else {
			v.Keys = append(v.Keys, k)
		}
	}
	return v
}

// Counts says whether k may sign in role now.
func (k Key) Counts(role string, now time.Time) bool { return k.trouble(role, now, now) == "" }
