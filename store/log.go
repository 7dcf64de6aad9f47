package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// Log is a list of entries that only grows: one object for each, numbered from 1, and
// the highest number is the head. There is no pointer that could disagree with it.
type Log struct {
	bucket Bucket
	prefix string
}

// Entry is one step of a log.
type Entry struct {
	Seq     int64  // from 1 on, without gaps
	Prev    Digest // of the entry before, zero for entry 1
	Digest  Digest // of the stored envelope: what the next entry's Prev has to be
	Payload []byte // JSON; its members "seq" and "prev" are checked against the log
	Sigs    []Sig
}

// Sig is a signature over the payload of an entry, in the SSHSIG format.
type Sig struct {
	KeyID  string `json:"keyid"`
	SSHSig string `json:"sshsig"`
}

// envelope is the stored form of an entry.
type envelope struct {
	Payload []byte `json:"payload"`
	Sigs    []Sig  `json:"sigs"`
}

// Link is the part of every payload by which entries form a chain. Embed it.
type Link struct {
	Seq  int64  `json:"seq"`
	Prev Digest `json:"prev"` // the Digest of entry Seq-1, zero for entry 1
}

// maxUnlisted is how many entries may be written while a log is listed.
const maxUnlisted = 64

// maxEntryLen bounds a stored entry, in bytes.
const maxEntryLen = 256 << 10

// Key is where the entry numbered seq is stored.
func (l Log) Key(seq int64) string { return fmt.Sprintf("%s/log/%010d.json", l.prefix, seq) }

// Next is the link of the entry that may follow head; the zero Entry stands for an
// empty log.
func (l Log) Next(head Entry) Link { return Link{Seq: head.Seq + 1, Prev: head.Digest} }

// Append creates the entry that link places, with a payload that holds link. The error
// wraps ErrConflict where another entry has that number already.
func (l Log) Append(ctx context.Context, link Link, payload []byte, sigs ...Sig) (Entry, error) {
	doc, err := EncodeEntry(payload, sigs)
	if err != nil {
		return Entry{}, fmt.Errorf("append to %s: %w", l.prefix, err)
	}
	e, err := parseEntry(doc, link)
	if err != nil {
		return Entry{}, fmt.Errorf("append to %s: %w", l.prefix, err)
	}
	if err := l.bucket.Create(ctx, l.Key(link.Seq), doc); err != nil {
		return Entry{}, fmt.Errorf("append to %s: %w", l.prefix, err)
	}
	return e, nil
}

// Head is the newest entry, and io/fs.ErrNotExist where the log is empty. Only the
// entries after the one numbered hint are listed: any number that was a head once is
// right, and 0 always is.
func (l Log) Head(ctx context.Context, hint int64) (Entry, error) {
	after := ""
	if hint > 0 {
		after = l.Key(hint)
	}
	head := hint
	for info, err := range l.bucket.List(ctx, l.prefix+"/log/", after) {
		if err != nil {
			return Entry{}, fmt.Errorf("list %s: %w", l.prefix, err)
		}
		seq, err := l.Seq(info.Key)
		if err != nil {
			return Entry{}, err
		}
		if err := l.gapless(ctx, head, seq); err != nil {
			return Entry{}, err
		}
		head = seq
	}
	if head == 0 {
		return Entry{}, fmt.Errorf("log %s is empty: %w", l.prefix, fs.ErrNotExist)
	}
	return l.At(ctx, head)
}

// At is the entry numbered seq. Its place in the chain is not checked; All does that.
func (l Log) At(ctx context.Context, seq int64) (Entry, error) {
	doc, err := readObject(ctx, l.bucket, l.Key(seq), maxEntryLen)
	if err != nil {
		return Entry{}, err
	}
	e, link, err := DecodeEntry(doc)
	if err == nil {
		err = link.check(Link{seq, link.Prev})
	}
	if err != nil {
		return Entry{}, fmt.Errorf("read %s: %w", l.Key(seq), err)
	}
	return e, nil
}

// All yields the entries from the first to the head, and ends with an error at the
// first one that is missing, unreadable or does not name its predecessor.
func (l Log) All(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var last Entry
		for info, err := range l.bucket.List(ctx, l.prefix+"/log/", "") {
			if err != nil {
				yield(Entry{}, fmt.Errorf("list %s: %w", l.prefix, err))
				return
			}
			seq, err := l.Seq(info.Key)
			if err == nil {
				err = l.gapless(ctx, last.Seq, seq)
			}
			for next := last.Seq + 1; err == nil && next <= seq; next++ {
				if last, err = l.follow(ctx, last); err == nil && !yield(last, nil) {
					return
				}
			}
			if err != nil {
				yield(Entry{}, err)
				return
			}
		}
	}
}

