package gc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"piimg/store"
)

// inventory is the objects of a store by what they are, from their keys alone.
type inventory struct {
	mu        sync.Mutex // while objects are taken in
	blobs     map[store.Digest]blobInfo
	records   map[store.Digest]time.Time
	again     map[store.Digest]time.Time      // when images were published that had been before
	referrers map[store.Digest][]store.Digest // subject to manifests
	envs      map[string]*logKeys
	boards    map[string]*logKeys
	proposals map[string]bool // environments that steps are proposed for
	runs      []store.Info    // notes of what was condemned, in the order of their times
	aside     []SetAside      // in quarantine, by collections and repairs
	steps     []store.Info
	rest      []store.Info // left by signs of life, breaks and probes
	newest    time.Time
}

type blobInfo struct {
	size int64
	time int64 // Unix seconds
}

// logKeys is a log as its keys tell it.
type logKeys struct {
	name  string
	times []time.Time // when entry n+1 was written, by the store's clock; zero where that was not listed
}

// maxUnlisted is how many entries of a log may be written while it is listed.
const maxUnlisted = 64

// takeInventory lists the objects under each prefix. A key whose kind is not known is an
// error: it may be a root.
func takeInventory(ctx context.Context, b store.Bucket, prefixes ...string) (*inventory, error) {
	v := &inventory{
		blobs: map[store.Digest]blobInfo{}, records: map[store.Digest]time.Time{}, again: map[store.Digest]time.Time{}, referrers: map[store.Digest][]store.Digest{},
		envs: map[string]*logKeys{}, boards: map[string]*logKeys{}, proposals: map[string]bool{}, aside: []SetAside{},
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(listsAtATime)
	for _, p := range parts(b, prefixes) {
		g.Go(func() error { return v.list(gctx, b, p) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return v, errors.Join(fillGaps(ctx, b, "envs/", v.envs), fillGaps(ctx, b, "boards/", v.boards))
}

// fillGaps looks for the entries of logs that were not listed: a list need not show what is
// written while it is made, and then shows what is written later.
func fillGaps(ctx context.Context, b store.Bucket, folder string, logs map[string]*logKeys) error {
	for name, l := range logs {
		for n, at := range l.times {
			if !at.IsZero() {
				continue
			}
			info, err := b.Stat(ctx, fmt.Sprintf("%s%s/log/%010d.json", folder, name, n+1))
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s%s/log/%010d.json follows entry %d: %w", folder, name, n+2, n, store.ErrCorrupt)
			}
			if err != nil {
				return err
			}
			l.times[n] = info.Time
		}
	}
	return nil
}

// listsAtATime bounds what a server has to do at once: some read a whole folder for each
// thousand keys.
const listsAtATime = 4

// part is a part of the keys: those with a prefix, after one key and up to another.
type part struct{ prefix, after, until string }

// parts are all keys under prefixes, in pieces where that pays: blobs are most of a store,
// and their names are spread evenly.
func parts(b store.Bucket, prefixes []string) []part {
	var all []part
	d, ok := b.(store.Distant)
	for _, prefix := range prefixes {
		if prefix != "" || !ok || !d.Distant() {
			all = append(all, part{prefix: prefix})
			continue
		}
		after := ""
		for _, digit := range "0123456789abcdefg" {
			until := "blobs/sha256/" + string(digit)
			all = append(all, part{after: after, until: until})
			after = until
		}
		all = append(all, part{after: after})
	}
	return all
}

// list takes in the objects of a part, in the order of their keys.
func (v *inventory) list(ctx context.Context, b store.Bucket, p part) error {
	for info, err := range b.List(ctx, p.prefix, p.after) {
		if err != nil {
			return fmt.Errorf("list %q: %w", p.prefix, err)
		}
		if p.until != "" && info.Key > p.until {
			return nil
		}
		if err := v.take(info); err != nil {
			return err
		}
	}
	return nil
}

func (v *inventory) take(info store.Info) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if info.Time.After(v.newest) {
		v.newest = info.Time
	}
	return v.add(info)
}

// add puts an object where it belongs.
func (v *inventory) add(info store.Info) error {
	kind, rest, _ := strings.Cut(info.Key, "/")
	known := true
	switch kind {
	case "piimg-store.json", "piimg-refs.json", "oci-layout", "index.json", "pins", "leases", "inuse", "yanked":
		// what pins, leases and reports say is read by package store, which knows its keys;
		// that an image was yanked keeps it no longer
	case "blobs":
		known = v.addBlob(info, rest)
	case "images":
		known = addImage(v.records, info, rest)
	case "published":
		known = addImage(v.again, info, rest)
	case "referrers":
		known = v.addReferrer(rest)
	case "envs":
		return addEntry(v.envs, info, rest)
	case "boards":
		return addEntry(v.boards, info, rest)
	case "proposals":
		name, _, _ := strings.Cut(rest, "/")
		v.proposals[name] = true
	case "cache":
		if strings.HasPrefix(rest, "steps/") || strings.HasPrefix(rest, "scopes/") && strings.Contains(rest, "/steps/") {
			v.steps = append(v.steps, info)
		}
	case "quarantine":
		// What is of no form that is known is nobody's to remove, and no root.
		if a, ok := store.ParseAside(info.Key); ok {
			v.aside = append(v.aside, SetAside{Key: info.Key, Of: a.Of, Damaged: a.Damaged, Bytes: info.Size, Since: info.Time.UTC()})
		}
	case "gc":
		known = v.addOwn(info, rest)
	case "probe":
		v.rest = append(v.rest, info)
	default:
		known = false
	}
	if !known {
		return fmt.Errorf("%s: this piimg does not know what that is, and it could name images: %w", info.Key, store.ErrCorrupt)
	}
	return nil
}

func (v *inventory) addBlob(info store.Info, rest string) bool {
	name, ok := strings.CutPrefix(rest, "sha256/")
	d, err := store.ParseHex(name)
	if !ok || err != nil {
		return false
	}
	v.blobs[d] = blobInfo{info.Size, info.Time.Unix()}
	return true
}

func addImage(to map[store.Digest]time.Time, info store.Info, rest string) bool {
	name, ok := strings.CutSuffix(rest, ".json")
	d, err := store.ParseHex(name)
	if !ok || err != nil {
		return false
	}
	to[d] = info.Time
	return true
}

func (v *inventory) addReferrer(rest string) bool {
	subject, manifest, _ := strings.Cut(rest, "/")
	of, err := store.ParseHex(subject)
	if err != nil {
		return false
	}
	d, err := store.ParseHex(manifest)
	if err != nil {
		return false
	}
	v.referrers[of] = append(v.referrers[of], d)
	return true
}

// addOwn knows what collections leave.
func (v *inventory) addOwn(info store.Info, rest string) bool {
	switch path.Dir(rest) {
	case "runs":
		v.runs = append(v.runs, info)
	case "beats", "broken":
		v.rest = append(v.rest, info)
	default:
		return rest == "state.json"
	}
	return true
}

// addEntry puts the entry of a log, whose keys come in order, behind those before it.
func addEntry(logs map[string]*logKeys, info store.Info, rest string) error {
	name, file, ok := strings.Cut(rest, "/log/")
	digits, isEntry := strings.CutSuffix(file, ".json")
	seq, err := strconv.ParseInt(digits, 10, 64)
	if !ok || !isEntry || len(digits) != 10 || err != nil || strings.Contains(name, "/") {
		return fmt.Errorf("%s: this piimg does not know what that is, and it could name images: %w", info.Key, store.ErrCorrupt)
	}
	l := logs[name]
	if l == nil {
		l = &logKeys{name: name}
		logs[name] = l
	}
	if gap := seq - int64(len(l.times)) - 1; gap < 0 || gap > maxUnlisted {
		return fmt.Errorf("%s follows entry %d: %w", info.Key, len(l.times), store.ErrCorrupt)
	}
	l.times = append(l.times, make([]time.Time, seq-int64(len(l.times))-1)...)
	l.times = append(l.times, info.Time)
	return nil
}
