package tftp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
)

// Opcodes (RFC 1350, RFC 2347).
const (
	opRRQ   = 1
	opWRQ   = 2
	opDATA  = 3
	opACK   = 4
	opERROR = 5
	opOACK  = 6
)

// Codes of ERROR packets (RFC 1350, RFC 2347).
const (
	codeUndefined = 0 // see the text; from a client the firmware's "Early terminate"
	codeNotFound  = 1
	codeAccess    = 2
	codeIllegal   = 4
	codeOption    = 8 // from a client: it does not want these options
)

const (
	headerLen  = 4    // bytes of a DATA packet before the data, and of a whole ACK
	maxPacket  = 2048 // bytes of what a client may send; the rest of a longer one is not looked at
	maxOptions = 16   // of a request; there are six that anybody knows
)

// option is a name, in lower case, and a value of a request.
type option struct{ name, value string }

// request is a decoded RRQ.
type request struct {
	name     string
	netascii bool
	options  []option
}

var (
	errMalformed = errors.New("malformed request")
	errMode      = errors.New("unknown mode")
)

// parseRequest decodes what follows the opcode of an RRQ. An option that breaks off is
// not there: some clients pad their requests.
func parseRequest(b []byte) (request, error) {
	name, rest, ok := bytes.Cut(b, []byte{0})
	mode, rest, ok2 := bytes.Cut(rest, []byte{0})
	if !ok || !ok2 {
		return request{}, errMalformed
	}
	r := request{name: string(name)}
	switch strings.ToLower(string(mode)) {
	case "octet":
	case "netascii":
		r.netascii = true
	default:
		return r, errMode
	}
	for len(r.options) < maxOptions {
		var key, value []byte
		if key, rest, ok = bytes.Cut(rest, []byte{0}); !ok {
			break
		}
		if value, rest, ok = bytes.Cut(rest, []byte{0}); !ok {
			break
		}
		r.options = append(r.options, option{strings.ToLower(string(key)), string(value)})
	}
	return r, nil
}

// appendError writes an ERROR whose text is cut so that the packet has at most so many
// bytes: an answer to an address that may be made up is never longer than the question.
func appendError(b []byte, code uint16, text string, most int) []byte {
	b = binary.BigEndian.AppendUint16(append(b, 0, opERROR), code)
	b = append(b, text[:max(0, min(len(text), most-headerLen-1))]...)
	return append(b, 0)
}
