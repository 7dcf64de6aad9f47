package fdt

import (
	"bytes"
	"errors"
	"iter"
	"slices"
	"strings"
)

// ErrFormat is what every parse error wraps.
var ErrFormat = errors.New("not a valid flattened device tree")

// Tree is a parsed device tree.
type Tree struct {
	Root     *Node
	Version  uint32
	BootCPU  uint32        // physical id of the boot CPU
	Reserved []Reservation // memory that the operating system must leave alone
}

// Reservation is an entry of the memory reservation block, in bytes.
type Reservation struct {
	Address, Size uint64
}

// Node is a node of the tree.
type Node struct {
	Name       string // with the unit address: "soc", "memory@0"; "" for the root
	Properties []Property
	Children   []*Node
}

// Property is a property of a node. Value is in big-endian cells, NUL-ended strings or
// whatever else the binding of the property says.
type Property struct {
	Name  string
	Value []byte
}

// Compatible are the compatible strings of the root node, most specific first.
func (t *Tree) Compatible() []string { return t.Root.Strings("compatible") }

// Find is the node at a path such as "/soc/serial@7e201000", nil if there is none.
func (t *Tree) Find(path string) *Node {
	n := t.Root
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue
		}
		if n = n.Child(name); n == nil {
			return nil
		}
	}
	return n
}

// Walk yields every node with its path, parents before children.
func (t *Tree) Walk() iter.Seq2[string, *Node] {
	return func(yield func(string, *Node) bool) { t.Root.walk("/", yield) }
}

func (n *Node) walk(path string, yield func(string, *Node) bool) bool {
	if !yield(path, n) {
		return false
	}
	for _, c := range n.Children {
		if !c.walk(strings.TrimSuffix(path, "/")+"/"+c.Name, yield) {
			return false
		}
	}
	return true
}

// Child is the child called name, nil if there is none.
func (n *Node) Child(name string) *Node {
	i := slices.IndexFunc(n.Children, func(c *Node) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return n.Children[i]
}

// Get is the value of a property.
func (n *Node) Get(name string) (value []byte, ok bool) {
	i := slices.IndexFunc(n.Properties, func(p Property) bool { return p.Name == name })
	if i < 0 {
		return nil, false
	}
	return n.Properties[i].Value, true
}

// Text is the value of a property that holds one string, "" if it is absent or empty.
func (n *Node) Text(name string) string {
	value, _ := n.Get(name)
	text, _, _ := bytes.Cut(value, []byte{0})
	return string(text)
}

// Strings are the strings of a property that holds a list of them, nil if it is absent
// or empty.
func (n *Node) Strings(name string) []string {
	value, _ := n.Get(name)
	if len(value) == 0 {
		return nil
	}
	return strings.Split(string(bytes.TrimSuffix(value, []byte{0})), "\x00")
}
