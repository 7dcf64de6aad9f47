package sources_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"piimg/pipeline"
	"piimg/pipeline/sources"
	"piimg/recipes"
	"piimg/store"
)

// gitRepo is a repository that a test writes.
type gitRepo struct {
	t   *testing.T
	dir string
}

func newGitRepo(t *testing.T) gitRepo {
	g := gitRepo{t, t.TempDir()}
	g.git("init", "-q", "-b", "main")
	return g
}

func (g gitRepo) git(args ...string) string {
	g.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", g.dir, "-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		g.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (g gitRepo) commit(name, text string, mode fs.FileMode) string {
	g.t.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, name), []byte(text), mode); err != nil {
		g.t.Fatal(err)
	}
	g.git("add", "-A")
	g.git("commit", "-q", "-m", "x")
	return g.git("rev-parse", "HEAD")
}

func TestGitIsTheFilesOfACommit(t *testing.T) {
	g := newGitRepo(t)
	g.commit(".gitattributes", "*.txt eol=crlf export-subst\nsecret export-ignore\n", 0o644)
	g.commit("a.txt", "one\n$Format:%H$\n", 0o644)
	g.commit("secret", "s", 0o644)
	first := g.commit("run", "#!/bin/sh\n", 0o755)
	g.git("tag", "v1")
	env := pipeline.FetchEnv{Cache: t.TempDir()}
	s := recipes.Source{Git: "file://" + g.dir, Rev: "v1"}
	got, err := fetch(t, sources.Git{}, s, env)
	if err != nil {
		t.Fatal(err)
	}
	if got.Pin.Version != first || got.Pin.Kind != "git" {
		t.Errorf("pin %+v, want commit %s", got.Pin, first)
	}
	if b, err := fs.ReadFile(got.FS, "a.txt"); string(b) != "one\n$Format:%H$\n" {
		t.Errorf("a.txt is %q, %v: not as it was committed", b, err)
	}
	if info, err := fs.Stat(got.FS, "run"); err != nil || info.Mode() != 0o755 {
		t.Errorf("run: %v, %v", info, err)
	}
	if names, _ := fs.Glob(got.FS, "*"); len(names) != 4 {
		t.Errorf("the tree has %v", names)
	}

	// A branch moves on: the pin stays, also offline, and a new lock follows.
	s.Rev = "main"
	pinned, err := fetch(t, sources.Git{}, s, env)
	if err != nil {
		t.Fatal(err)
	}
	second := g.commit("a.txt", "two\n", 0o644)
	offline := env
	offline.Offline = true
	if again, err := (sources.Git{}).Fetch(t.Context(), s, &pinned.Pin, offline); err != nil || again.Pin != pinned.Pin {
		t.Errorf("pinned and offline: %+v, %v", again.Pin, err)
	}
	if next, err := fetch(t, sources.Git{}, s, env); err != nil || next.Pin.Version != second {
		t.Errorf("newest: %+v, %v", next.Pin, err)
	}
	if _, err := fetch(t, sources.Git{}, recipes.Source{Git: s.Git, Rev: "v1"}, pipeline.FetchEnv{Cache: t.TempDir(), Offline: true}); !errors.Is(err, pipeline.ErrOffline) {
		t.Errorf("offline with nothing kept: %v", err)
	}

	// Elsewhere, a commit that no branch ends at any more is found in what has a name.
	elsewhere := pipeline.FetchEnv{Cache: t.TempDir()}
	if again, err := (sources.Git{}).Fetch(t.Context(), s, &pinned.Pin, elsewhere); err != nil || again.Pin != pinned.Pin {
		t.Errorf("elsewhere: %+v, %v", again.Pin, err)
	}

	// A kept tree that was damaged is written again.
	if err := os.WriteFile(filepath.Join(env.Cache, "git/trees", pinned.Pin.Version, "a.txt"), []byte("damage"), 0o644); err != nil {
		t.Fatal(err)
	}
	if again, err := (sources.Git{}).Fetch(t.Context(), s, &pinned.Pin, offline); err != nil || again.Pin != pinned.Pin {
		t.Errorf("after damage: %+v, %v", again.Pin, err)
	}
}

func TestGitRefused(t *testing.T) {
	g := newGitRepo(t)
	g.commit("f", "f", 0o644)
	for name, tt := range map[string]struct{ url, rev, want string }{
		"no revision":   {"file://" + g.dir, "v9", "fetch revision v9 of file://"},
		"no commit":     {"file://" + g.dir, strings.Repeat("ab", 20), "is in no branch and no tag"},
		"short commit":  {"file://" + g.dir, "e991fa0716", "write all of its 40 digits"},
		"no repository": {"file://" + t.TempDir(), "main", "fetch revision main of file://"},
	} {
		_, err := fetch(t, sources.Git{}, recipes.Source{Git: tt.url, Rev: tt.rev}, pipeline.FetchEnv{Cache: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// oneImage is a store of one image, prod.
type oneImage struct {
	digest store.Digest
	fsys   fs.FS
}

func (o oneImage) Image(_ context.Context, name string) (store.Digest, fs.FS, int64, error) {
	if name != "prod" && name != o.digest.String() {
		return store.Digest{}, nil, 0, fs.ErrNotExist
	}
	return o.digest, o.fsys, 3, nil
}

func TestImageIsPinnedByItsDigest(t *testing.T) {
	images := oneImage{store.Sum([]byte("image")), os.DirFS(t.TempDir())}
	s := recipes.Source{Image: "prod"}
	got, err := fetch(t, sources.Image{Images: images}, s, pipeline.FetchEnv{Offline: true})
	if err != nil || got.Pin.Version != images.digest.String() || got.Pin.Digest != images.digest {
		t.Fatalf("%+v, %v", got.Pin, err)
	}
	pin := got.Pin
	if again, err := (sources.Image{Images: images}).Fetch(t.Context(), s, &pin, pipeline.FetchEnv{}); err != nil || again.Pin != pin {
		t.Errorf("pinned: %+v, %v", again.Pin, err)
	}
	pin.Version = store.Sum(nil).String()
	if _, err := (sources.Image{Images: images}).Fetch(t.Context(), s, &pin, pipeline.FetchEnv{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an image that is gone: %v", err)
	}
	if _, err := fetch(t, sources.Image{}, s, pipeline.FetchEnv{}); err == nil {
		t.Error("without a store there was an image")
	}
}
