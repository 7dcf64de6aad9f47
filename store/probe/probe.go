// Package probe finds out whether a bucket keeps what logs rest on: of several writers of
// one key exactly one succeeds, and what was written is seen by everybody at once. Servers
// that say so and do not do so are common (SeaweedFS before August 2025 ignored the
// condition, versitygw before August 2026 let several racers win).
package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"piimg/store"
)

// Check is one promise, and what came of it.
type Check struct {
	Name string `json:"check"`
	OK   bool   `json:"ok"`
	Text string `json:"text"` // what was seen
}

// Report is all checks, in order.
type Report []Check

// Failed are the checks that did not come out.
func (r Report) Failed() Report {
	var bad Report
	for _, c := range r {
		if !c.OK {
			bad = append(bad, c)
		}
	}
	return bad
}

func (r Report) String() string {
	var all []string
	for _, c := range r {
		all = append(all, c.Name+": "+c.Text)
	}
	return strings.Join(all, "; ")
}

const (
	racers = 16
	rounds = 20

	// MaxSkew is how far the clock of a server may be off: what is collected is judged by it.
	MaxSkew = 5 * time.Minute
)

// Run checks the bucket that buckets lead to, each over connections of its own; one is
// enough, two show more. What it writes lies below the key "probe", and is removed. The
// error is one of reaching the bucket at all; a promise that is not kept is none.
func Run(ctx context.Context, buckets ...store.Bucket) (Report, error) {
	p := newProber(ctx, buckets...)
	defer p.clean()
	var r Report
	for _, c := range []struct {
		name string
		run  func() (string, error)
	}{
		{"read after write", p.reads},
		{"create if absent", p.creates},
		{"one winner of a race", p.races},
		{"list after write", p.lists},
		{"clock", p.clock},
	} {
		text, err := c.run()
		var broken promise
		switch {
		case errors.As(err, &broken):
			r = append(r, Check{c.name, false, string(broken)})
		case err != nil:
			return r, fmt.Errorf("%s: %w", c.name, err)
		default:
			r = append(r, Check{c.name, true, text})
		}
	}
	return r, nil
}

// Write is an error where b cannot be written. It leaves nothing but folders.
func Write(ctx context.Context, b store.Bucket) error {
	p := newProber(ctx, b)
	defer p.clean()
	return b.Create(ctx, p.prefix+"write", []byte("may this be written?"))
}

// promise is an error of a bucket that answers, and not as it has to.
type promise string

func (p promise) Error() string { return string(p) }

func broken(format string, args ...any) error { return promise(fmt.Sprintf(format, args...)) }

type prober struct {
	ctx     context.Context
	buckets []store.Bucket
	prefix  string
}

func newProber(ctx context.Context, buckets ...store.Bucket) *prober {
	return &prober{ctx: ctx, buckets: buckets, prefix: "probe/" + strings.ToLower(rand.Text()) + "/"}
}

// of is the bucket by one of its connections.
func (p *prober) of(n int) store.Bucket { return p.buckets[n%len(p.buckets)] }

func (p *prober) read(n int, key string) ([]byte, error) {
	r, err := p.of(n).Get(p.ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func (p *prober) reads() (string, error) {
	key := p.prefix + "read"
	for n, doc := range []string{"first", "second, which is longer", "3"} {
		if err := p.of(n).Put(p.ctx, key, store.Bytes([]byte(doc))); err != nil {
			return "", err
		}
		got, err := p.read(n+1, key)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if string(got) != doc {
			return "", broken("%q was written and %q read", doc, got)
		}
	}
	if err := p.of(0).Delete(p.ctx, key); err != nil {
		return "", err
	}
	if _, err := p.of(1).Stat(p.ctx, key); !errors.Is(err, fs.ErrNotExist) {
		return "", broken("what was deleted is there still (%v)", err)
	}
	return "what is written, replaced and deleted is so at once", nil
}

func (p *prober) creates() (string, error) {
	key := p.prefix + "create"
	if err := p.of(0).Create(p.ctx, key, []byte("first")); err != nil {
		return "", err
	}
	err := p.of(1).Create(p.ctx, key, []byte("second"))
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return "", err
	}
	got, rerr := p.read(0, key)
	if rerr != nil {
		return "", rerr
	}
	if err == nil || string(got) != "first" {
		return "", broken("a second writer of a key replaced the first: the server ignores If-None-Match")
	}
	return "a second writer is refused", nil
}

func (p *prober) races() (string, error) {
	for round := range rounds {
		if err := p.race(fmt.Sprintf("%srace-%d", p.prefix, round), round); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d writers at a time, %d times: one of them won each time", racers, rounds), nil
}

func (p *prober) race(key string, round int) error {
	var errs [racers]error
	start := make(chan struct{})
	var all sync.WaitGroup
	for n := range racers {
		all.Go(func() {
			<-start
			errs[n] = p.of(n).Create(p.ctx, key, doc(round, n))
		})
	}
	close(start)
	all.Wait()
	winners, last := 0, -1
	for n, err := range errs {
		switch {
		case err == nil:
			winners, last = winners+1, n
		case !errors.Is(err, store.ErrConflict):
			return err
		}
	}
	if winners != 1 {
		return broken("%d of %d writers of one key were told that they had won", winners, racers)
	}
	got, err := p.read(round, key)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, doc(round, last)) {
		return broken("the winner of a race finds the bytes of another writer")
	}
	return nil
}

func doc(round, n int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "round %d writer %d\n", round, n), 50)
}

func (p *prober) lists() (string, error) {
	const many = 20
	for n := range many {
		if err := p.of(n).Put(p.ctx, fmt.Sprintf("%slist/%02d", p.prefix, n), store.Bytes(nil)); err != nil {
			return "", err
		}
		have := 0
		for _, err := range p.of(n+1).List(p.ctx, p.prefix+"list/", "") {
			if err != nil {
				return "", err
			}
			have++
		}
		if have != n+1 {
			return "", broken("%d objects were written and %d listed", n+1, have)
		}
	}
	return "what is written is listed at once", nil
}

// clock compares the times of objects with this machine's: what is collected, and what is
// kept for a while, is judged by both.
func (p *prober) clock() (string, error) {
	key := p.prefix + "clock"
	start := time.Now()
	if err := p.of(0).Put(p.ctx, key, store.Bytes(nil)); err != nil {
		return "", err
	}
	took := time.Since(start)
	info, err := p.of(0).Stat(p.ctx, key)
	if err != nil {
		return "", err
	}
	skew := info.Time.Sub(start).Round(time.Second)
	if skew.Abs() > MaxSkew+took {
		return "", broken("the store's is off by %s, more than %s: set the clocks of both machines", skew, MaxSkew)
	}
	return fmt.Sprintf("within %s of the store's", max(skew.Abs(), time.Second)), nil
}

// clean removes what was written, as far as that works.
func (p *prober) clean() {
	ctx := context.WithoutCancel(p.ctx)
	for info, err := range p.of(0).List(ctx, p.prefix, "") {
		if err != nil {
			return
		}
		_ = p.of(0).Delete(ctx, info.Key)
	}
}
