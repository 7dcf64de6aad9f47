package sources_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"piimg/pipeline"
	"piimg/pipeline/sources"
	"piimg/recipes"
)

// debian is the archive that the machine has, whatever else it has.
func debian(deb string) recipes.Source {
	return recipes.Source{Deb: deb, Components: []string{"main", "non-free-firmware"}}
}

// The newest version that Debian has of a package for another architecture: mirrors drop
// old ones, so the test says which it was.
func TestDebIsThatOfTheSignedIndex(t *testing.T) {
	env := pipeline.FetchEnv{Cache: t.TempDir()}
	s := debian("busybox-static:arm64")
	got, err := fetch(t, sources.Deb{}, s, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s %s", got.Pin.Version, got.Pin.Sum)
	if !strings.HasPrefix(got.Pin.Version, "busybox-static:arm64=") || got.Pin.Kind != "deb" {
		t.Errorf("pin %+v", got.Pin)
	}
	name := "bin/busybox"
	if _, err := fs.Stat(got.FS, name); err != nil {
		name = "usr/bin/busybox"
	}
	b, err := fs.ReadFile(got.FS, name)
	if err != nil || string(b[:4]) != "\x7fELF" || b[18] != 0xb7 { // EM_AARCH64
		t.Errorf("%s is no program for arm64: %v", name, err)
	}

	// Pinned, it is what was kept; nobody is asked.
	env.Offline = true
	again, err := sources.Deb{}.Fetch(t.Context(), s, &got.Pin, env)
	if err != nil || again.Pin != got.Pin {
		t.Errorf("offline: %+v, %v", again.Pin, err)
	}
	if pin, err := fetch(t, sources.Deb{}, s, env); err != nil || pin.Pin != got.Pin {
		t.Errorf("locked offline, by the index that is there: %+v, %v", pin.Pin, err)
	}
	if _, err := fetch(t, sources.Deb{}, debian("raspi-firmware"), env); !errors.Is(err, pipeline.ErrOffline) {
		t.Errorf("another package offline: %v", err)
	}
}

// repository is a flat archive of one package, signed by nobody.
type repository struct {
	t   *testing.T
	dir string // of the recipe; the packages are in repo/ of it
}

func newRepository(t *testing.T) *repository {
	return &repository{t, t.TempDir()}
}

func (r *repository) path(elem ...string) string {
	return filepath.Join(append([]string{r.dir}, elem...)...)
}

func (r *repository) write(name, text string) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Dir(r.path(name)), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(r.path(name), []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// publish makes packages of these versions the only ones of the archive.
func (r *repository) publish(packages ...[3]string) { // name, version, depends
	r.t.Helper()
	index := ""
	for _, p := range packages {
		control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: arm64\nMaintainer: nobody <nobody@example.org>\nDepends: %s\nDescription: x\n", p[0], p[1], p[2])
		if p[2] == "" {
			control = strings.Replace(control, "Depends: \n", "", 1)
		}
		build := "build-" + p[0] + p[1]
		r.write(build+"/DEBIAN/control", control)
		r.write(build+"/opt/"+p[0], p[1])
		file := p[0] + "_" + p[1] + ".deb"
		r.write("repo/x", "")
		if said, err := exec.Command("dpkg-deb", "-Zgzip", "-b", r.path(build), r.path("repo", file)).CombinedOutput(); err != nil {
			r.t.Fatalf("%v\n%s", err, said)
		}
		b, err := os.ReadFile(r.path("repo", file))
		if err != nil {
			r.t.Fatal(err)
		}
		index += fmt.Sprintf("%sFilename: ./%s\nSize: %d\nSHA256: %x\n\n", control, file, len(b), sha256.Sum256(b))
	}
	r.write("repo/Packages", index)
	r.write("trusted.list", "deb [trusted=yes] file:"+r.path("repo")+" ./\n")
	r.write("unsigned.list", "deb file:"+r.path("repo")+" ./\n")
}

func TestDebFromAnArchiveOfTheRecipe(t *testing.T) {
	r := newRepository(t)
	r.publish([3]string{"meta", "1", "real-1-arm64 (= 1), other | third"}, [3]string{"real-1-arm64", "1", ""})
	env := pipeline.FetchEnv{Dir: r.dir, Cache: t.TempDir()}
	s := recipes.Source{Deb: "meta:arm64", Depends: []string{"real-*"}, Archive: "trusted.list"}
	got, err := fetch(t, sources.Deb{}, s, env)
	if err != nil {
		t.Fatal(err)
	}
	if got.Pin.Version != "meta:arm64=1 real-1-arm64:arm64=1" || len(strings.Fields(got.Pin.Sum)) != 2 {
		t.Errorf("pin %+v", got.Pin)
	}
	for _, name := range []string{"opt/meta", "opt/real-1-arm64"} {
		if b, err := fs.ReadFile(got.FS, name); string(b) != "1" {
			t.Errorf("%s is %q, %v", name, b, err)
		}
	}

	// A tree that was damaged is unpacked again, and a file that was is fetched again.
	trees, _ := filepath.Glob(filepath.Join(env.Cache, "debs/trees/*/opt/meta"))
	files, _ := filepath.Glob(filepath.Join(env.Cache, "debs/*/meta_arm64.deb"))
	for _, name := range append(trees, files...) {
		if err := os.WriteFile(name, []byte("damage"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if again, err := (sources.Deb{}).Fetch(t.Context(), s, &got.Pin, env); err != nil || again.Pin != got.Pin || len(files)+len(trees) != 2 {
		t.Errorf("after damage to %v and %v: %+v, %v", trees, files, again.Pin, err)
	}

	// The archive moves on: what is pinned stays while it is kept, and is gone after that.
	r.publish([3]string{"meta", "2", "real-2-arm64 (= 2)"}, [3]string{"real-2-arm64", "2", ""})
	if again, err := (sources.Deb{}).Fetch(t.Context(), s, &got.Pin, env); err != nil || again.Pin != got.Pin {
		t.Errorf("kept: %+v, %v", again.Pin, err)
	}
	var gone *sources.GoneError
	_, err = sources.Deb{}.Fetch(t.Context(), s, &got.Pin, pipeline.FetchEnv{Dir: r.dir, Cache: t.TempDir()})
	if !errors.As(err, &gone) || !strings.Contains(err.Error(), "meta:arm64=1") || !strings.Contains(gone.Hint(), "--update") {
		t.Errorf("gone: %v", err)
	}
	if next, err := fetch(t, sources.Deb{}, s, env); err != nil || next.Pin.Version != "meta:arm64=2 real-2-arm64:arm64=2" {
		t.Errorf("newest: %+v, %v", next.Pin, err)
	}
}

func TestDebRefused(t *testing.T) {
	r := newRepository(t)
	r.publish([3]string{"one", "1", "two"})
	for name, tt := range map[string]struct {
		source recipes.Source
		want   string
	}{
		"unsigned":       {recipes.Source{Deb: "one", Archive: "unsigned.list"}, "does not have a Release file"},
		"unknown":        {recipes.Source{Deb: "none", Archive: "trusted.list"}, "package none for arm64 is not in the archive's index"},
		"old":            {recipes.Source{Deb: "one=0.9", Archive: "trusted.list"}, "package one=0.9 for arm64 is not in the archive's index"},
		"other arch":     {recipes.Source{Deb: "one:armhf", Archive: "trusted.list"}, "for armhf is not in the archive's index"},
		"no dependency":  {recipes.Source{Deb: "one", Archive: "trusted.list", Depends: []string{"x-*"}}, "depends on nothing that matches x-*"},
		"dependency not": {recipes.Source{Deb: "one", Archive: "trusted.list", Depends: []string{"two"}}, "package two for arm64"},
	} {
		_, err := fetch(t, sources.Deb{}, tt.source, pipeline.FetchEnv{Dir: r.dir, Cache: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		var hinted interface{ Hint() string }
		if name != "no dependency" && !errors.As(err, &hinted) {
			t.Errorf("%s: %v says nothing of what to do", name, err)
		}
	}
}
