package sources_test

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"piimg/pipeline"
	"piimg/pipeline/sources"
	"piimg/recipes"
	"piimg/store"
)

func fetch(t *testing.T, f pipeline.Fetcher, s recipes.Source, env pipeline.FetchEnv) (pipeline.Fetched, error) {
	t.Helper()
	if !f.Takes(s) {
		t.Fatalf("%s does not take %+v", f.Kind(), s)
	}
	return f.Fetch(t.Context(), s, nil, env)
}

func TestEverySourceHasOneKind(t *testing.T) {
	for _, s := range []recipes.Source{{Module: "m@v1"}, {Path: "p"}, {URL: "http://host/f"}, {Deb: "d"}, {Git: "g"}, {Image: "i"}} {
		n := 0
		for _, f := range sources.All(nil) {
			if f.Takes(s) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d kinds take %+v", n, s)
		}
	}
}

func TestPathIsAFolderOrAFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "tree/sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tree/sub/f", "tree/sub/neighbour"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := fetch(t, sources.Local{}, recipes.Source{Path: "tree"}, pipeline.FetchEnv{Dir: dir})
	if err != nil || tree.Pin.Kind != "dir" || tree.Pin.Size != 2 {
		t.Errorf("folder: %+v, %v", tree.Pin, err)
	}
	file, err := fetch(t, sources.Local{}, recipes.Source{Path: "tree/sub/f"}, pipeline.FetchEnv{Dir: dir})
	if err != nil || file.Pin.Kind != "file" || file.Pin.Digest != store.Sum([]byte("x")) {
		t.Errorf("file: %+v, %v", file.Pin, err)
	}
	if names, _ := fs.Glob(file.FS, "*"); len(names) != 1 || names[0] != "f" {
		t.Errorf("the tree of a file shows %v", names)
	}
	for _, path := range []string{"none", "../up"} {
		if _, err := fetch(t, sources.Local{}, recipes.Source{Path: path}, pipeline.FetchEnv{Dir: filepath.Join(dir, "tree")}); err == nil {
			t.Errorf("path %s was fetched", path)
		}
	}
}

func TestModuleIsPinnedBySumAndTree(t *testing.T) {
	s := recipes.Source{Module: "github.com/cavaliergopher/cpio@v1.0.1"}
	got, err := fetch(t, sources.Module{}, s, pipeline.FetchEnv{})
	if err != nil {
		t.Fatal(err)
	}
	// From go.sum of any module that uses it.
	if got.Pin.Sum != "h1:KQFSeKmZhv0cr+kawA3a0xTQCU4QxXF1vhU7P7av2KM=" || got.Pin.Version != "v1.0.1" || got.Pin.Kind != "module" {
		t.Errorf("pin %+v", got.Pin)
	}
	if _, err := fs.Stat(got.FS, "svr4.go"); err != nil {
		t.Error(err)
	}
	again, err := fetch(t, sources.Module{}, s, pipeline.FetchEnv{Offline: true})
	if err != nil || again.Pin != got.Pin {
		t.Errorf("offline: %+v, %v", again.Pin, err)
	}
	t.Setenv("GOMODCACHE", t.TempDir())
	t.Setenv("GOFLAGS", "-modcacherw")
	if _, err := fetch(t, sources.Module{}, s, pipeline.FetchEnv{Offline: true}); !errors.Is(err, pipeline.ErrOffline) {
		t.Errorf("offline with an empty module cache: %v", err)
	}
}

func TestURLIsKeptOnlyIfItIsTheRightOne(t *testing.T) {
	answer, status, asked := "content", http.StatusOK, 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.WriteHeader(status)
		_, _ = w.Write([]byte(answer))
	}))
	defer server.Close()
	env := pipeline.FetchEnv{Cache: t.TempDir()}
	s := recipes.Source{URL: server.URL + "/dir/rootfs.cpio.gz", SHA256: store.Sum([]byte("content")).Hex()}
	get := func() (pipeline.Fetched, error) { return fetch(t, sources.URL{Client: server.Client()}, s, env) }

	answer = "contenu"
	if _, err := get(); err == nil || !strings.Contains(err.Error(), "the recipe says "+store.Sum([]byte("content")).String()) {
		t.Errorf("wrong content: %v", err)
	}
	answer, status = "content", http.StatusNotFound
	if _, err := get(); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("404: %v", err)
	}
	status = http.StatusOK
	got, err := get()
	if err != nil || got.Pin.Kind != "url" || got.Pin.Size != 7 {
		t.Fatalf("%+v, %v", got.Pin, err)
	}
	if b, err := fs.ReadFile(got.FS, "rootfs.cpio.gz"); string(b) != "content" {
		t.Errorf("read %q, %v", b, err)
	}
	before := asked
	env.Offline = true
	if _, err := get(); err != nil || asked != before {
		t.Errorf("kept file: %v, asked %d more times", err, asked-before)
	}

	// A kept file that was damaged is fetched again.
	kept := filepath.Join(env.Cache, "urls", s.SHA256, "rootfs.cpio.gz")
	if err := os.WriteFile(kept, []byte("damage!"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := get(); !errors.Is(err, pipeline.ErrOffline) {
		t.Errorf("damaged and offline: %v", err)
	}
	env.Offline = false
	if _, err := get(); err != nil || asked != before+1 {
		t.Errorf("damaged: %v, asked %d times", err, asked-before)
	}
}

func TestURLErrorHidesThePassword(t *testing.T) {
	s := recipes.Source{URL: "http://user:hunter2@127.0.0.1:1/f", SHA256: store.Sum(nil).Hex()}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := sources.URL{Client: http.DefaultClient}.Fetch(ctx, s, nil, pipeline.FetchEnv{Cache: t.TempDir()})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
}
