package fdt

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

const (
	magic      = 0xd00dfeed
	headerSize = 40 // bytes, version 17
	oldest     = 16 // version

	maxSize  = 4 << 20 // bytes
	maxDepth = 64
	maxName  = 255 // bytes, of nodes and of properties
)

// Tokens of the structure block.
const (
	tokenBeginNode = 1
	tokenEndNode   = 2
	tokenProp      = 3
	tokenNop       = 4
	tokenEnd       = 9
)

// Parse reads a device tree. Errors wrap [ErrFormat] and say at which byte. Bytes after
// the size that the header gives are ignored.
func Parse(data []byte) (*Tree, error) {
	h, err := parseHeader(data)
	if err != nil {
		return nil, err
	}
	data = data[:h.total]
	t := &Tree{Version: h.version, BootCPU: h.bootCPU}
	if t.Reserved, err = parseReserved(data, h.reserved); err != nil {
		return nil, err
	}
	p := parser{data: data, at: h.structure, end: h.structure + h.structureSize, strings: data[h.strings : h.strings+h.stringsSize]}
	t.Root, err = p.tree()
	return t, err
}

type header struct {
	total, structure, strings, reserved uint32 // offsets; total is a size
	version, bootCPU                    uint32
	stringsSize, structureSize          uint32
}

func parseHeader(data []byte) (h header, err error) {
	if len(data) < headerSize {
		return h, formatError(0, "%d bytes are too few for a header", len(data))
	}
	word := func(i int) uint32 { return binary.BigEndian.Uint32(data[4*i:]) }
	if word(0) != magic {
		return h, formatError(0, "magic is %#08x; want %#08x", word(0), uint32(magic))
	}
	h = header{
		total: word(1), structure: word(2), strings: word(3), reserved: word(4),
		version: word(5), bootCPU: word(7), stringsSize: word(8), structureSize: word(9),
	}
	lastCompatible := word(6)
	switch {
	case h.version < oldest || lastCompatible > 17:
		return h, formatError(20, "version %d, compatible with %d, is not supported", h.version, lastCompatible)
	case h.total > maxSize:
		return h, formatError(4, "size %d is above %d", h.total, maxSize)
	case uint64(h.total) > uint64(len(data)) || h.total < headerSize:
		return h, formatError(4, "size is %d but there are %d bytes", h.total, len(data))
	case h.structure%4 != 0 || h.structure > h.total:
		return h, formatError(8, "structure block at %d", h.structure)
	case h.strings > h.total || h.stringsSize > h.total-h.strings:
		return h, formatError(12, "strings block of %d bytes at %d", h.stringsSize, h.strings)
	}
	if h.version < 17 { // has no size of the structure block
		h.structureSize = h.total - h.structure
	}
	if h.structureSize > h.total-h.structure {
		return h, formatError(36, "structure block of %d bytes at %d", h.structureSize, h.structure)
	}
	return h, nil
}

// parseReserved reads pairs of 64-bit numbers up to one of zeroes.
func parseReserved(data []byte, at uint32) ([]Reservation, error) {
	var list []Reservation
	for ; ; at += 16 {
		if uint64(at)+16 > uint64(len(data)) {
			return nil, formatError(at, "memory reservations do not end")
		}
		r := Reservation{binary.BigEndian.Uint64(data[at:]), binary.BigEndian.Uint64(data[at+8:])}
		if r == (Reservation{}) {
			return list, nil
		}
		list = append(list, r)
	}
}

// parser walks the structure block. at <= end <= len(data) always holds.
type parser struct {
	data    []byte
	at, end uint32
	strings []byte
}

func (p *parser) tree() (*Node, error) {
	token, err := p.token()
	if err != nil {
		return nil, err
	}
	if token != tokenBeginNode {
		return nil, formatError(p.at-4, "token %d where the root node should begin", token)
	}
	root, err := p.node(0)
	if err != nil {
		return nil, err
	}
	if token, err = p.token(); err == nil && token != tokenEnd {
		err = formatError(p.at-4, "token %d after the root node", token)
	}
	return root, err
}

// node reads what follows a begin-node token, up to its end-node token.
func (p *parser) node(depth int) (*Node, error) {
	if depth >= maxDepth {
		return nil, formatError(p.at, "more than %d levels", maxDepth)
	}
	name, err := p.nodeName()
	if err != nil {
		return nil, err
	}
	n := &Node{Name: name}
	for {
		token, err := p.token()
		if err != nil {
			return nil, err
		}
		switch token {
		case tokenEndNode:
			return n, nil
		case tokenProp:
			err = p.property(n)
		case tokenBeginNode:
			err = p.child(n, depth)
		default:
			err = formatError(p.at-4, "token %d in a node", token)
		}
		if err != nil {
			return nil, err
		}
	}
}

func (p *parser) child(n *Node, depth int) error {
	c, err := p.node(depth + 1)
	n.Children = append(n.Children, c)
	return err
}

func (p *parser) property(n *Node) error {
	size, err := p.word()
	if err != nil {
		return err
	}
	offset, err := p.word()
	if err != nil {
		return err
	}
	if offset > uint32(len(p.strings)) {
		return formatError(p.at-4, "property name at %d of %d bytes of strings", offset, len(p.strings))
	}
	name, ok := cString(p.strings[offset:])
	if !ok {
		return formatError(p.at-4, "property name at %d does not end", offset)
	}
	if size > p.end-p.at {
		return formatError(p.at-8, "property %s of %d bytes", name, size)
	}
	n.Properties = append(n.Properties, Property{Name: name, Value: p.data[p.at : p.at+size : p.at+size]})
	return p.skip(size)
}

// token is the next token that is no NOP.
func (p *parser) token() (uint32, error) {
	for {
		token, err := p.word()
		if err != nil || token != tokenNop {
			return token, err
		}
	}
}

func (p *parser) word() (uint32, error) {
	if p.end-p.at < 4 {
		return 0, formatError(p.at, "structure block ends early")
	}
	v := binary.BigEndian.Uint32(p.data[p.at:])
	p.at += 4
	return v, nil
}

func (p *parser) nodeName() (string, error) {
	name, ok := cString(p.data[p.at:p.end])
	if !ok {
		return "", formatError(p.at, "node name does not end")
	}
	return name, p.skip(uint32(len(name)) + 1)
}

// skip goes on after n bytes and their padding to a multiple of 4.
func (p *parser) skip(n uint32) error {
	padded := (uint64(n) + 3) &^ 3
	if padded > uint64(p.end-p.at) {
		return formatError(p.at, "structure block ends early")
	}
	p.at += uint32(padded)
	return nil
}

func cString(b []byte) (string, bool) {
	i := bytes.IndexByte(b[:min(len(b), maxName+1)], 0)
	if i < 0 {
		return "", false
	}
	return string(b[:i]), true
}

func formatError(at uint32, format string, args ...any) error {
	return fmt.Errorf("%w: byte %d: %s", ErrFormat, at, fmt.Sprintf(format, args...))
}