// gapless says by nil that all entries after the one numbered last and before that numbered
// seq are there, though a list has not shown them: it need not show what is written while it
// is made, and then shows what is written later.
func (l Log) gapless(ctx context.Context, last, seq int64) error {
	gap := fmt.Errorf("list %s: entry %d follows entry %d: %w", l.prefix, seq, last, ErrCorrupt)
	if seq <= last || seq-last > maxUnlisted {
		return gap
	}
	for n := last + 1; n < seq; n++ {
		_, err := l.bucket.Stat(ctx, l.Key(n))
		if errors.Is(err, fs.ErrNotExist) {
			return gap
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// follow reads the successor of last.
func (l Log) follow(ctx context.Context, last Entry) (Entry, error) {
	want := l.Next(last)
	key := l.Key(want.Seq)
	doc, err := readObject(ctx, l.bucket, key, maxEntryLen)
	if err != nil {
		return Entry{}, err
	}
	e, err := parseEntry(doc, want)
	if err != nil {
		return Entry{}, fmt.Errorf("read %s: %w", key, err)
	}
	return e, nil
}

// Seq is the number of the entry that is stored under key; the error wraps ErrCorrupt
// where no entry of this log can be.
func (l Log) Seq(key string) (int64, error) {
	name, ok := strings.CutSuffix(strings.TrimPrefix(key, l.prefix+"/log/"), ".json")
	seq, err := strconv.ParseInt(name, 10, 64)
	if !ok || err != nil || l.Key(seq) != key {
		return 0, fmt.Errorf("list %s: %s is no log entry: %w", l.prefix, key, ErrCorrupt)
	}
	return seq, nil
}

// EncodeEntry is the stored form of an entry: an envelope of its payload and signatures.
func EncodeEntry(payload []byte, sigs []Sig) ([]byte, error) {
	if sigs == nil {
		sigs = []Sig{} // an empty list, not null, where nobody signs
	}
	doc, err := json.Marshal(envelope{payload, sigs})
	if err != nil {
		return nil, err
	}
	// What nobody could read back would be the end of the log.
	if len(doc) > maxEntryLen {
		return nil, fmt.Errorf("an entry of %d bytes is longer than %d", len(doc), maxEntryLen)
	}
	return doc, nil
}

// DecodeEntry reads what EncodeEntry writes, wherever it was kept, and the place in a log
// that its payload claims. It checks no signature. The error wraps ErrCorrupt.
func DecodeEntry(doc []byte) (Entry, Link, error) {
	if len(doc) > maxEntryLen {
		return Entry{}, Link{}, fmt.Errorf("an entry of %d bytes is longer than %d: %w", len(doc), maxEntryLen, ErrCorrupt)
	}
	var env envelope
	if err := json.Unmarshal(doc, &env); err != nil {
		return Entry{}, Link{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	var link Link
	if err := json.Unmarshal(env.Payload, &link); err != nil {
		return Entry{}, Link{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if link.Seq < 1 {
		return Entry{}, Link{}, fmt.Errorf("entry says number %d: %w", link.Seq, ErrCorrupt)
	}
	return Entry{Seq: link.Seq, Prev: link.Prev, Digest: Sum(doc), Payload: env.Payload, Sigs: env.Sigs}, link, nil
}

// check refuses a link of another place than want.
func (l Link) check(want Link) error {
	if l == want {
		return nil
	}
	return fmt.Errorf("entry says number %d after %q, its place is number %d after %q: %w",
		l.Seq, l.Prev.Short(), want.Seq, want.Prev.Short(), ErrCorrupt)
}

// parseEntry reads an envelope whose payload has to hold link.
func parseEntry(doc []byte, link Link) (Entry, error) {
	e, got, err := DecodeEntry(doc)
	if err == nil {
		err = got.check(link)
	}
	if err != nil {
		return Entry{}, err
	}
	return e, nil
}

// Logs are the names of the logs below folder, sorted: those of "envs" are the
// environments. Other objects below folder are not looked at.
func (s *Store) Logs(ctx context.Context, folder string) ([]string, error) {
	var names []string
	after := ""
	for {
		name, err := s.firstLog(ctx, folder, after)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", folder, err)
		}
		if name == "" {
			slices.Sort(names) // keys have "a-b/log" before "a/log"
			return names, nil
		}
		names = append(names, name)
		after = folder + "/" + name + "0" // "0" follows "/": not one more key of this log
	}
}

// firstLog is the first log of folder whose keys sort after after, and "" where there
// is none.
func (s *Store) firstLog(ctx context.Context, folder, after string) (string, error) {
	for info, err := range s.bucket.List(ctx, folder+"/", after) {
		if err != nil {
			return "", err
		}
		name, rest, _ := strings.Cut(strings.TrimPrefix(info.Key, folder+"/"), "/")
		if strings.HasPrefix(rest, "log/") {
			return name, nil
		}
	}
	return "", nil
}
