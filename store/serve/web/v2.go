package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"piimg/store"
	"piimg/store/serve"
)

// The pull half of the OCI distribution API (distribution-spec v1.1), read-only. Each
// environment is a repository whose tags are "latest", what boards of it get, and the
// number of that step. By digest every image is in every repository, and so is every blob:
// where something belongs to is of no interest to who knows its digest. Signatures of an image
// are its referrers.

// The media types of every manifest, and of a list of them.
const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
)

// errNotOCI is the error of a path below /v2/ that stands for nothing.
var errNotOCI = fmt.Errorf("no such thing in the distribution API: %w", fs.ErrNotExist)

// repository is the form of a repository's name.
const repository = `([a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)`

var (
	manifestPath = regexp.MustCompile(`^/v2/` + repository + `/manifests/([A-Za-z0-9_:.-]{1,128})$`)
	blobPath     = regexp.MustCompile(`^/v2/` + repository + `/blobs/(sha256:[0-9a-f]{64})$`)
	tagsPath     = regexp.MustCompile(`^/v2/` + repository + `/tags/list$`)
	referrerPath = regexp.MustCompile(`^/v2/` + repository + `/referrers/(sha256:[0-9a-f]{64})$`)
)

// v2 answers what is asked below /v2/.
func (h *handler) v2(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	err := h.registry(w, r)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		code := "MANIFEST_UNKNOWN"
		if strings.Contains(r.URL.Path, "/blobs/") {
			code = "BLOB_UNKNOWN"
		} else if strings.HasSuffix(r.URL.Path, "/tags/list") {
			code = "NAME_UNKNOWN"
		}
		h.note(r, err, http.StatusNotFound)
		document(w, r, http.StatusNotFound, "application/json", fmt.Appendf(nil, `{"errors":[{"code":%q,"message":"not found"}]}`, code))
	default:
		h.note(r, err, http.StatusServiceUnavailable)
		w.Header().Set("Retry-After", "5")
		document(w, r, http.StatusServiceUnavailable, "application/json", []byte(`{"errors":[{"code":"UNAVAILABLE","message":"not available now"}]}`))
	}
}

func (h *handler) registry(w http.ResponseWriter, r *http.Request) error {
	path := r.URL.Path
	if path == "/v2" || path == "/v2/" {
		document(w, r, http.StatusOK, "application/json", []byte("{}"))
		return nil
	}
	if path == "/v2/_catalog" {
		return h.catalog(w, r)
	}
	if m := manifestPath.FindStringSubmatch(path); m != nil {
		return h.manifest(w, r, m[1], m[2])
	}
	if m := blobPath.FindStringSubmatch(path); m != nil {
		d, err := store.ParseDigest(m[2])
		if err != nil {
			return errNotOCI
		}
		return h.send(w, r, func(ctx context.Context, q serve.Request) (*serve.File, error) { return h.front.Blob(ctx, q, d) })
	}
	if m := tagsPath.FindStringSubmatch(path); m != nil {
		return h.tags(w, r, m[1])
	}
	if m := referrerPath.FindStringSubmatch(path); m != nil {
		d, err := store.ParseDigest(m[2])
		if err != nil {
			return errNotOCI
		}
		return h.referrers(w, r, d)
	}
	return errNotOCI
}

// manifest sends the manifest that a digest or a tag names: of an image, or of a document
// about one.
func (h *handler) manifest(w http.ResponseWriter, r *http.Request, repo, ref string) error {
	d, err := store.ParseDigest(ref)
	if err != nil {
		e, err := h.environment(repo)
		if err != nil || ref != "latest" && ref != strconv.FormatInt(e.Seq, 10) {
			return errNotOCI
		}
		d = e.Image
	}
	doc, err := h.front.Manifest(r.Context(), d)
	if err != nil {
		return err
	}
	w.Header().Set("Docker-Content-Digest", d.String())
	w.Header().Set("ETag", `"`+d.String()+`"`)
	document(w, r, http.StatusOK, manifestType, doc)
	return nil
}

// environment is the environment of a repository, which has an image.
func (h *handler) environment(repo string) (serve.Environment, error) {
	for _, e := range h.front.Environments() {
		if e.Name == repo && e.Seq > 0 {
			return e, nil
		}
	}
	return serve.Environment{}, errNotOCI
}

func (h *handler) tags(w http.ResponseWriter, r *http.Request, repo string) error {
	e, err := h.environment(repo)
	if err != nil {
		return err
	}
	return documentJSON(w, r, map[string]any{"name": repo, "tags": []string{strconv.FormatInt(e.Seq, 10), "latest"}})
}

func (h *handler) catalog(w http.ResponseWriter, r *http.Request) error {
	names := []string{}
	for _, e := range h.front.Environments() {
		if e.Seq > 0 {
			names = append(names, e.Name)
		}
	}
	return documentJSON(w, r, map[string]any{"repositories": names})
}

func documentJSON(w http.ResponseWriter, r *http.Request, v any) error {
	doc, err := json.Marshal(v)
	if err == nil {
		document(w, r, http.StatusOK, "application/json", doc)
	}
	return err
}

// document answers with a document of known length.
func document(w http.ResponseWriter, r *http.Request, status int, kind string, doc []byte) {
	head := w.Header()
	head.Set("Content-Type", kind)
	head.Set("Content-Length", strconv.Itoa(len(doc)))
	head.Set("Cache-Control", cacheNever)
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(doc)
	}
}

// index is a list of manifests.
type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

// descriptor is a manifest in a list.
type descriptor struct {
	MediaType    string       `json:"mediaType"`
	Digest       store.Digest `json:"digest"`
	Size         int          `json:"size"`
	ArtifactType string       `json:"artifactType"`
	annotated
}

// annotated is what a list says of a manifest in the manifest's own words.
type annotated struct {
	Annotations map[string]string `json:"annotations,omitempty"`
}

// referrers lists the documents about an image, all of them or those of one type. For what
// nobody knows the list is empty, as the specification wants it.
func (h *handler) referrers(w http.ResponseWriter, r *http.Request, image store.Digest) error {
	all, err := h.front.Referrers(r.Context(), image)
	if err != nil {
		return err
	}
	kind := r.URL.Query().Get("artifactType")
	if kind != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	list := index{2, indexType, []descriptor{}}
	for _, ref := range all {
		if kind != "" && ref.Type != kind {
			continue
		}
		d := descriptor{MediaType: manifestType, Digest: ref.Digest, Size: len(ref.Doc), ArtifactType: ref.Type}
		_ = json.Unmarshal(ref.Doc, &d.annotated) // it was read before
		list.Manifests = append(list.Manifests, d)
	}
	doc, err := json.Marshal(list)
	if err == nil {
		document(w, r, http.StatusOK, indexType, doc)
	}
	return err
}
