package fsck

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"piimg/store"
)

// Impact is whom a damaged object hits.
type Impact struct {
	Files  []Use    `json:"files,omitempty"`        // of images that are made of it
	Envs   []EnvUse `json:"environments,omitempty"` // that run or ran such an image
	Boards []string `json:"boards,omitempty"`       // that are set to what is hit
}

// Use is a file of an image, or its manifest or config.
type Use struct {
	Image store.Digest `json:"image"`
	Name  string       `json:"name,omitempty"` // of the recipe
	Path  string       `json:"path"`
}

// EnvUse is an environment that runs an image, or ran it at some steps.
type EnvUse struct {
	Env   string  `json:"environment"`
	Head  bool    `json:"head"` // it runs it now
	Steps []int64 `json:"steps"`
}

// impact says of all findings whom they hit.
func (c *checker) impact(all []Finding) {
	uses := map[string][]Use{} // by key
	for _, i := range c.sortedImages() {
		if !i.kept {
			continue
		}
		name := ""
		if i.doc != nil {
			name = i.doc.Name
		}
		use := func(key, path string) { uses[key] = append(uses[key], Use{i.digest, name, path}) }
		use(store.BlobKey(i.digest), "manifest")
		for _, b := range i.about {
			use(store.BlobKey(b.Digest), "a document about it")
		}
		use(store.RecordKey(i.digest), "record")
		if i.doc == nil {
			continue
		}
		use(store.BlobKey(i.doc.Config.Digest), "config")
		for _, f := range i.doc.Files {
			for _, p := range f.Parts {
				use(store.BlobKey(p.Digest), f.Path)
			}
		}
	}
	for n := range all {
		all[n].Impact = c.impactOf(all[n].Key, uses[all[n].Key])
	}
}

func (c *checker) impactOf(key string, uses []Use) Impact {
	hit := Impact{Files: uses}
	images := map[store.Digest]bool{}
	for _, u := range uses {
		images[u.Image] = true
	}
	kind, rest, _ := strings.Cut(key, "/")
	name, _, _ := strings.Cut(rest, "/")
	boards := map[string]bool{}
	for _, e := range slices.Sorted(maps.Keys(c.envs)) {
		u := c.envs[e].use(e, images)
		if kind == "envs" && name == e {
			u.Head = true
		}
		if u.Head || len(u.Steps) > 0 {
			hit.Envs = append(hit.Envs, u)
		}
		if u.Head {
			c.boardsOf(e, boards)
		}
	}
	for id, h := range c.boards {
		if images[h.head.image] || kind == "boards" && name == id {
			boards[id] = true
		}
	}
	hit.Boards = slices.Sorted(maps.Keys(boards))
	return hit
}

// boardsOf adds the boards that are set to an environment.
func (c *checker) boardsOf(environment string, to map[string]bool) {
	for id, h := range c.boards {
		if h.head.env == environment {
			to[id] = true
		}
	}
}

// use is how an environment uses images.
func (h *history) use(name string, images map[store.Digest]bool) EnvUse {
	u := EnvUse{Env: name, Head: h.head.seq > 0 && images[h.head.image], Steps: []int64{}}
	for _, s := range h.steps {
		if images[s.image] {
			u.Steps = append(u.Steps, s.seq)
		}
	}
	slices.SortFunc(u.Steps, func(a, b int64) int { return cmp.Compare(a, b) })
	return u
}
