// Package gomodtest gives tests real boot files: those of published Go modules. Nothing
// binary is kept in this repository.
package gomodtest

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"testing"
)

// Modules with real files, pinned. Their licences allow neither to be copied here.
const (
	Firmware = "github.com/gokrazy/firmware@v0.0.0-20260522070551-527ce0ed43cf"   // start4.elf, fixup4.dat …
	Kernel   = "github.com/gokrazy/kernel.rpi@v0.0.0-20251127164438-9778ec0261de" // vmlinuz, *.dtb, overlays/
)

// Dir is the folder of a module, given as path@version. It is downloaded into Go's
// module cache where it is not there yet; the test fails if that cannot be done.
func Dir(t testing.TB, module string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
	cmd.Dir = t.TempDir() // outside of any module, so that no go.mod changes
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go mod download %s: %v\n%s%s", module, err, out, stderr.Bytes())
	}
	var got struct{ Dir string }
	if err := json.Unmarshal(out, &got); err != nil || got.Dir == "" {
		t.Fatalf("go mod download %s: %v in %s", module, err, out)
	}
	return got.Dir
}
