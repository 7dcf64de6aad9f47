package main

import (
	"encoding/binary"
	"regexp"
	"strconv"
	"time"
)

// smallBlock is the size of a block that nobody has asked for, in bytes.
const smallBlock = 512

// The packets of TFTP that tell how far a transfer is.
const (
	packetDATA = 3 + iota
	packetACK
	packetERROR
	packetOACK
)

// stretch is how far a transfer is.
type stretch struct {
	blksize     int
	begun       bool
	sent, acked uint16 // numbers of the last blocks
	sentAt      time.Time
	last        bool // the block that was sent is the last one of the file
	over        bool // one side has nothing more to say
}

// judge looks at a packet of the server's.
func (w *badWay) judge(l *line, b []byte) {
	if len(b) < 4 {
		return
	}
	switch binary.BigEndian.Uint16(b) {
	case packetERROR:
		l.over = true
	case packetOACK:
		if found := blksizeOption.FindSubmatch(b); found != nil {
			l.blksize, _ = strconv.Atoi(string(found[1]))
		}
	case packetDATA:
		w.block(l, binary.BigEndian.Uint16(b[2:]), len(b)-4)
	}
}

var blksizeOption = regexp.MustCompile(`\x00\x06(?:.*\x00)?blksize\x00(\d+)\x00`)

// block counts a block.
func (w *badWay) block(l *line, n uint16, size int) {
	w.data++
	now := time.Now()
	if l.begun && int16(n-l.sent) <= 0 {
		w.again++
		if int16(l.acked-n) >= 0 || now.Sub(l.sentAt) < 2*w.delay {
			w.needless++
		}
	} else {
		l.begun, l.sent, l.last = true, n, size < l.blksize
	}
	l.sentAt = now
}

// answered looks at a packet of the client's.
func (l *line) answered(b []byte) {
	if len(b) < 4 {
		return
	}
	switch n := binary.BigEndian.Uint16(b[2:]); binary.BigEndian.Uint16(b) {
	case packetERROR:
		l.over = true
	case packetACK:
		if int16(n-l.acked) > 0 {
			l.acked = n
		}
		l.over = l.over || l.last && l.acked == l.sent
	}
}
