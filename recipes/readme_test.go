package recipes

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeHasEveryKey asks the README for every key that some recipe or board here uses.
func TestReadmeHasEveryKey(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	boards, _ := filepath.Glob("boards/*.toml")
	for _, file := range append(boards, "testdata/pi4.toml") {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		section := ""
		for line := range strings.Lines(string(b)) {
			if m := regexp.MustCompile(`^\[+([a-z]+)`).FindStringSubmatch(line); m != nil {
				section = m[1]
				keys["["+section] = file
			}
			if key, _, ok := strings.Cut(line, " "); ok && section != "config" && regexp.MustCompile(`^[a-z0-9_]+$`).MatchString(key) {
				keys["`"+key+"`"] = file
			}
		}
	}
	for key, file := range keys {
		if !strings.Contains(string(readme), key) {
			t.Errorf("README.md says nothing about %s of %s", key, file)
		}
	}
}

// TestShippedRecipes loads what ships, with locks that fit. One that takes packages from
// Debian ships without: its archive drops old versions.
func TestShippedRecipes(t *testing.T) {
	files, err := filepath.Glob("*.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		r, err := Load(file)
		if err != nil {
			t.Error(said(err))
			continue
		}
		l, err := LoadLock(LockFile(file))
		if usesPackages(r) {
			if err == nil {
				t.Errorf("%s pins packages that the archive will not have for long", LockFile(file))
			}
			continue
		}
		if err != nil {
			t.Error(said(err))
			continue
		}
		for _, s := range l.Stale(r) {
			t.Errorf("%s: source %s %s", file, s.Source, s.Text)
		}
	}
}

func usesPackages(r *Recipe) bool {
	for _, s := range r.Sources {
		if s.Deb != "" {
			return true
		}
	}
	return false
}
