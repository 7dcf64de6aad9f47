package fsck

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"piimg/store"
)

// logs reads the logs of all environments and boards, each entry by itself: what is behind
// a damaged one is looked at too.
func (c *checker) logs(ctx context.Context) error {
	if err := c.folder(ctx, "envs", c.envs, decodeEnv); err != nil {
		return err
	}
	if err := c.folder(ctx, "boards", c.boards, decodeBoard); err != nil {
		return err
	}
	if err := c.folder(ctx, "yanked", map[string]*history{}, decodeYanked); err != nil {
		return err
	}
	for _, h := range c.envs {
		for _, s := range h.steps {
			c.name(s.image)
		}
	}
	for _, logs := range []map[string]*history{c.envs, c.boards} {
		for _, h := range logs {
			if !h.head.image.IsZero() {
				c.name(h.head.image).kept = true
			}
		}
	}
	return nil
}

// decoder reads what an entry of the log of a name says.
type decoder func(e store.Entry, name string) (step, error)

// folder reads the logs of one folder, of which it may be the only one itself.
func (c *checker) folder(ctx context.Context, folder string, into map[string]*history, decode decoder) error {
	keys := map[string][]string{}
	for _, key := range c.byKind[folder] {
		if log, _, ok := strings.Cut(key, "/log/"); ok {
			keys[log] = append(keys[log], key)
			into[path.Base(log)] = &history{}
		}
	}
	done := c.count("logs of "+folder, len(keys))
	return store.Each(ctx, atATime, slices.Sorted(maps.Keys(keys)), func(ctx context.Context, log string) error {
		defer done()
		name := path.Base(log)
		w := &walk{checker: c, name: name, log: c.store.Log(log), decode: decode, history: into[name], isEnv: folder == "envs"}
		if w.isEnv {
			w.signatures = c.o.Signatures
		}
		return w.entries(ctx, keys[log])
	})
}

// walk goes through one log.
type walk struct {
	*checker
	*history
	name       string
	isEnv      bool
	log        store.Log
	decode     decoder
	signatures Signatures // nil: not looked at

	last  store.Entry // the entry before, zero where it could not be read
	whole int64       // the number up to which all is well
	bad   []Finding   // of the chain, so far
	open  bool        // an entry could not be looked at
}

func (w *walk) entries(ctx context.Context, keys []string) error {
	want := int64(1)
	for _, key := range keys {
		seq, err := w.log.Seq(key)
		if err != nil {
			w.add(Finding{Key: key, Kind: Malformed, Text: "no entry of a log has this name"})
			continue
		}
		for ; want < seq; want++ {
			w.broken(want, Missing, "it is not there, and later entries are")
		}
		want = seq + 1
		if err := w.entry(ctx, seq); err != nil {
			return err
		}
	}
	for _, f := range w.bad {
		f.Text += w.verdict()
		w.add(f)
	}
	return nil
}

// verdict is how far a damaged log can be followed.
func (w *walk) verdict() string {
	if w.whole == 0 {
		return "; nothing of the log can be relied on"
	}
	return fmt.Sprintf("; the log is whole up to entry %d", w.whole)
}

// broken takes note of what is wrong with the chain.
func (w *walk) broken(seq int64, kind Kind, text string) {
	w.bad = append(w.bad, Finding{Key: w.log.Key(seq), Kind: kind, Text: text})
}

// entry reads one entry and compares it with the one before.
func (w *walk) entry(ctx context.Context, seq int64) error {
	e, err := w.log.At(ctx, seq)
	before := w.last
	w.last = e // where err is not nil, nothing
	if err == nil {
		w.counted()
		err = w.follow(before, e)
	}
	switch kind := kindOf(err); {
	case err == nil:
	case kind == Unchecked:
		w.open = true
		return w.found(ctx, w.log.Key(seq), err)
	default:
		w.broken(seq, kind, err.Error())
	}
	if err == nil && w.signatures != nil {
		return w.foundIn(ctx, Finding{Key: w.log.Key(seq), Kind: Unsigned}, w.signatures.Entry(ctx, w.name, e))
	}
	return nil
}

// follow says what e is, and compares it with the entry before it. Where that could not be
// read, e alone knows its digest.
func (w *walk) follow(before, e store.Entry) error {
	s, err := w.decode(e, w.name)
	if err != nil {
		return err
	}
	if before.Seq == e.Seq-1 && before.Digest != e.Prev {
		w.broken(e.Seq, Broken, fmt.Sprintf("it follows an entry %d with the digest %s, and the one that is there has %s",
			before.Seq, e.Prev.Short(), before.Digest.Short()))
	} else if p := w.head; p.seq == e.Seq-1 && p.image != s.from && w.isEnv {
		w.broken(e.Seq, Broken, fmt.Sprintf("it says that %s ran before, and entry %d says %s", s.from.Short(), p.seq, p.image.Short()))
	}
	w.head, w.steps = s, append(w.steps, s)
	if len(w.bad) == 0 && !w.open {
		w.whole = e.Seq
	}
	return nil
}

// counted counts an entry that was read.
func (w *walk) counted() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report.Steps++
}
