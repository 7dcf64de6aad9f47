package deflate

import (
	"encoding/binary"
	"fmt"
)

// inflate decodes symbols until the block ends, which it answers, or in or out do not
// suffice for one more step.
func (r *Reader) inflate() (bool, error) {
	var (
		in, out   = r.in, r.out
		pos, o    = r.pos, r.o
		bits      = r.bits
		nbits     = r.nbits
		lit, dist = &r.lit.primary, &r.dist.primary
		reach     = int(r.block.Reach - r.plain)
		ended     bool
		err       error
	)
	end := len(out) - slack
	for o <= end && pos+8 <= len(in) {
		if nbits < 48 {
			bits |= binary.LittleEndian.Uint64(in[pos:]) << nbits
			k := (63 - nbits) >> 3
			pos += int(k)
			nbits += k * 8
			bits &= 1<<nbits - 1
		}
		e := lit[bits&(1<<primaryBits-1)]
		if e&isSub != 0 {
			e = r.lit.sub(e, bits)
		}
		n := uint(e & lenMask)
		bits >>= n
		nbits -= n
		if e&isLiteral != 0 {
			out[o] = byte(e >> 8)
			o++
			continue
		}
		if e&isOther != 0 {
			if ended = e&isEnd != 0; !ended {
				err = fmt.Errorf("symbol without a code: %w", ErrFormat)
			}
			break
		}
		x := uint(e >> extraShift & extraMask)
		length := int(e>>8&0xffff) + int(bits&(1<<x-1))
		bits >>= x
		nbits -= x

		e = dist[bits&(1<<primaryBits-1)]
		if e&isSub != 0 {
			e = r.dist.sub(e, bits)
		}
		if e&isOther != 0 {
			err = fmt.Errorf("distance without a code: %w", ErrFormat)
			break
		}
		n = uint(e & lenMask)
		bits >>= n
		x = uint(e >> extraShift & extraMask)
		d := int(e>>8&0xffff) + int(bits&(1<<x-1))
		bits >>= x
		nbits -= n + x

		from := o - d
		if from < 0 { // out[0] is the first byte of all or far enough back
			err = fmt.Errorf("distance of %d leads before the data: %w", d, ErrFormat)
			break
		}
		reach = min(reach, from)
		o = copyMatch(out, o, from, length)
	}
	r.pos, r.o, r.bits, r.nbits = pos, o, bits, nbits
	r.block.Reach = r.plain + int64(reach)
	return ended, err
}

// copyMatch copies n bytes within out, which has room for 8 more.
func copyMatch(out []byte, o, from, n int) int {
	end := o + n
	if o-from >= 8 {
		for o < end {
			binary.LittleEndian.PutUint64(out[o:], binary.LittleEndian.Uint64(out[from:]))
			o += 8
			from += 8
		}
		return end
	}
	if o-from == 1 {
		b := out[from]
		p := out[o:end]
		for i := range p {
			p[i] = b
		}
		return end
	}
	for o < end {
		out[o] = out[from]
		o++
		from++
	}
	return end
}
