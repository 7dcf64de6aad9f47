// Package fsck says what is damaged in a store, whom it hits, and puts right what can be
// put right with the same bytes.
//
// It looks at names and sizes in one listing, reads everything small (manifests, records,
// logs, finished steps), and content as much as it is told to. What a server says of an
// object's bytes, such as an ETag, is never taken for an answer. Check writes nothing.
package fsck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"piimg/store"
	"piimg/store/board"
	"piimg/store/env"
	"piimg/store/yank"
)

// Options say how deep to look. The zero value reads no content.
type Options struct {
	Read       Sample
	Signatures Signatures     // nil: signatures are not looked at
	Progress   func(Progress) // called one at a time; may be nil
}

// Signatures checks signatures by the operator's trust file. An error says what is wrong
// with one, or that one is missing.
type Signatures interface {
	Entry(ctx context.Context, environment string, e store.Entry) error
	Image(ctx context.Context, image store.Digest) error
}

// Progress is how far a check has come. Total is 0 where it is not known yet.
type Progress struct {
	Doing       string
	Done, Total int64 // objects; bytes where Bytes is set
	Bytes       bool
}

// Kind is what is wrong with an object.
type Kind string

// The kinds. Unknown is no damage, and Unchecked says nothing of the object.
const (
	Missing    Kind = "missing"
	WrongSize  Kind = "wrong size"
	WrongBytes Kind = "wrong bytes"
	Unreadable Kind = "unreadable" // the disk below reports an error
	Malformed  Kind = "malformed"  // a record, a log entry, a cached step that is none
	Broken     Kind = "broken chain"
	Unsigned   Kind = "bad signature"
	Unknown    Kind = "unknown"
	Unchecked  Kind = "unchecked"
)

// Finding is one thing that is wrong with one object.
type Finding struct {
	Key    string `json:"key"`
	Kind   Kind   `json:"kind"`
	Text   string `json:"text"`
	Impact        // whom it hits

	Repaired bool   `json:"repaired,omitempty"`
	Repair   string `json:"repair,omitempty"` // what a repair did, or why it could not

	blob store.Blob // of content; Size -1 where it is not known
}

// Damage says whether something has to be done about f.
func (f Finding) Damage() bool { return f.Kind != Unknown && f.Kind != Unchecked }

// Report is what a check has found.
type Report struct {
	Store    string    `json:"store"`
	Objects  int       `json:"objects"`
	Bytes    int64     `json:"bytes"`
	Blobs    int       `json:"blobs"`
	Images   int       `json:"images"`
	Envs     int       `json:"environments"`
	Boards   int       `json:"boards"`
	Steps    int       `json:"log_entries"`
	Read     int       `json:"blobs_read"`
	ReadSize int64     `json:"bytes_read"`
	Signed   bool      `json:"signatures_checked"`
	Gone     int       `json:"images_not_kept"` // named by old steps, and no longer kept
	Findings []Finding `json:"findings"`        // damage first, then by key
}

// Damaged is the findings that are damage and are not repaired.
func (r *Report) Damaged() []Finding {
	return r.pick(func(f Finding) bool { return f.Damage() && !f.Repaired })
}

// Unchecked is what could not be looked at.
func (r *Report) Unchecked() []Finding {
	return r.pick(func(f Finding) bool { return f.Kind == Unchecked })
}

func (r *Report) pick(want func(Finding) bool) []Finding {
	var some []Finding
	for _, f := range r.Findings {
		if want(f) {
			some = append(some, f)
		}
	}
	return some
}

// atATime is how many objects are read at once: a server far away is waited for more than
// it is worked with.
const atATime = 8

// giveUp is how many objects may be unchecked before the store itself is taken to be out
// of reach.
const giveUp = 20

// Check looks at the whole of s. The error is one of reaching the store; what is wrong in
// it is in the report. The store may be in use meanwhile.
func Check(ctx context.Context, s *store.Store, o Options) (*Report, error) {
	c := newChecker(s, o)
	for _, pass := range []func(context.Context) error{c.list, c.logs, c.records, c.manifests, c.referrers, c.closures, c.caches, c.contents} {
		if err := pass(ctx); err != nil {
			return nil, fmt.Errorf("check the store: %w", err)
		}
	}
	return c.done(), nil
}

// checker is one check under way.
type checker struct {
	store *store.Store
	o     Options

	objects map[string]store.Info
	byKind  map[string][]string // keys, by the first part
	envs    map[string]*history
	boards  map[string]*history
	images  map[store.Digest]*image

	gone      sync.Mutex // blobs that are gone are looked into one by one
	mu        sync.Mutex
	report    Report
	unchecked int
}

// history is a log as far as it can be read.
type history struct {
	steps []step
	head  step // the last entry that can be read; zero where there is none
}

// step is what an entry of a log says.
type step struct {
	seq   int64
	image store.Digest
	from  store.Digest // of an environment: what ran before
	env   string       // of a board
}

// image is an image that something names.
type image struct {
	digest store.Digest
	kept   bool         // it has a record, or something needs it now
	doc    *store.Image // nil where the manifest cannot be read
	about  []store.Blob // of documents about it
}

