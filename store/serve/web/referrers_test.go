package web_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"piimg/store"
	"piimg/store/mem"
	"piimg/store/serve/servetest"
	"piimg/store/serve/web"
	"piimg/store/sign"
)

// TestReferrers has the libraries behind crane and ORAS find the signature of an image among
// the documents about it, and ssh-keygen check that against the manifest that they pull.
func TestReferrers(t *testing.T) {
	s, err := store.Init(t.Context(), mem.New())
	if err != nil {
		t.Fatal(err)
	}
	image := servetest.Publish(t, s, map[string][]byte{"vmlinuz": []byte("kernel")})
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	foreign(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f", key)
	alice, err := sign.Open(t.Context(), key, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := sign.Image(t.Context(), s, image, alice); err != nil {
		t.Fatal(err)
	}
	subject, err := s.Blobs().Find(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	note, err := store.EncodeReferrer(store.Referrer{Subject: subject, Type: "text/note", Media: "text/plain", Content: []store.Blob{servetest.Put(t, s, []byte("a note\n"))}})
	if err == nil {
		_, err = s.PutReferrer(t.Context(), note)
	}
	if err != nil {
		t.Fatal(err)
	}

	server := listen(t, web.Config{}, servetest.Serve(t, s, image))
	pull := buildPull(t)
	for _, client := range []string{"crane-refer", "oras-refer"} {
		refer := func(kind string) string {
			return foreign(t, pull, client, server.Addr().String(), "dev", image.String(), kind)
		}
		if got, want := refer("text/note"), "text/note "+store.Sum(note).String()+"\na note\n"; got != want {
			t.Errorf("%s, the note: %q, want %q", client, got, want)
		}
		if got := refer(""); !strings.Contains(got, "a note\n") || !strings.Contains(got, sign.SignatureType) {
			t.Errorf("%s, all: %q", client, got)
		}
		if got := refer("text/nothing"); got != "" {
			t.Errorf("%s, of a type that nothing has: %q", client, got)
		}
		kind, sig, _ := strings.Cut(refer(sign.SignatureType), "\n")
		if !strings.HasPrefix(kind, sign.SignatureType+" sha256:") {
			t.Fatalf("%s, the signature: %q", client, kind)
		}
		_, manifest := ask(t, server, "GET /v2/dev/manifests/"+image.String()+" HTTP/1.1\nHost: x")
		if out, err := verifies(t, dir, sig, manifest); err != nil {
			t.Errorf("%s: ssh-keygen does not take the signature: %v\n%s", client, err, out)
		}
		if _, err := verifies(t, dir, sig, manifest+" "); err == nil {
			t.Errorf("%s: ssh-keygen takes it for anything", client)
		}
	}
	r, _ := ask(t, server, "GET /v2/dev/referrers/"+image.String()+"?artifactType=text/note HTTP/1.1\nHost: x")
	if r.Header.Get("OCI-Filters-Applied") != "artifactType" {
		t.Errorf("it is not said that a filter was used: %v", r.Header)
	}
}

// verifies has ssh-keygen check that the key in dir has signed text as an image.
func verifies(t *testing.T, dir, sig, text string) (string, error) {
	t.Helper()
	public, err := os.ReadFile(filepath.Join(dir, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{"allowed": "alice " + string(public), "sig": sig} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("ssh-keygen", "-Y", "verify", "-f", filepath.Join(dir, "allowed"), "-I", "alice", "-n", sign.ImageNamespace, "-s", filepath.Join(dir, "sig"))
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
