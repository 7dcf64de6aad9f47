package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"piimg/store"
)

// Config is the config blob of an image: what it was made from. It holds no time, host,
// user or path of a machine, so that the same inputs give the same digest.
type Config struct {
	Boards        []string                `json:"boards"`
	Bootloader    string                  `json:"bootloader,omitempty"` // oldest EEPROM release that boots it, as declared
	Epoch         int64                   `json:"epoch"`
	Inputs        map[string]store.Digest `json:"inputs"` // pinned sources
	KernelRelease string                  `json:"kernel_release,omitempty"`
	Name          string                  `json:"name"`
	Origins       map[string]store.Origin `json:"origins"` // by path; "PATH!NAME" is an entry of an archive
	Recipe        json.RawMessage         `json:"recipe"`  // resolved
	RecipeDigest  store.Digest            `json:"recipe_digest"`
	Schema        int                     `json:"schema"`
}

// configSchema is the version of Config.
const configSchema = 1

// Image stores the config of what the plan has made, and returns the image that it makes
// up. It is not published yet: that is [store.Lease.PutImage].
func (pl *Plan) Image(ctx context.Context, made *Result) (store.Image, error) {
	r := pl.wish.Recipe
	resolved, err := r.Canonical()
	if err != nil {
		return store.Image{}, fmt.Errorf("config: %w", err)
	}
	c := Config{
		Boards: r.Boards, Bootloader: r.Bootloader, Epoch: r.Epoch, Inputs: map[string]store.Digest{},
		KernelRelease: made.Facts["kernel.release"], Name: r.Name, Origins: made.Origins, Recipe: resolved,
		RecipeDigest: pl.wish.Digest, Schema: configSchema,
	}
	for name := range r.Sources {
		c.Inputs[name] = pl.lock.Sources[name].Digest
	}
	var doc bytes.Buffer
	enc := json.NewEncoder(&doc)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(c); err != nil {
		return store.Image{}, fmt.Errorf("config: %w", err)
	}
	content := store.Bytes(bytes.TrimSpace(doc.Bytes()))
	// It is small, and an image whose config is damaged cannot be read: do not trust what is there.
	if _, err := pl.pipeline.Store.Blobs().Repair(ctx, content); err != nil {
		return store.Image{}, err
	}
	return store.Image{Name: r.Name, Boards: r.Boards, Config: content.Blob(), Files: made.Files}, nil
}

// ReadConfig reads the config of an image.
func ReadConfig(ctx context.Context, s *store.Store, i *store.Image) (Config, error) {
	const limit = 4 << 20
	doc, err := s.Blobs().Read(ctx, i.Config, limit)
	if err != nil {
		return Config{}, fmt.Errorf("config of %s: %w", i.Digest.Short(), err)
	}
	var c Config
	if err := json.Unmarshal(doc, &c); err != nil || c.Schema != configSchema {
		return Config{}, fmt.Errorf("config of %s: schema %d, this piimg knows %d: %w", i.Digest.Short(), c.Schema, configSchema, store.ErrCorrupt)
	}
	return c, nil
}
