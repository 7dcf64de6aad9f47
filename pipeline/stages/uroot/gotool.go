package uroot

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// goTool is the go command of the machine.
type goTool struct {
	path     string
	settings map[string]string
}

// kept are the settings of the operator that say where modules come from and where builds
// are remembered. None of them shapes a byte: modules are checked against go.sum.
var kept = []string{"GOROOT", "GOMODCACHE", "GOCACHE", "GOPROXY", "GOSUMDB", "GOPRIVATE", "GONOPROXY", "GONOSUMDB", "GOINSECURE"}

// findGo asks the go command for its settings, outside any module.
func findGo(ctx context.Context) (goTool, error) {
	path, err := exec.LookPath("go")
	if err != nil {
		return goTool{}, fmt.Errorf("the uroot stage needs the go command: %w", err)
	}
	out, err := goCommand(ctx, path, append([]string{"env", "-json"}, kept...)...)
	if err != nil {
		return goTool{}, err
	}
	t := goTool{path: path}
	if err := json.Unmarshal(out, &t.settings); err != nil {
		return goTool{}, fmt.Errorf("go env: %w", err)
	}
	return t, nil
}

// goVersion is the version of the go command, such as "go1.26.8".
func goVersion(ctx context.Context) (string, error) {
	path, err := exec.LookPath("go")
	if err != nil {
		return "", fmt.Errorf("the uroot stage needs the go command: %w", err)
	}
	if v, ok := installedVersion(path); ok {
		return v, nil
	}
	out, err := goCommand(ctx, path, "version")
	if err != nil {
		return "", err
	}
	// "go version go1.26.8 linux/amd64": the host's own platform shapes no byte.
	words := strings.Fields(string(out))
	if len(words) < 3 {
		return "", fmt.Errorf("go version says %q", out)
	}
	return words[2], nil
}

// installedVersion reads what "go version" would say from the file that every Go
// distribution has beside its bin folder: the command itself takes 20 ms, a third of a
// build that has nothing to do.
func installedVersion(path string) (string, bool) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", false
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(real), "..", "VERSION"))
	line, _, _ := strings.Cut(string(text), "\n")
	return line, err == nil && strings.HasPrefix(line, "go1.")
}

func goCommand(ctx context.Context, path string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = os.TempDir()
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local", "GOWORK=off", "GOFLAGS=")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w", args[0], err)
	}
	return out, nil
}

// env is the whole environment of a build below dir: no locale, time zone, user or
// setting of the operator that could reach the output.
func (t goTool) env(dir string, offline bool) []string {
	env := []string{
		"HOME=" + dir, "TMPDIR=" + dir, "LC_ALL=C", "TZ=UTC",
		"PATH=" + filepath.Dir(t.path) + ":/usr/local/bin:/usr/bin:/bin",
		"CGO_ENABLED=0", "GO111MODULE=on", "GOENV=off", "GOFLAGS=-mod=readonly", "GOTOOLCHAIN=local", "GOWORK=off",
		"GOARM64=v8.0", "GOTELEMETRY=off",
	}
	for _, name := range kept {
		value := t.settings[name]
		if name == "GOPROXY" && offline {
			value = "off"
		}
		env = append(env, name+"="+value)
	}
	return env
}
