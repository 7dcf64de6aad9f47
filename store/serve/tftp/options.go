package tftp

import (
	"slices"
	"strconv"
	"time"
)

// Limits of options: blksize in bytes (RFC 2348), timeout in seconds (RFC 2349) and
// windowsize in blocks (RFC 7440).
const (
	defaultBlock = 512
	minBlockSize = 8
	maxBlockSize = 65464
	maxTimeout   = 255
	maxWindow    = 65535
)

// terms are what server and client have agreed on.
type terms struct {
	blksize int           // bytes
	window  int           // blocks that may be on their way
	timeout time.Duration // the client's wish; 0 where it has none
	oack    []byte        // the packet that says so; nil where no option was agreed on
}

// agree answers the options of a request for a file of size bytes. Options that are not
// known, such as multicast, and values that are none do not appear in the answer, and
// each option counts once. No block is larger than block bytes, no window than window.
func agree(options []option, size int64, block, window int) terms {
	t := terms{blksize: defaultBlock, window: 1}
	var seen []string
	for _, o := range options {
		if slices.Contains(seen, o.name) {
			continue
		}
		value, ok := t.accept(o, size, block, window)
		if !ok {
			continue
		}
		seen = append(seen, o.name)
		if t.oack == nil {
			t.oack = []byte{0, opOACK}
		}
		t.oack = append(append(t.oack, o.name...), 0)
		t.oack = append(strconv.AppendInt(t.oack, value, 10), 0)
	}
	return t
}

// accept takes over one option, and returns the value that the client is told.
func (t *terms) accept(o option, size int64, block, window int) (int64, bool) {
	n, err := strconv.ParseInt(o.value, 10, 64)
	if err != nil {
		return 0, false
	}
	switch {
	case o.name == "tsize" && n >= 0:
		return size, true
	case o.name == "blksize" && n >= minBlockSize:
		t.blksize = int(min(n, int64(block)))
		return int64(t.blksize), true
	case o.name == "windowsize" && n >= 1 && n <= maxWindow:
		t.window = int(min(n, int64(window)))
		return int64(t.window), true
	case o.name == "timeout" && n >= 1 && n <= maxTimeout:
		t.timeout = time.Duration(n) * time.Second
		return n, true
	}
	return 0, false
}
