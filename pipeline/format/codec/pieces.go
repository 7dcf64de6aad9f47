package codec

import (
	"bufio"
	"io"
)

// pieces passes on the bytes of one compressed member and then answers io.EOF. The
// decoders of the libraries read member after member, or past the end to look for one,
// and take what follows in an initramfs for damage, so that they must not see it.
type pieces struct {
	r    *bufio.Reader
	left int64
	// next answers the length in bytes of the next piece, which r stands at, and io.EOF
	// where the member ends.
	next func() (int64, error)
}

func (p *pieces) Read(b []byte) (int, error) {
	for p.left == 0 {
		n, err := p.next()
		if err != nil {
			return 0, err
		}
		p.left = n
	}
	n, err := p.r.Read(b[:min(int64(len(b)), p.left)])
	p.left -= int64(n)
	if err == io.EOF && p.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
