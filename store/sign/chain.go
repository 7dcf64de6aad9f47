package sign

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"piimg/store"
)

// Chain is a trust file: every version of it that there was, each signed by enough root
// keys of the one before and the first by its own. The last may still wait for signatures,
// and then does not count.
//
// A file is one line for each version, which is an envelope like those of logs.
type Chain struct {
	versions []store.Entry
	current  Trust
	pending  *Trust
}

// maxTrustLen bounds a trust file, in bytes.
const maxTrustLen = 4 << 20

// ParseChain reads a trust file and checks every version. The error says which does not
// hold, and wraps store.ErrCorrupt where the bytes are to blame.
func ParseChain(doc []byte) (*Chain, error) {
	if len(doc) > maxTrustLen {
		return nil, fmt.Errorf("%d bytes are more than a trust file has: %w", len(doc), store.ErrCorrupt)
	}
	c := &Chain{}
	for line := range bytes.Lines(doc) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		if c.pending != nil {
			return nil, fmt.Errorf("version %d follows one that has not enough signatures: %w", c.pending.Seq+1, store.ErrCorrupt)
		}
		if err := c.add(line); err != nil {
			return nil, fmt.Errorf("version %d: %w", len(c.versions)+1, err)
		}
	}
	if len(c.versions) == 0 {
		return nil, fmt.Errorf("no version is in it: %w", store.ErrCorrupt)
	}
	return c, nil
}

// add checks and adds one version.
func (c *Chain) add(line []byte) error {
	e, link, err := store.DecodeEntry(line)
	if err != nil {
		return err
	}
	if want := c.next(); link != want {
		return fmt.Errorf("it says that it is version %d after %q, it would be version %d after %q: %w",
			link.Seq, link.Prev.Short(), want.Seq, want.Prev.Short(), store.ErrCorrupt)
	}
	t, err := decodeTrust(e)
	if err != nil {
		return err
	}
	c.versions = append(c.versions, e)
	if c.verdict(t, e).Need(c.threshold(t), Root) != nil {
		c.pending = &t
		return nil
	}
	c.current = t
	return nil
}

func decodeTrust(e store.Entry) (Trust, error) {
	dec := json.NewDecoder(bytes.NewReader(e.Payload))
	dec.DisallowUnknownFields() // a limit that an old piimg does not know must not be ignored
	var t Trust
	if err := dec.Decode(&t); err != nil {
		return Trust{}, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	t.Digest = e.Digest
	if err := t.check(); err != nil {
		return Trust{}, err
	}
	return t, nil
}

// next is the place of the version after the current one.
func (c *Chain) next() store.Link {
	return store.Link{Seq: c.current.Seq + 1, Prev: c.current.Digest}
}

// signers is the version whose root keys have to sign t: the one before, and t itself
// where it is the first.
func (c *Chain) signers(t Trust) *Trust {
	if c.current.Seq == 0 {
		return &t
	}
	return &c.current
}

func (c *Chain) threshold(t Trust) int { return c.signers(t).Threshold }

func (c *Chain) verdict(t Trust, e store.Entry) Verdict {
	return c.signers(t).Check(Claim{TrustNamespace, e.Payload, Root, t.Time, t.Time}, e.Sigs)
}

// Trust is the newest version that has enough signatures. The error says what the first
// one lacks where there is none.
func (c *Chain) Trust() (*Trust, error) {
	if c.current.Seq == 0 {
		return nil, fmt.Errorf("version 1: %w", c.Missing())
	}
	t := c.current
	return &t, nil
}

// Pending is the version that waits for signatures, nil if there is none.
func (c *Chain) Pending() *Trust { return c.pending }

// Missing is an error that says what the pending version lacks; nil if there is none.
func (c *Chain) Missing() error {
	if c.pending == nil {
		return nil
	}
	return c.verdict(*c.pending, c.versions[len(c.versions)-1]).Need(c.threshold(*c.pending), Root)
}

// Versions are all versions, the oldest first, with the pending one.
func (c *Chain) Versions() []Trust {
	var all []Trust
	for _, e := range c.versions {
		t, _ := decodeTrust(e) // it was checked when it was added
		all = append(all, t)
	}
	return all
}

// Extends says by nil that every complete version of old is in c: nobody has gone back, and
// nobody has written another history.
func (c *Chain) Extends(old *Chain) error {
	for n, e := range old.versions {
		if old.pending != nil && n == len(old.versions)-1 {
			break
		}
		if n >= len(c.versions) || c.versions[n].Digest != e.Digest {
			return fmt.Errorf("version %d is not the one that was known before: %w", n+1, store.ErrCorrupt)
		}
	}
	if c.current.Seq < old.current.Seq {
		return fmt.Errorf("it ends at version %d, version %d was known before: %w", c.current.Seq, old.current.Seq, store.ErrCorrupt)
	}
	return nil
}

// NewChain is a trust file without a version; Propose makes the first one.
func NewChain() *Chain { return &Chain{} }

// Propose makes t the next version, without signatures. A pending one is dropped.
func (c *Chain) Propose(t Trust, now time.Time) error {
	c.drop()
	t.Link, t.Version, t.Time = c.next(), trustVersion, now.UTC().Truncate(time.Second)
	payload, err := json.Marshal(t)
	if err != nil {
		return err
	}
	doc, err := store.EncodeEntry(payload, nil)
	if err != nil {
		return err
	}
	return c.add(doc)
}

func (c *Chain) drop() {
	if c.pending != nil {
		c.versions, c.pending = c.versions[:len(c.versions)-1], nil
	}
}

// Payload is what has to be signed, in TrustNamespace, for the pending version.
func (c *Chain) Payload() ([]byte, error) {
	if c.pending == nil {
		return nil, errors.New("no version of the trust file waits for signatures")
	}
	return c.versions[len(c.versions)-1].Payload, nil
}

// Sign adds a signature to the pending version. One that does not count is refused.
func (c *Chain) Sign(sig store.Sig) error {
	payload, err := c.Payload()
	if err != nil {
		return err
	}
	p, e := *c.pending, c.versions[len(c.versions)-1]
	if v := c.verdict(p, store.Entry{Payload: payload, Sigs: []store.Sig{sig}}); len(v.Keys) == 0 {
		return v.Need(1, Root)
	}
	same := func(s store.Sig) bool { return s.KeyID == sig.KeyID }
	doc, err := store.EncodeEntry(payload, append(slices.DeleteFunc(slices.Clone(e.Sigs), same), sig))
	if err != nil {
		return err
	}
	c.drop()
	return c.add(doc)
}

// Bytes is the file.
func (c *Chain) Bytes() ([]byte, error) {
	var b bytes.Buffer
	for _, e := range c.versions {
		doc, err := store.EncodeEntry(e.Payload, e.Sigs)
		if err != nil {
			return nil, err
		}
		if store.Sum(doc) != e.Digest {
			return nil, fmt.Errorf("version %d would be written with other bytes than it was read with: %w", e.Seq, store.ErrCorrupt)
		}
		b.Write(append(doc, '\n'))
	}
	return b.Bytes(), nil
}
