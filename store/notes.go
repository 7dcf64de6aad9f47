package store

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
)

// Notes remember small answers of one kind that take long to find out, by the digest of
// all that the answer depends on. Like [Steps] they are a cache and nothing more.
type Notes struct {
	bucket Bucket
	kind   string
	scope  string
}

// In is n for the builds of one trust scope, "" for those that are trusted.
func (n Notes) In(scope string) Notes { return Notes{n.bucket, n.kind, scope} }

const maxNoteLen = 4 << 20

// note is what is kept: with its key, so that a copy under another name is none.
type note struct {
	Key    Digest          `json:"key"`
	Answer json.RawMessage `json:"answer"`
}

func (n Notes) name(key Digest) string {
	return cacheFolder(n.scope) + n.kind + "/" + key.Hex()[:2] + "/" + key.Hex() + ".json"
}

// Get reads the answer for key into answer, a pointer. The error wraps io/fs.ErrNotExist
// where nothing usable is remembered, whatever the reason, unless ctx has ended.
func (n Notes) Get(ctx context.Context, key Digest, answer any) error {
	doc, err := readObject(ctx, n.bucket, n.name(key), maxNoteLen)
	var kept note
	if err == nil {
		err = json.Unmarshal(doc, &kept)
	}
	if err == nil && kept.Key != key {
		err = fmt.Errorf("it is of %s", kept.Key.Short())
	}
	if err == nil {
		err = json.Unmarshal(kept.Answer, answer)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("note %s of %s: %w (%w)", key.Short(), n.kind, fs.ErrNotExist, err)
	}
	return nil
}

// Put remembers an answer.
func (n Notes) Put(ctx context.Context, key Digest, answer any) error {
	a, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	doc, err := json.Marshal(note{key, a})
	if err != nil {
		return err
	}
	if err := n.bucket.Put(ctx, n.name(key), Bytes(doc)); err != nil {
		return fmt.Errorf("remember %s of %s: %w", n.kind, key.Short(), err)
	}
	return nil
}
