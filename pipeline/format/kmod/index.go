package kmod

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Numbers of the binary index (libkmod/libkmod-index.c, where the format is described).
const (
	indexMagic   = 0xB007F457
	indexVersion = 0x00020001

	hasPrefix = 0x80000000 // flags in the offset of a node
	hasValues = 0x40000000
	hasChilds = 0x20000000
	maxOffset = 0x0FFFFFFF
)

// index maps keys to values: a tree of nodes, one for each place where keys part.
type index struct {
	values   []ranked
	children map[byte]*index
	prefix   string // that all keys below share, behind the byte that led here
}

// ranked is a value with its priority: the lower one comes first.
type ranked struct {
	priority uint32
	text     string
}

// insert adds a value to key. Of values with the same priority the last one comes first,
// as in depmod.
func (x *index) insert(key, value string, priority int) error {
	if i := strings.IndexFunc(key+value, func(c rune) bool { return c >= 0x80 || c == 0 }); i >= 0 {
		return fmt.Errorf("%q cannot be indexed: only ASCII can", key+" "+value)
	}
	for {
		shared := common(x.prefix, key)
		if shared < len(x.prefix) {
			x.split(shared)
		}
		key = key[shared:]
		if key == "" {
			break
		}
		next := x.children[key[0]]
		if next == nil {
			next = &index{prefix: key[1:]}
			if x.children == nil {
				x.children = map[byte]*index{}
			}
			x.children[key[0]] = next
		}
		x, key = next, key[1:]
	}
	i := slices.IndexFunc(x.values, func(r ranked) bool { return r.priority >= uint32(priority) })
	if i < 0 {
		i = len(x.values)
	}
	x.values = slices.Insert(x.values, i, ranked{uint32(priority), value})
	return nil
}

// common is the length of what a and b start with alike.
func common(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// split puts a node in between, n bytes down the prefix.
func (x *index) split(n int) {
	lower := *x
	lower.prefix = x.prefix[n+1:]
	*x = index{prefix: x.prefix[:n], children: map[byte]*index{x.prefix[n]: &lower}}
}

// bytes is the index as a file.
func (x *index) bytes() ([]byte, error) {
	b := binary.BigEndian.AppendUint32(nil, indexMagic)
	b = binary.BigEndian.AppendUint32(b, indexVersion)
	b = binary.BigEndian.AppendUint32(b, 0) // the root, known last
	b, root := x.append(b)
	binary.BigEndian.PutUint32(b[8:], root)
	if len(b) > maxOffset {
		return nil, fmt.Errorf("an index of %d bytes: the format takes %d", len(b), maxOffset)
	}
	return b, nil
}

// append writes the nodes below x and then x itself, and returns where that is.
func (x *index) append(b []byte) ([]byte, uint32) {
	first, offsets := byte(0), []uint32(nil)
	if len(x.children) > 0 {
		keys := slices.Sorted(maps.Keys(x.children))
		first = keys[0]
		offsets = make([]uint32, int(keys[len(keys)-1])-int(first)+1)
		for _, k := range keys {
			b, offsets[k-first] = x.children[k].append(b)
		}
	}
	at := uint32(len(b))
	if x.prefix != "" {
		at |= hasPrefix
		b = append(append(b, x.prefix...), 0)
	}
	if offsets != nil {
		at |= hasChilds
		b = append(b, first, first+byte(len(offsets)-1))
		for _, o := range offsets {
			b = binary.BigEndian.AppendUint32(b, o)
		}
	}
	if x.values != nil {
		at |= hasValues
		b = binary.BigEndian.AppendUint32(b, uint32(len(x.values)))
		for _, v := range x.values {
			b = binary.BigEndian.AppendUint32(b, v.priority)
			b = append(append(b, v.text...), 0)
		}
	}
	return b, at
}
