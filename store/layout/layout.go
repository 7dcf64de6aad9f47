// Package layout carries images in an OCI image layout, a folder or a tar archive of it: one
// file for a network that no cable leads to. What is written is read by skopeo, crane and
// oras, and an image comes back with the digest that it went with.
//
// index.json lists the images, and what refers to them, such as signatures. The record of who
// published an image is an annotation of its entry there, which other tools may drop: then
// who imports it is who published it. The same images give the same bytes.
//
// https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
package layout

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"piimg/store"
)

const (
	versionFile = "oci-layout"
	indexFile   = "index.json"

	version      = `{"imageLayoutVersion":"1.0.0"}`
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"

	nameKey   = "org.opencontainers.image.ref.name" // what skopeo and oras call an image in a layout
	recordKey = "io.piimg.record"
)

// index is index.json, its fields in the order of their JSON names, as in all that this
// package writes.
type index struct {
	Manifests     []entry `json:"manifests"`
	MediaType     string  `json:"mediaType"`
	SchemaVersion int     `json:"schemaVersion"`
}

type entry struct {
	Annotations  map[string]string `json:"annotations,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Digest       store.Digest      `json:"digest"`
	MediaType    string            `json:"mediaType"`
	Size         int64             `json:"size"`
}

func encodeIndex(entries []entry) ([]byte, error) {
	doc, err := json.Marshal(index{entries, indexType, 2})
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", indexFile, err)
	}
	return doc, nil
}

// nameEntries gives each image the name that it has in the layout: its own, and part of its
// digest where another one has the same.
func nameEntries(entries []entry, names []string) {
	for n := range entries {
		name := refName(names[n])
		if name == "" || slices.Contains(names[:n], names[n]) || slices.Contains(names[n+1:], names[n]) {
			name = strings.TrimPrefix(name+"-"+entries[n].Digest.Hex()[:12], "-")
		}
		entries[n].Annotations[nameKey] = name
	}
}

// refName is name as far as it may be the name of an image in a layout.
func refName(name string) string {
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-' {
			return r
		}
		return '-'
	}, name)
	return strings.Trim(safe, "-._")
}
