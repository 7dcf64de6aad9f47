package sources

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"piimg/pipeline"
	"piimg/recipes"
)

// Module takes a Go module. The go command gets it, from its module cache or by the
// operator's GOPROXY, and checks it against the checksum database.
type Module struct{}

// Kind is "module".
func (Module) Kind() string { return "module" }

// Takes says whether s names a module.
func (Module) Takes(s recipes.Source) bool { return s.Module != "" }

// Fetch runs "go mod download" and hashes the extracted tree.
func (Module) Fetch(ctx context.Context, s recipes.Source, _ *recipes.Pin, env pipeline.FetchEnv) (pipeline.Fetched, error) {
	got, err := download(ctx, s.Module, env.Offline)
	if err != nil {
		return pipeline.Fetched{}, err
	}
	fsys := os.DirFS(got.Dir)
	pin, err := pinTree(fsys, s)
	pin.Kind, pin.Version, pin.Sum = "module", got.Version, got.Sum
	return pipeline.Fetched{Pin: pin, FS: fsys}, err
}

// downloaded is the part of the go command's answer that is used (go help mod download).
type downloaded struct {
	Version string
	Dir     string
	Sum     string
	Error   string
}

func download(ctx context.Context, module string, offline bool) (downloaded, error) {
	// Outside any module, so that no go.mod nearby has a say.
	dir, err := os.MkdirTemp("", "piimg-module-")
	if err != nil {
		return downloaded{}, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GO111MODULE=on", "GOWORK=off", "GOFLAGS=-mod=mod", "GOTOOLCHAIN=local")
	if offline {
		cmd.Env = append(cmd.Env, "GOPROXY=off")
	}
	var out, diag bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diag
	runErr := cmd.Run()
	if errors.Is(runErr, exec.ErrNotFound) {
		return downloaded{}, fmt.Errorf("a module source needs the go command: %w", runErr)
	}
	var got downloaded
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		return downloaded{}, fmt.Errorf("go mod download %s: %s", module, firstLine(diag.String()))
	}
	if got.Error != "" && offline {
		return downloaded{}, fmt.Errorf("module %s: %w", module, pipeline.ErrOffline)
	}
	if got.Error != "" {
		return downloaded{}, fmt.Errorf("go mod download %s: %s", module, firstLine(got.Error))
	}
	return got, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
