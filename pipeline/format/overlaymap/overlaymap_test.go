package overlaymap

import (
	"encoding/binary"
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
		{"pi3-disable-bt", BCM2711, "disable-bt"},     // renamed
		{"pi3-disable-bt", BCM2712, "disable-bt-pi5"}, // renamed, then mapped
		{"sc16is750-spi0", BCM2711, "sc16is75x-spi"},  // renamed with parameters
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
	f.Add(circle(), "a")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		m, err := Parse(data)
		if err != nil {
			return
		}
		actual, err := m.Resolve(name, BCM2711)
		if err == nil && name != "" && actual == "" && m.names[""] == nil && m.names[name] == nil {
			t.Errorf("Resolve(%q) is empty", name)
		}
	})
}

func TestRenameCircle(t *testing.T) {
	m, err := Parse(circle())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Resolve("a", BCM2711); err == nil {
		t.Error("Resolve of a circle of renames gives no error")
	}
}

// circle is a map in which a is renamed b and b is renamed a.
func circle() []byte {
	var s []byte
	words := func(vs ...uint32) {
		for _, v := range vs {
			s = binary.BigEndian.AppendUint32(s, v)
		}
	}
	node := func(name, to byte) {
		words(1, uint32(name)<<24, 3, 2, 0, uint32(to)<<24, 2) // begin, name, property "renamed", end
	}
	words(1, 0)
	node('a', 'b')
	node('b', 'a')
	words(2, 9)
	structure := s
	s = nil
	const names = "renamed\x00"
	at := uint32(40 + 16)
	words(0xd00dfeed, at+uint32(len(structure)+len(names)), at, at+uint32(len(structure)), 40, 17, 16, 0,
		uint32(len(names)), uint32(len(structure)), 0, 0, 0, 0)
	return append(append(s, structure...), names...)
}
