package deflate

import (
	"fmt"
	"math/bits"
)

const (
	maxLit      = 288
	maxDist     = 32
	maxCode     = 15
	primaryBits = 11
)

// An entry of a table holds the length of the code in its lowest bits, a value of 16 bits
// above them, and the number of extra bits.
const (
	lenMask    = 0x1f
	extraShift = 24
	extraMask  = 0xf
	isLiteral  = 1 << 31
	isSub      = 1 << 30 // the value is where the second part begins, extra its bits
	isOther    = 1 << 29 // no code, or isEnd
	isEnd      = 1 << 28
)

// table decodes one alphabet: the first bits index primary, longer codes go on in more.
type table struct {
	primary [1 << primaryBits]uint32
	more    []uint32
}

func (t *table) sub(e uint32, b uint64) uint32 {
	n := e >> extraShift & extraMask
	return t.more[uint64(e>>8&0xffff)+b>>primaryBits&(1<<n-1)]
}

// build makes the table for codes of the given lengths; entry is what stands for a symbol
// of them. Codes have to use up their space; one code of one bit is allowed, as is none,
// where the decoder never needs them (RFC 1951, section 3.2.7).
func (t *table) build(lengths []uint8, entry func(sym int) uint32) error {
	var count [maxCode + 1]int
	for _, n := range lengths {
		count[n]++
	}
	count[0] = 0
	var next [maxCode + 2]uint32
	code, used := uint32(0), 0
	for n := 1; n <= maxCode; n++ {
		code = (code + uint32(count[n-1])) << 1
		next[n] = code
		used += count[n] << (maxCode - n)
	}
	if used > 1<<maxCode || used < 1<<maxCode && !(used == 0 || used == 1<<(maxCode-1) && count[1] == 1) {
		return fmt.Errorf("code lengths: %w", ErrFormat)
	}
	for i := range t.primary {
		t.primary[i] = isOther
	}
	t.more = t.more[:0]
	for sym, n := range lengths {
		if n == 0 {
			continue
		}
		rev := bits.Reverse32(next[n]) >> (32 - n)
		next[n]++
		t.put(rev, uint32(n), entry(sym)|uint32(n))
	}
	return nil
}

// subBits are those of every second part.
const subBits = maxCode - primaryBits

func (t *table) put(rev, n, e uint32) {
	if n <= primaryBits {
		for i := rev; i < 1<<primaryBits; i += 1 << n {
			t.primary[i] = e
		}
		return
	}
	first := &t.primary[rev&(1<<primaryBits-1)]
	if *first&isSub == 0 {
		*first = isSub | uint32(len(t.more))<<8 | subBits<<extraShift
		for range 1 << subBits {
			t.more = append(t.more, isOther)
		}
	}
	at := *first >> 8 & 0xffff
	for i := rev >> primaryBits; i < 1<<subBits; i += 1 << (n - primaryBits) {
		t.more[at+i] = e
	}
}

func litEntry(sym int) uint32 {
	switch {
	case sym < 256:
		return isLiteral | uint32(sym)<<8
	case sym == 256:
		return isOther | isEnd
	case sym < 265:
		return uint32(sym-257+3) << 8
	case sym == 285:
		return 258 << 8
	case sym > 285:
		return isOther
	}
	x := uint32(sym-261) / 4
	base := 3 + (4+uint32(sym-261)%4)<<x
	return base<<8 | x<<extraShift
}

func distEntry(sym int) uint32 {
	switch {
	case sym < 4:
		return uint32(sym+1) << 8
	case sym > 29:
		return isOther
	}
	x := uint32(sym-2) / 2
	base := 1 + (2+uint32(sym)%2)<<x
	return base<<8 | x<<extraShift
}

func (r *Reader) fixedTables() error {
	l := r.lengths[:maxLit]
	for i := range l {
		switch {
		case i < 144:
			l[i] = 8
		case i < 256:
			l[i] = 9
		case i < 280:
			l[i] = 7
		default:
			l[i] = 8
		}
	}
	if err := r.lit.build(l, litEntry); err != nil {
		return err
	}
	d := r.lengths[:maxDist]
	for i := range d {
		d[i] = 5
	}
	return r.dist.build(d, distEntry)
}

// codeOrder is the order in which the lengths of the code for code lengths stand.
var codeOrder = [19]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

func (r *Reader) dynamicTables() error {
	head, err := r.take(14)
	if err != nil {
		return err
	}
	nlit, ndist, ncode := int(head&31)+257, int(head>>5&31)+1, int(head>>10)+4
	if nlit > 286 || ndist > 30 {
		return fmt.Errorf("%d lengths and %d distances: %w", nlit, ndist, ErrFormat)
	}
	var codes [19]uint8
	for _, sym := range codeOrder[:ncode] {
		n, err := r.take(3)
		if err != nil {
			return err
		}
		codes[sym] = uint8(n)
	}
	// The table of literals holds the code for the lengths first.
	if err := r.lit.build(codes[:], func(sym int) uint32 { return uint32(sym) << 8 }); err != nil {
		return err
	}
	if err := r.readLengths(r.lengths[:nlit+ndist]); err != nil {
		return err
	}
	if r.lengths[256] == 0 {
		return fmt.Errorf("no code ends the block: %w", ErrFormat)
	}
	if err := r.lit.build(r.lengths[:nlit], litEntry); err != nil {
		return err
	}
	return r.dist.build(r.lengths[nlit:nlit+ndist], distEntry)
}

func (r *Reader) readLengths(l []uint8) error {
	for i := 0; i < len(l); {
		if err := r.refill(); err != nil {
			return err
		}
		e := r.lit.primary[r.bits&(1<<primaryBits-1)]
		if e&isOther != 0 {
			return fmt.Errorf("code for lengths: %w", ErrFormat)
		}
		if _, err := r.take(uint(e & lenMask)); err != nil {
			return err
		}
		sym := uint8(e >> 8)
		if sym < 16 {
			l[i] = sym
			i++
			continue
		}
		n, err := r.repeat(sym)
		if err != nil {
			return err
		}
		var value uint8
		if sym == 16 {
			if i == 0 {
				return fmt.Errorf("nothing to repeat: %w", ErrFormat)
			}
			value = l[i-1]
		}
		if n > len(l)-i {
			return fmt.Errorf("too many code lengths: %w", ErrFormat)
		}
		for range n {
			l[i] = value
			i++
		}
	}
	return nil
}

func (r *Reader) repeat(sym uint8) (int, error) {
	bits, base := uint(2), 3
	switch sym {
	case 17:
		bits = 3
	case 18:
		bits, base = 7, 11
	}
	n, err := r.take(bits)
	return int(n) + base, err
}
