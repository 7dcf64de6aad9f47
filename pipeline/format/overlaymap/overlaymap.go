// Package overlaymap reads overlay_map.dtb, with which the firmware turns the name in a
// dtoverlay= line into the overlay that suits the board.
//
// The file is a device tree with one node for each name that needs a rule. The order of
// the rules is that of dtoverlay_remap_overlay in raspberrypi/utils (dtmerge/dtoverlay.c):
// the platform's own property, then "renamed", then "deprecated"; a node with none of
// them is for other platforms.
package overlaymap

import (
	"fmt"
	"strings"

	"piimg/pipeline/format/fdt"
)

// Platforms are the platform names that the maps of 2025 use.
const (
	BCM2835 = "bcm2835" // up to the Pi 3
	BCM2711 = "bcm2711" // Pi 4 family
	BCM2712 = "bcm2712" // Pi 5 family
)

// Map is a parsed overlay_map.dtb.
type Map struct {
	names map[string]*fdt.Node
}

// Parse reads overlay_map.dtb. Errors wrap [fdt.ErrFormat].
func Parse(data []byte) (*Map, error) {
	tree, err := fdt.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("parse overlay map: %w", err)
	}
	m := &Map{names: map[string]*fdt.Node{}}
	for _, n := range tree.Root.Children {
		m.names[n.Name] = n
	}
	return m, nil
}

// Len is the number of names with a rule.
func (m *Map) Len() int { return len(m.names) }

// UnsupportedError says that an overlay is not made for a platform.
type UnsupportedError struct {
	Name, Platform string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("overlay %s is not supported on %s", e.Name, e.Platform)
}

// DeprecatedError says that an overlay is gone. Hint is what the map says instead, such
// as "use i2c0".
type DeprecatedError struct {
	Name, Hint string
}

func (e *DeprecatedError) Error() string {
	return fmt.Sprintf("overlay %s is deprecated: %s", e.Name, e.Hint)
}

// Resolve is the overlay that the firmware loads on a platform where name is asked for,
// without folder and without ".dtbo". A name that the map does not hold is its own
// answer. Errors are [*UnsupportedError] and [*DeprecatedError].
//
// A renamed overlay is not looked up again under its new name. A rule may add parameters
// ("sc16is75x-spi,sc16is750"); they are left out here.
func (m *Map) Resolve(name, platform string) (actual string, err error) {
	node, ok := m.names[name]
	if !ok {
		return name, nil
	}
	actual = node.Text(platform)
	if _, supported := node.Get(platform); !supported {
		if actual = node.Text("renamed"); actual == "" {
			return "", refusal(node, name, platform)
		}
	}
	if actual, _, _ = strings.Cut(actual, ","); actual == "" {
		return name, nil
	}
	return actual, nil
}

func refusal(node *fdt.Node, name, platform string) error {
	if _, ok := node.Get("deprecated"); ok {
		return &DeprecatedError{name, node.Text("deprecated")}
	}
	return &UnsupportedError{name, platform}
}
