package web_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"piimg/store"
	"piimg/store/serve/servetest"
	"piimg/store/serve/web"
)

// foreign runs somebody else's program, and returns what it prints.
func foreign(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "XDG_RUNTIME_DIR="+t.TempDir())
	out, err := cmd.Output()
	if err != nil {
		var stderr []byte
		if e, ok := err.(*exec.ExitError); ok {
			stderr = e.Stderr
		}
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr)
	}
	return string(out)
}

// buildPull builds a client of registries out of the libraries of others.
func buildPull(t *testing.T) string {
	t.Helper()
	pull := filepath.Join(t.TempDir(), "pull")
	if out, err := exec.Command("go", "build", "-C", "testdata/pull", "-o", pull, ".").CombinedOutput(); err != nil {
		t.Fatalf("build the client: %v\n%s", err, out)
	}
	return pull
}

// TestRegistryClients has the libraries behind crane and ORAS, and skopeo, pull an image
// from the front end by tag and by digest, and verify it.
func TestRegistryClients(t *testing.T) {
	front, image := servetest.NewFront(t, files)
	s := listen(t, web.Config{}, front)
	pull := buildPull(t)
	want := []string{"manifest " + image.String()}
	for name, body := range files {
		want = append(want, name+" "+store.Sum(body).String())
	}
	slices.Sort(want)
	for _, client := range []string{"crane", "oras"} {
		for _, ref := range []string{"latest", "1", image.String()} {
			got := strings.Split(strings.TrimSpace(foreign(t, pull, client, s.Addr().String(), "dev", ref)), "\n")
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s of dev %s:\n%s\nwant:\n%s", client, ref, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
	layout := t.TempDir()
	foreign(t, "skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "--preserve-digests", "docker://"+s.Addr().String()+"/dev:latest", "oci:"+layout+":dev")
	for _, body := range append([][]byte{}, files["vmlinuz"], files["config.txt"]) {
		got, err := os.ReadFile(filepath.Join(layout, "blobs", "sha256", store.Sum(body).Hex()))
		if err != nil || string(got) != string(body) {
			t.Errorf("skopeo has other bytes of %s: %v", store.Sum(body).Short(), err)
		}
	}
	if _, err := os.Stat(filepath.Join(layout, "blobs", "sha256", image.Hex())); err != nil {
		t.Errorf("skopeo has another manifest: %v", err)
	}
}

// TestRegistry asks for what there is and what there is not.
func TestRegistry(t *testing.T) {
	front, image := servetest.NewFront(t, files)
	s := listen(t, web.Config{}, front)
	kernel := store.Sum(files["vmlinuz"])
	for target, want := range map[string]string{
		"/v2":                                    "200 application/json {}",
		"/v2/":                                   "200 application/json {}",
		"/v2/_catalog":                           `200 application/json {"repositories":["dev"]}`,
		"/v2/dev/tags/list":                      `200 application/json {"name":"dev","tags":["1","latest"]}`,
		"/v2/dev/blobs/" + kernel.String():       "200 application/octet-stream " + string(files["vmlinuz"]),
		"/v2/any/thing/blobs/" + kernel.String(): "200 application/octet-stream " + string(files["vmlinuz"]),
		"/v2/dev/blobs/" + store.Sum([]byte("nothing")).String(): `404 application/json {"errors":[{"code":"BLOB_UNKNOWN","message":"not found"}]}`,
		"/v2/dev/manifests/2":                              `404 application/json {"errors":[{"code":"MANIFEST_UNKNOWN","message":"not found"}]}`,
		"/v2/dev/manifests/" + kernel.String():             `404 application/json {"errors":[{"code":"MANIFEST_UNKNOWN","message":"not found"}]}`,
		"/v2/prod/manifests/latest":                        `404 application/json {"errors":[{"code":"MANIFEST_UNKNOWN","message":"not found"}]}`,
		"/v2/prod/tags/list":                               `404 application/json {"errors":[{"code":"NAME_UNKNOWN","message":"not found"}]}`,
		"/v2/dev/manifests/../../../etc/passwd":            `404 application/json {"errors":[{"code":"MANIFEST_UNKNOWN","message":"not found"}]}`,
		"/v2/DEV/manifests/latest":                         `404 application/json {"errors":[{"code":"MANIFEST_UNKNOWN","message":"not found"}]}`,
		"/v2/dev/referrers/" + image.String():              `200 application/vnd.oci.image.index.v1+json {"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`,
		"/v2/dev/referrers/" + kernel.String():             `200 application/vnd.oci.image.index.v1+json {"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`,
		"/v2/dev/referrers/latest":                         `404 application/json {"errors":[{"code":"MANIFEST_UNKNOWN","message":"not found"}]}`,
		"/v2/dev/blobs/sha512:" + strings.Repeat("0", 128): `404 application/json {"errors":[{"code":"BLOB_UNKNOWN","message":"not found"}]}`,
	} {
		r, body := ask(t, s, "GET "+target+" HTTP/1.1\nHost: x")
		if got := strings.Join([]string{r.Status[:3], r.Header.Get("Content-Type"), body}, " "); got != want {
			t.Errorf("%s: %.200q, want %.200q", target, got, want)
		}
		if r.ContentLength < 0 || r.Header.Get("Docker-Distribution-Api-Version") != "registry/2.0" {
			t.Errorf("%s: headers %v", target, r.Header)
		}
		h, empty := ask(t, s, "HEAD "+target+" HTTP/1.1\nHost: x")
		if h.StatusCode != r.StatusCode || h.ContentLength != r.ContentLength || empty != "" {
			t.Errorf("HEAD %s: %s with %d bytes, GET %s with %d", target, h.Status, h.ContentLength, r.Status, r.ContentLength)
		}
	}
	r, body := ask(t, s, "GET /v2/dev/manifests/latest HTTP/1.1\nHost: x")
	var m struct{ MediaType string }
	if err := json.Unmarshal([]byte(body), &m); err != nil || store.Sum([]byte(body)) != image ||
		r.Header.Get("Docker-Content-Digest") != image.String() || r.Header.Get("Content-Type") != m.MediaType {
		t.Errorf("manifest: %v, headers %v\n%s", err, r.Header, body)
	}
	if r, body := ask(t, s, "GET /v2/dev/blobs/"+kernel.String()+" HTTP/1.1\nHost: x\nRange: bytes=10-19"); r.StatusCode != 206 || body != string(files["vmlinuz"][10:20]) {
		t.Errorf("range of a blob: %s %q", r.Status, body)
	}
	if r, _ := ask(t, s, "POST /v2/dev/blobs/uploads/ HTTP/1.1\nHost: x\nContent-Length: 0"); r.StatusCode != 405 {
		t.Errorf("upload: %s", r.Status)
	}
}
