package board

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"

	"piimg/store"
)

// Details are what is known of a board beside what it runs.
type Details struct {
	Labels    map[string]string `json:"labels,omitempty"`    // what it is, for rules
	Vars      map[string]string `json:"vars,omitempty"`      // what its files are filled in with
	Also      []ID              `json:"also,omitempty"`      // other names of it: its MAC address beside its serial
	Addresses []netip.Addr      `json:"addresses,omitempty"` // that it asks from, where it asks without a name
}

// Bounds of Details. A log entry has room for all of it.
const (
	maxPairs  = 64
	maxValue  = 1024 // bytes
	maxOthers = 16
)

var (
	labelForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	varForm   = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
)

// CheckLabel says what is wrong with a label.
func CheckLabel(key, value string) error {
	if !labelForm.MatchString(key) || value != "" && !labelForm.MatchString(value) {
		return fmt.Errorf("label %q=%q: use 1 to 63 of a-z 0-9 . _ - for both, the first a letter or digit", key, value)
	}
	return nil
}

// CheckVar says what is wrong with a variable.
func CheckVar(name, value string) error {
	if !varForm.MatchString(name) {
		return fmt.Errorf("variable %q: use a small letter and up to 62 of a-z 0-9 _", name)
	}
	if len(value) > maxValue {
		return fmt.Errorf("variable %s has %d bytes, more than %d", name, len(value), maxValue)
	}
	return store.CheckLine("variable "+name, value)
}

func (d Details) check(id ID) error {
	if len(d.Labels) > maxPairs || len(d.Vars) > maxPairs || len(d.Also) > maxOthers || len(d.Addresses) > maxOthers {
		return fmt.Errorf("a board has at most %d labels and variables, and %d other names and addresses", maxPairs, maxOthers)
	}
	for k, v := range d.Labels {
		if err := CheckLabel(k, v); err != nil {
			return err
		}
	}
	for k, v := range d.Vars {
		if err := CheckVar(k, v); err != nil {
			return err
		}
	}
	for _, other := range d.Also {
		if known, err := ParseID(string(other)); err != nil || known != other || other == id {
			return fmt.Errorf("%q is no other name of board %s", other, id)
		}
	}
	for _, a := range d.Addresses {
		if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
			return fmt.Errorf("%s is no address of a board", a)
		}
	}
	return nil
}

func (d Details) equal(o Details) bool {
	return maps.Equal(d.Labels, o.Labels) && maps.Equal(d.Vars, o.Vars) && slices.Equal(d.Also, o.Also) && slices.Equal(d.Addresses, o.Addresses)
}

// sorted is d with everything in order, so that the same details are the same bytes.
func (d Details) sorted() Details {
	d.Also, d.Addresses = slices.Clone(d.Also), slices.Clone(d.Addresses)
	slices.Sort(d.Also)
	slices.SortFunc(d.Addresses, netip.Addr.Compare)
	d.Also, d.Addresses = slices.Compact(d.Also), slices.Compact(d.Addresses)
	return d
}

// over is a with what o leaves as it is in head.
func (o Options) over(a, head Assignment) Assignment {
	if o.Details == nil {
		a.Details = head.Details
	}
	if o.Keep {
		a.Mode, a.Env, a.Image = head.Mode, head.Env, head.Image
	}
	return a
}

// IsZero says whether nothing is known.
func (d Details) IsZero() bool {
	return len(d.Labels)+len(d.Vars)+len(d.Also)+len(d.Addresses) == 0
}
