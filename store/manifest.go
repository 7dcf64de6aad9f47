package store

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
)

// ImageType is the artifact type of a manifest that is an image.
const ImageType = "application/vnd.piimg.image.v1"

// Media types of the OCI image specification and of piimg.
const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.piimg.config.v1+json"
	fileType     = "application/vnd.piimg.file.v1"
)

// Annotation keys. The title is OCI's, so that ORAS unpacks files under their names.
const (
	titleKey  = "org.opencontainers.image.title"
	modeKey   = "io.piimg.mode"
	pathKey   = "io.piimg.path"
	partKey   = "io.piimg.part"
	sumKey    = "io.piimg.file-sha256"
	recipeKey = "io.piimg.recipe"
	boardsKey = "io.piimg.boards"
)

// MaxManifestLen is how many bytes the manifest of an image may have, which is what
// registries accept. A longer one is never written and never read.
const MaxManifestLen = 4 << 20

const maxLayers = 4096

// manifest is an OCI image manifest. The fields stand in the order of their JSON names,
// and so do those below: encoding/json writes them in this order, which makes the
// encoding canonical (sorted keys, no white space).
type manifest struct {
	Annotations   map[string]string `json:"annotations,omitempty"`
	ArtifactType  string            `json:"artifactType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	MediaType     string            `json:"mediaType"`
	SchemaVersion int               `json:"schemaVersion"`
}

type descriptor struct {
	Annotations map[string]string `json:"annotations,omitempty"`
	Digest      Digest            `json:"digest"`
	MediaType   string            `json:"mediaType"`
	Size        int64             `json:"size"`
}

// EncodeManifest is the canonical manifest of i: the bytes whose digest names the image.
func EncodeManifest(i Image) ([]byte, error) {
	for _, f := range i.Files {
		if err := f.check(); err != nil {
			return nil, err
		}
	}
	i.Files = slices.SortedFunc(slices.Values(i.Files), func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	doc, err := canonical(newManifest(i))
	if err != nil {
		return nil, fmt.Errorf("encode manifest of %s: %w", i.Name, err)
	}
	// What nobody could read back must not be written.
	got, err := DecodeManifest(doc)
	if err != nil {
		return nil, fmt.Errorf("encode manifest of %s: %w", i.Name, err)
	}
	if got.Name != i.Name || !slices.Equal(got.Boards, i.Boards) {
		return nil, fmt.Errorf("encode manifest of %q: the name is no text, or a board of %q is empty or has a comma", i.Name, i.Boards)
	}
	return doc, nil
}

// newManifest is the manifest of i, whose files are sorted.
func newManifest(i Image) manifest {
	m := manifest{
		Annotations:   map[string]string{recipeKey: i.Name, boardsKey: strings.Join(i.Boards, ",")},
		ArtifactType:  ImageType,
		Config:        descriptor{Digest: i.Config.Digest, MediaType: configType, Size: i.Config.Size},
		Layers:        []descriptor{},
		MediaType:     manifestType,
		SchemaVersion: 2,
	}
	for _, f := range i.Files {
		m.Layers = append(m.Layers, layers(f)...)
	}
	return m
}

func layers(f File) []descriptor {
	mode := fmt.Sprintf("%04o", f.Mode)
	if len(f.Parts) == 1 {
		return []descriptor{{
			Annotations: map[string]string{titleKey: f.Path, modeKey: mode},
			Digest:      f.Digest, MediaType: fileType, Size: f.Size,
		}}
	}
	var all []descriptor
	for n, p := range f.Parts {
		part := strconv.Itoa(n)
		all = append(all, descriptor{
			Annotations: map[string]string{
				titleKey: f.Path + ".part" + part, modeKey: mode,
				pathKey: f.Path, partKey: part, sumKey: f.Digest.String(),
			},
			Digest: p.Digest, MediaType: fileType, Size: p.Size,
		})
	}
	return all
}

// DecodeManifest reads a manifest and sets the image's digest to that of doc. Whatever
// is not an image as this version writes it, to the byte, is refused with an error that
// wraps ErrCorrupt: an image has one digest, and no reader sees in it what another does not.
func DecodeManifest(doc []byte) (*Image, error) {
	m, err := parseManifest(doc)
	if err != nil {
		return nil, err
	}
	i := &Image{
		Digest: Sum(doc),
		Name:   m.Annotations[recipeKey],
		Config: Blob{m.Config.Digest, m.Config.Size},
	}
	if err := cmp.Or(CheckLine("name", i.Name), CheckLine("list of boards", m.Annotations[boardsKey])); err != nil {
		return nil, fmt.Errorf("manifest: %w: %w", ErrCorrupt, err)
	}
	if b := m.Annotations[boardsKey]; b != "" {
		i.Boards = strings.Split(b, ",")
	}
	for _, l := range m.Layers {
		if err := i.addLayer(l); err != nil {
			return nil, err
		}
	}
	if err := checkFiles(i.Files); err != nil {
		return nil, err
	}
	if want, err := canonical(newManifest(*i)); err != nil || !bytes.Equal(doc, want) {
		return nil, fmt.Errorf("manifest is not in canonical form or holds more than an image: %w", ErrCorrupt)
	}
	return i, nil
}

func parseManifest(doc []byte) (manifest, error) {
	var m manifest
	if len(doc) > MaxManifestLen {
		return m, fmt.Errorf("manifest of %d bytes is longer than %d: %w", len(doc), MaxManifestLen, ErrCorrupt)
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.DisallowUnknownFields() // "manifests" beside "layers" is CVE-2021-41190
	if err := dec.Decode(&m); err != nil {
		return m, fmt.Errorf("manifest: %w: %w", ErrCorrupt, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return m, fmt.Errorf("manifest: text after its end: %w", ErrCorrupt)
	}
	switch {
	case m.SchemaVersion != 2 || m.MediaType != manifestType:
		return m, fmt.Errorf("manifest has media type %q and schema version %d: %w", m.MediaType, m.SchemaVersion, ErrCorrupt)
	case m.ArtifactType != ImageType:
		return m, fmt.Errorf("manifest is a %q, not a %s: %w", m.ArtifactType, ImageType, ErrCorrupt)
	case m.Config.MediaType != configType || m.Config.Digest.IsZero() || m.Config.Size < 0:
		return m, fmt.Errorf("manifest has a config of type %q and %d bytes: %w", m.Config.MediaType, m.Config.Size, ErrCorrupt)
	case len(m.Layers) > maxLayers:
		return m, fmt.Errorf("manifest has %d layers, more than %d: %w", len(m.Layers), maxLayers, ErrCorrupt)
	}
	return m, nil
}

// addLayer turns a layer into a file, or into the next part of the file before it.
func (i *Image) addLayer(l descriptor) error {
	mode, err := strconv.ParseUint(l.Annotations[modeKey], 8, 32)
	if err != nil || (mode != 0o644 && mode != 0o755) || l.MediaType != fileType {
		return fmt.Errorf("layer %q has mode %q and type %q: %w", l.Annotations[titleKey], l.Annotations[modeKey], l.MediaType, ErrCorrupt)
	}
	part, split := l.Annotations[partKey]
	if !split {
		i.Files = append(i.Files, NewFile(l.Annotations[titleKey], uint32(mode), Blob{l.Digest, l.Size}))
		return nil
	}
	sum, err := ParseDigest(l.Annotations[sumKey])
	if err != nil {
		return fmt.Errorf("layer %q: %w: %w", l.Annotations[titleKey], ErrCorrupt, err)
	}
	name := l.Annotations[pathKey]
	if part == "0" {
		i.Files = append(i.Files, File{Path: name, Mode: uint32(mode), Digest: sum})
	}
	last := len(i.Files) - 1
	if last < 0 || i.Files[last].Path != name || i.Files[last].Digest != sum ||
		part != strconv.Itoa(len(i.Files[last].Parts)) || l.Annotations[titleKey] != name+".part"+part {
		return fmt.Errorf("layer %q is out of place: %w", l.Annotations[titleKey], ErrCorrupt)
	}
	i.Files[last].Parts = append(i.Files[last].Parts, Blob{l.Digest, l.Size})
	i.Files[last].Size += l.Size
	return nil
}

// checkFiles refuses unsafe, unsorted and doubled paths, and those that could not be
// unpacked into one folder, where each layer becomes a file under its title.
func checkFiles(files []File) error {
	last := ""
	names := map[string]bool{} // paths and titles
	for _, f := range files {
		if err := f.check(); err != nil {
			return err
		}
		if f.Path <= last {
			return fmt.Errorf("file %s comes twice or out of order: %w", f.Path, ErrCorrupt)
		}
		last = f.Path
		for _, l := range layers(f) {
			title := l.Annotations[titleKey]
			if names[title] {
				return fmt.Errorf("layer %s comes twice: %w", title, ErrCorrupt)
			}
			names[title] = true
		}
		names[f.Path] = true
	}
	for _, f := range files {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			if names[dir] {
				return fmt.Errorf("file %s: %s is a file, not a folder: %w", f.Path, dir, ErrCorrupt)
			}
		}
	}
	return nil
}

// canonical is the JSON of v without white space or HTML escapes. Struct fields have to
// be declared in the order of their names; maps are sorted by encoding/json.
func canonical(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
