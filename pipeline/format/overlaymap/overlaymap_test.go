package overlaymap

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"piimg/pipeline/format/fdt"
	"piimg/pipeline/format/fdt/gomodtest"
)

func realMap(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(gomodtest.Dir(t, gomodtest.Kernel), "overlays/overlay_map.dtb"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestResolve(t *testing.T) {
	m, err := Parse(realMap(t))
	if err != nil {
		t.Fatal(err)
	}
	if m.Len() != 120 {
		t.Errorf("the map of 6.12.47 holds %d names; want 120", m.Len())
	}
	tests := []struct {
		name, platform, want string
	}{
		{"vc4-kms-v3d", BCM2835, "vc4-kms-v3d"},
		{"vc4-kms-v3d", BCM2711, "vc4-kms-v3d-pi4"},
		{"vc4-kms-v3d", BCM2712, "vc4-kms-v3d-pi5"},
		{"disable-bt", BCM2711, "disable-bt"},
		{"disable-bt", BCM2712, "disable-bt-pi5"},
		{"pi3-disable-bt", BCM2711, "disable-bt"},    // renamed
		{"pi3-disable-bt", BCM2712, "disable-bt"},    // renamed, and not mapped again
		{"sc16is750-spi0", BCM2711, "sc16is75x-spi"}, // renamed with parameters
		{"upstream", BCM2711, "upstream-pi4"},
		{"not-in-the-map", BCM2712, "not-in-the-map"},
	}
	for _, tt := range tests {
		if got, err := m.Resolve(tt.name, tt.platform); got != tt.want || err != nil {
			t.Errorf("Resolve(%q, %s) = %q, %v; want %q", tt.name, tt.platform, got, err, tt.want)
		}
	}
}

func TestResolveRefused(t *testing.T) {
	m, err := Parse(realMap(t))
	if err != nil {
		t.Fatal(err)
	}
	var unsupported *UnsupportedError
	if _, err := m.Resolve("miniuart-bt", BCM2712); !errors.As(err, &unsupported) {
		t.Errorf("Resolve(miniuart-bt) on a Pi 5: %v; want UnsupportedError", err)
	}
	if want := (UnsupportedError{"miniuart-bt", BCM2712}); unsupported == nil || *unsupported != want {
		t.Errorf("error = %+v; want %+v", unsupported, want)
	}
	var deprecated *DeprecatedError
	_, err = m.Resolve("bmp085_i2c-sensor", BCM2711)
	if !errors.As(err, &deprecated) || deprecated.Hint != "use i2c-sensor,bmp085" {
		t.Errorf("Resolve(bmp085_i2c-sensor): %v; want DeprecatedError with the hint of the map", err)
	}
}

func TestParseError(t *testing.T) {
	if _, err := Parse([]byte("no device tree")); !errors.Is(err, fdt.ErrFormat) {
		t.Errorf("Parse = %v; want fdt.ErrFormat", err)
	}
}

func FuzzResolve(f *testing.F) {
	f.Add(realMap(f), "upstream")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		m, err := Parse(data)
		if err != nil {
			return
		}
		if actual, err := m.Resolve(name, BCM2711); err == nil && actual == "" && name != "" {
			t.Errorf("Resolve(%q) is empty", name)
		}
	})
}
