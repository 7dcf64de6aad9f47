package inspect

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"piimg/pipeline/format/fdt"
)

// TreeChange is a device tree that differs.
type TreeChange struct {
	Path  string       `json:"path"`
	Nodes []NodeChange `json:"nodes"` // sorted by node and property
}

// NodeChange is a node that was added or removed, or one of its properties.
type NodeChange struct {
	Node     string `json:"node"`
	Property string `json:"property,omitempty"` // "" for the whole node
	Kind     Kind   `json:"kind"`
	Old      string `json:"old,omitempty"` // as a device tree source has it
	New      string `json:"new,omitempty"`
}

// compareTrees compares two flattened device trees; ok is false where one of them is none.
func compareTrees(name string, old, new []byte) (t TreeChange, ok bool) {
	a, errA := fdt.Parse(old)
	b, errB := fdt.Parse(new)
	if errA != nil || errB != nil {
		return TreeChange{}, false
	}
	t.Path = name
	was := map[string]*fdt.Node{}
	for path, n := range a.Walk() {
		was[path] = n
	}
	for path, n := range b.Walk() {
		before, known := was[path]
		delete(was, path)
		if !known {
			t.Nodes = append(t.Nodes, NodeChange{Node: path, Kind: Added})
			continue
		}
		t.compareProps(path, before, n)
	}
	for path := range was {
		t.Nodes = append(t.Nodes, NodeChange{Node: path, Kind: Removed})
	}
	slices.SortFunc(t.Nodes, func(a, b NodeChange) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Property, b.Property))
	})
	return t, true
}

func (t *TreeChange) compareProps(path string, old, new *fdt.Node) {
	for _, p := range new.Properties {
		before, known := old.Get(p.Name)
		switch {
		case !known:
			t.Nodes = append(t.Nodes, NodeChange{path, p.Name, Added, "", value(p.Value)})
		case !bytes.Equal(before, p.Value):
			t.Nodes = append(t.Nodes, NodeChange{path, p.Name, Changed, value(before), value(p.Value)})
		}
	}
	for _, p := range old.Properties {
		if _, known := new.Get(p.Name); !known {
			t.Nodes = append(t.Nodes, NodeChange{path, p.Name, Removed, value(p.Value), ""})
		}
	}
}

// value is a property as dtc writes it: strings, cells or bytes.
func value(b []byte) string {
	switch {
	case len(b) == 0:
		return ""
	case isText(b):
		parts := strings.Split(string(b[:len(b)-1]), "\x00")
		for n, p := range parts {
			parts[n] = fmt.Sprintf("%q", p)
		}
		return strings.Join(parts, ", ")
	case len(b)%4 == 0:
		cells := make([]string, 0, len(b)/4)
		for c := range slices.Chunk(b, 4) {
			cells = append(cells, fmt.Sprintf("%#x", uint32(c[0])<<24|uint32(c[1])<<16|uint32(c[2])<<8|uint32(c[3])))
		}
		return "<" + strings.Join(cells, " ") + ">"
	}
	return fmt.Sprintf("[% x]", b)
}

// isText says whether b is a list of printable strings, each ended by NUL and none empty.
func isText(b []byte) bool {
	if b[len(b)-1] != 0 {
		return false
	}
	last := byte(0)
	for _, c := range b {
		if c == 0 && last == 0 || c != 0 && (c < ' ' || c > '~') {
			return false
		}
		last = c
	}
	return true
}
