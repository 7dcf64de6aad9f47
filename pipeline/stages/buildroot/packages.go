package buildroot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"piimg/pipeline"
)

// pkgInfo is a part of what make show-info says of a package.
type pkgInfo struct {
	Type            string `json:"type"`
	Virtual         bool   `json:"virtual"`
	Version         string `json:"version,omitempty"`
	Licenses        string `json:"licenses,omitempty"`
	Redistributable *bool  `json:"redistributable,omitempty"`
	CPE             string `json:"cpe-id,omitempty"`
	Downloads       []struct {
		Source string `json:"source"`
	} `json:"downloads,omitempty"`
	StampDir string `json:"stamp_dir,omitempty"`
}

// learnPackages finds out which packages Buildroot would build. In one workspace the
// answer is always the same.
func (s *Workspace) learnPackages(ctx context.Context) error {
	file := filepath.Join(s.Dir, "packages.json")
	if known, err := os.ReadFile(file); err == nil && json.Unmarshal(known, &s.packages) == nil {
		return nil
	}
	document, err := s.showInfo(ctx)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(document), &s.packages); err != nil {
		return fmt.Errorf("make show-info: %w", err)
	}
	return os.WriteFile(file, []byte(document), 0o644)
}

// showInfo asks Buildroot for a description of its packages.
func (s *Workspace) showInfo(ctx context.Context) (string, error) {
	f := newFollower(0)
	document := ""
	each := func(line string) {
		if strings.HasPrefix(line, "{") {
			document = line
		}
		f.line(line)
	}
	err := pipeline.Exec(ctx, s.Dir, s.Env(), each, s.Make("-s", "show-info")...)
	var failed *pipeline.ExecError
	if errors.As(err, &failed) {
		return "", f.failed("show-info", s.logFile())
	}
	return document, err
}

// total is how many packages there are to build.
func (s *Workspace) total() int {
	n := 0
	for _, p := range s.packages {
		if p.Type != "rootfs" && !p.Virtual {
			n++
		}
	}
	return n
}

// writePackages writes what the image is made of: names, versions, licences and files of
// the packages, without any path of the machine.
func (s *Workspace) writePackages(w io.Writer) error {
	type entry struct {
		Name string `json:"name"`
		pkgInfo
	}
	all := []entry{}
	for _, name := range slices.Sorted(maps.Keys(s.packages)) {
		p := s.packages[name]
		p.StampDir = ""
		if p.Type != "rootfs" {
			all = append(all, entry{name, p})
		}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	return enc.Encode(all)
}
