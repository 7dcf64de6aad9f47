package recipes

import (
	"bytes"
	"encoding/json"

	"piimg/store"
)

// Canonical is the recipe as JSON without white space: keys in the order of the types
// here, those of maps sorted, and no escapes for HTML. Two recipes that say the same have
// the same bytes, however they are laid out, divided among files or checked out.
func (r *Recipe) Canonical() ([]byte, error) { return compact(r) }

func compact(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Digest names the recipe together with what its sources were pinned to: the SHA-256 of
// its canonical form and of the digests that l pins for the sources that it declares. l
// may be nil.
func (r *Recipe) Digest(l *Lock) store.Digest {
	pins := map[string]store.Digest{}
	for name := range r.Sources {
		if p, ok := l.pin(name); ok {
			pins[name] = p.Digest
		}
	}
	b, err := compact(struct {
		Recipe *Recipe                 `json:"recipe"`
		Pins   map[string]store.Digest `json:"pins"`
	}{r, pins})
	if err != nil {
		panic(err) // these types hold nothing that JSON cannot
	}
	return store.Sum(b)
}
