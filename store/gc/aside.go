package gc

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"piimg/store"
)

// SetAside is something in quarantine: what a collection has removed, or damaged bytes that a
// repair has moved out of the way.
type SetAside struct {
	Key     string    `json:"key"`
	Of      string    `json:"of"` // the key that it was at
	Damaged bool      `json:"damaged"`
	Bytes   int64     `json:"bytes"`
	Since   time.Time `json:"since"`
	Goes    time.Time `json:"goes,omitzero"` // when a run may remove it; zero for what is needed
	Spoilt  bool      `json:"spoilt"`        // it was due, is needed, and what is in its place is not right
	Removed bool      `json:"removed"`       // by this run
}

// Due says whether a run at that time removes a.
func (a SetAside) Due(at time.Time) bool { return !a.Goes.IsZero() && !a.Goes.After(at) }

// judgeAside says when all that is in quarantine may go. What somebody needs and has nowhere else
// in the store stays: fsck may bring it back, and if it is damaged, it is the best that is left.
func judgeAside(all *inventory, m *marks) []SetAside {
	for n := range all.aside {
		a := &all.aside[n]
		if !lost(all, m, a.Of) {
			a.Goes = a.Since.Add(quarantined)
		}
	}
	slices.SortFunc(all.aside, func(a, b SetAside) int { return cmp.Compare(a.Key, b.Key) })
	return all.aside
}

// lost says whether key is of content that is kept and not there.
func lost(all *inventory, m *marks, key string) bool {
	d, ok := store.BlobOf(key)
	_, live := m.live[d]
	_, there := all.blobs[d]
	return ok && live && !there
}

// spoilt says whether key is of content that is kept and is not right in its place, or cannot be
// read there: what is set aside may be all that is right of it.
func (c *collection) spoilt(ctx context.Context, m *marks, key string) bool {
	d, ok := store.BlobOf(key)
	if _, live := m.live[d]; !ok || !live {
		return false
	}
	b, err := c.store.Blobs().Find(ctx, d)
	return err != nil || c.store.Blobs().Verify(ctx, b) != nil
}

// tidyAside removes what was in quarantine for long enough.
func (c *collection) tidyAside(ctx context.Context, p *plan) (n int, err error) {
	for i := range p.aside {
		a := &p.aside[i]
		if !a.Due(c.now) {
			continue
		}
		if a.Spoilt = c.spoilt(ctx, p.marks, a.Of); a.Spoilt {
			a.Goes = time.Time{}
			continue
		}
		// This run may just have put another one there.
		info, err := c.store.Bucket().Stat(ctx, a.Key)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			a.Since, a.Goes = info.Time.UTC(), info.Time.UTC().Add(quarantined)
			if !a.Due(c.now) {
				continue
			}
			err = c.store.Bucket().Delete(ctx, a.Key)
		}
		if err != nil {
			return n, err
		}
		a.Removed = true
		n++
	}
	return n, ctx.Err()
}
