package simpi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// opcode is the first field of a TFTP packet (RFC 1350, RFC 2347).
type opcode uint16

const (
	opRRQ   opcode = 1
	opDATA  opcode = 3
	opACK   opcode = 4
	opERROR opcode = 5
	opOACK  opcode = 6
)

// Error codes of RFC 1350 and RFC 2347 that a board sends or that tests need.
const (
	codeUndefined uint16 = 0 // with "Early terminate": the end of an existence probe
	codeNotFound  uint16 = 1
	codeIllegal   uint16 = 4
	codeUnknownID uint16 = 5
	codeOption    uint16 = 8
)

const (
	defaultBlksize = 512  // bytes, where no blksize was agreed on (RFC 1350)
	minBlksize     = 8    // bytes (RFC 2348)
	maxBlksize     = 1468 // bytes: the most that any known firmware asks for
)

// option is a name and a value of a request or of its acknowledgement.
type option struct{ name, value string }

// packet is a decoded TFTP packet; which fields are set depends on op.
type packet struct {
	op      opcode
	block   uint16   // DATA, ACK
	data    []byte   // DATA; part of the buffer that was parsed
	code    uint16   // ERROR
	text    string   // ERROR
	name    string   // RRQ
	options []option // RRQ, OACK
}

var errMalformed = errors.New("malformed packet")

// appendPlainRRQ writes a read request without options, as the boot ROM of a Pi 3 does
// (documentation of its network boot).
func appendPlainRRQ(b []byte, name string) []byte {
	return appendStrings(binary.BigEndian.AppendUint16(b, uint16(opRRQ)), name, "octet")
}

// appendRRQ writes a read request as the bootloader's format string has it: the name, the
// mode "octet", tsize 0, and blksize unless it is 0. There is no timeout and no windowsize.
func appendRRQ(b []byte, name string, blksize int) []byte {
	b = appendStrings(binary.BigEndian.AppendUint16(b, uint16(opRRQ)), name, "octet", "tsize", "0")
	if blksize != 0 {
		b = appendStrings(b, "blksize", strconv.Itoa(blksize))
	}
	return b
}

func appendACK(b []byte, block uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, uint16(opACK)), block)
}

func appendDATA(b []byte, block uint16, data []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(opDATA))
	return append(binary.BigEndian.AppendUint16(b, block), data...)
}

func appendERROR(b []byte, code uint16, text string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(opERROR))
	return appendStrings(binary.BigEndian.AppendUint16(b, code), text)
}

func appendOACK(b []byte, options ...option) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(opOACK))
	for _, o := range options {
		b = appendStrings(b, o.name, o.value)
	}
	return b
}

func appendStrings(b []byte, ss ...string) []byte {
	for _, s := range ss {
		b = append(append(b, s...), 0)
	}
	return b
}

// parsePacket decodes b. The data of a DATA packet stays in b.
func parsePacket(b []byte) (packet, error) {
	if len(b) < 4 {
		return packet{}, fmt.Errorf("%w: %d bytes", errMalformed, len(b))
	}
	p := packet{op: opcode(binary.BigEndian.Uint16(b))}
	field, rest := binary.BigEndian.Uint16(b[2:]), b[4:]
	var err error
	switch p.op {
	case opDATA:
		p.block, p.data = field, rest
	case opACK:
		p.block = field
	case opERROR:
		p.code = field
		text, _, _ := bytes.Cut(rest, []byte{0}) // some servers leave the NUL out
		p.text = string(text)
	case opOACK:
		p.options, err = parseOptions(b[2:])
	case opRRQ:
		p.name, p.options, err = parseRequest(b[2:])
	default:
		err = fmt.Errorf("%w: opcode %d", errMalformed, p.op)
	}
	return p, err
}

func parseRequest(b []byte) (string, []option, error) {
	name, rest, ok := bytes.Cut(b, []byte{0})
	mode, rest, ok2 := bytes.Cut(rest, []byte{0})
	if !ok || !ok2 || !strings.EqualFold(string(mode), "octet") {
		return "", nil, fmt.Errorf("%w: request", errMalformed)
	}
	options, err := parseOptions(rest)
	return string(name), options, err
}

// parseOptions reads pairs of NUL-terminated texts. Names are compared without case
// (RFC 2347), so they come back in lower case.
func parseOptions(b []byte) ([]option, error) {
	var options []option
	for len(b) > 0 {
		name, rest, ok := bytes.Cut(b, []byte{0})
		value, rest, ok2 := bytes.Cut(rest, []byte{0})
		if !ok || !ok2 {
			return nil, fmt.Errorf("%w: option without an end", errMalformed)
		}
		options = append(options, option{strings.ToLower(string(name)), string(value)})
		b = rest
	}
	return options, nil
}