func newChecker(s *store.Store, o Options) *checker {
	return &checker{
		store: s, o: o, objects: map[string]store.Info{}, byKind: map[string][]string{},
		envs: map[string]*history{}, boards: map[string]*history{}, images: map[store.Digest]*image{},
		report: Report{Store: s.ID(), Findings: []Finding{}, Signed: o.Signatures != nil},
	}
}

// list takes note of every object, and of those that no store has.
func (c *checker) list(ctx context.Context) error {
	for info, err := range c.store.Bucket().List(ctx, "", "") {
		if err != nil {
			return err
		}
		c.objects[info.Key] = info
		kind, _, _ := strings.Cut(info.Key, "/")
		c.byKind[kind] = append(c.byKind[kind], info.Key)
		c.report.Objects++
		c.report.Bytes += info.Size
		if !known(info.Key) {
			c.add(Finding{Key: info.Key, Kind: Unknown, Text: "no object of a store has this name"})
		}
		c.progress("list", int64(c.report.Objects), 0)
	}
	c.report.Blobs = len(c.byKind["blobs"])
	err := c.store.CheckLayout(ctx)
	return c.found(ctx, "oci-layout", err)
}

// known says whether a store has objects of this name.
func known(key string) bool {
	kind, rest, nested := strings.Cut(key, "/")
	switch kind {
	case "piimg-store.json", "piimg-refs.json", "oci-layout", "index.json":
		return !nested
	case "blobs":
		_, ok := store.BlobOf(key)
		return ok
	case "images":
		_, ok := store.ImageOf(key)
		return ok
	case "envs", "boards":
		_, rest, _ = strings.Cut(rest, "/")
		return strings.HasPrefix(rest, "log/") // what is there is for the log to judge
	case "yanked":
		return strings.HasPrefix(rest, "log/")
	case "cache", "pins", "leases", "inuse", "gc", "proposals", "published", "referrers", "quarantine":
		return nested
	}
	return false
}

// add takes note of a finding.
func (c *checker) add(f Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Findings = append(c.report.Findings, f)
}

// found takes note of what err says of the object at key, if anything. It is an error
// where the check as a whole cannot go on.
func (c *checker) found(ctx context.Context, key string, err error) error {
	return c.foundIn(ctx, Finding{Key: key}, err)
}

func (c *checker) foundIn(ctx context.Context, f Finding, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	f.Kind, f.Text = cmp.Or(f.Kind, kindOf(err)), err.Error()
	c.add(f)
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.Kind == Unchecked {
		c.unchecked++
	}
	if c.unchecked >= giveUp {
		return fmt.Errorf("%d objects could not be read: %w", c.unchecked, err)
	}
	return nil
}

// kindOf is what an error of reading an object says of it.
func kindOf(err error) Kind {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Missing
	case errors.Is(err, store.ErrCorrupt):
		return Malformed
	case errors.Is(err, syscall.EIO):
		return Unreadable
	}
	return Unchecked
}

// progress tells how far the check has come.
func (c *checker) progress(doing string, done, total int64) {
	if c.o.Progress == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.o.Progress(Progress{Doing: doing, Done: done, Total: total, Bytes: doing == content})
}

// count counts what each has done, several at a time.
func (c *checker) count(doing string, total int) func() {
	var n atomic.Int64
	return func() { c.progress(doing, n.Add(1), int64(total)) }
}

// name makes d an image to be looked at.
func (c *checker) name(d store.Digest) *image {
	if c.images[d] == nil {
		c.images[d] = &image{digest: d}
	}
	return c.images[d]
}

// sortedImages are the images, in the order of their digests.
func (c *checker) sortedImages() []*image {
	return slices.SortedFunc(maps.Values(c.images), func(a, b *image) int {
		return cmp.Compare(a.digest.Hex(), b.digest.Hex())
	})
}

// done says whom each finding hits, and puts them in order.
func (c *checker) done() *Report {
	all := c.report.Findings
	c.impact(all)
	slices.SortStableFunc(all, func(a, b Finding) int {
		if a.Damage() != b.Damage() {
			if a.Damage() {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Key, b.Key)
	})
	c.report.Images, c.report.Envs, c.report.Boards = 0, len(c.envs), len(c.boards)
	for _, i := range c.images {
		if i.kept {
			c.report.Images++
		}
	}
	return &c.report
}

// decodeEnv, decodeBoard and decodeYanked read what an entry of a log says.
func decodeEnv(e store.Entry, name string) (step, error) {
	d, err := env.Decode(e, name)
	return step{seq: e.Seq, image: d.Image, from: d.From}, err
}

func decodeBoard(e store.Entry, name string) (step, error) {
	d, err := board.Decode(e, board.ID(name))
	return step{seq: e.Seq, image: d.Image, env: d.Env}, err
}

func decodeYanked(e store.Entry, _ string) (step, error) {
	d, err := yank.Decode(e)
	return step{seq: e.Seq, image: d.Image}, err
}
