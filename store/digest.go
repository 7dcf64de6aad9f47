package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// Digest is the SHA-256 of some bytes. The zero Digest names nothing.
type Digest [sha256.Size]byte

// digestPrefix is the algorithm prefix of the OCI image specification.
const digestPrefix = "sha256:"

// Sum is the digest of b.
func Sum(b []byte) Digest { return sha256.Sum256(b) }

// SumReader reads r to its end and returns the digest and the number of bytes read.
func SumReader(r io.Reader) (Digest, int64, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return Digest{}, n, err
	}
	return Digest(h.Sum(nil)), n, nil
}

// ParseDigest reads the full form, "sha256:" and 64 lower-case hexadecimal digits.
func ParseDigest(s string) (Digest, error) {
	hexPart, ok := strings.CutPrefix(s, digestPrefix)
	if !ok {
		return Digest{}, fmt.Errorf("digest %q does not start with %q", s, digestPrefix)
	}
	return ParseHex(hexPart)
}

// ParseHex reads 64 lower-case hexadecimal digits, the form that object keys carry.
func ParseHex(s string) (Digest, error) {
	var d Digest
	if len(s) != 2*len(d) || strings.ToLower(s) != s {
		return Digest{}, fmt.Errorf("digest %q is not 64 lower-case hexadecimal digits", s)
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return Digest{}, fmt.Errorf("digest %q is not 64 lower-case hexadecimal digits", s)
	}
	return d, nil
}

// Hex is the digest without its algorithm.
func (d Digest) Hex() string { return hex.EncodeToString(d[:]) }

// String is the full form that [ParseDigest] reads.
func (d Digest) String() string { return digestPrefix + d.Hex() }

// Short is the form for people: the algorithm and the first 12 digits, which every
// command accepts as long as they are unique in the store.
func (d Digest) Short() string { return digestPrefix + d.Hex()[:12] }

// Compare orders digests as their hexadecimal forms.
func (d Digest) Compare(e Digest) int { return bytes.Compare(d[:], e[:]) }

// IsZero says whether d names nothing.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText writes the full form, and nothing for the zero Digest.
func (d Digest) MarshalText() ([]byte, error) {
	if d.IsZero() {
		return nil, nil
	}
	return []byte(d.String()), nil
}

// UnmarshalText reads what MarshalText writes.
func (d *Digest) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*d = Digest{}
		return nil
	}
	got, err := ParseDigest(string(b))
	*d = got
	return err
}
