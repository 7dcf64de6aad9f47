// Package deb reads Debian packages (deb(5)): an ar archive with debian-binary, a
// control archive and a data archive, which is a tar archive, compressed with xz, zstd,
// gzip, lzma or bzip2, or not at all. Control archive and signatures are skipped.
package deb

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"piimg/pipeline/format/codec"
)

// magic is how ar archives begin.
const magic = "!<arch>\n"

// headerSize is the size of the header of each member in bytes.
const headerSize = 60

// Data is the data archive of the package r, as tar. Whoever reads it to its end has read
// what r has of it; the checksums of the compression are checked on the way.
func Data(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReader(r)
	if err := version(b); err != nil {
		return nil, err
	}
	for {
		name, size, err := member(b)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(name, "data.tar") {
			return open(name, bufio.NewReader(io.LimitReader(b, size)))
		}
		if _, err := io.CopyN(io.Discard, b, size+size%2); err != nil {
			return nil, fmt.Errorf("member %s: %w", name, cut(err))
		}
	}
}

// version reads the magic and the first member, which says the format: 2 and anything
// behind the dot.
func version(b *bufio.Reader) error {
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(b, head); err != nil || string(head) != magic {
		return errors.New("not a Debian package: it does not begin as an ar archive does")
	}
	name, size, err := member(b)
	if err != nil {
		return err
	}
	if name != "debian-binary" || size < 2 || size > 100 {
		return fmt.Errorf("not a Debian package: its first member is %q", name)
	}
	text := make([]byte, size+size%2)
	if _, err := io.ReadFull(b, text); err != nil {
		return fmt.Errorf("member %s: %w", name, cut(err))
	}
	if !strings.HasPrefix(string(text), "2.") {
		return fmt.Errorf("a Debian package of format %q, only 2.x can be read", strings.TrimSpace(string(text)))
	}
	return nil
}

// member reads the header of the next member of the ar archive.
func member(b *bufio.Reader) (name string, size int64, err error) {
	h := make([]byte, headerSize)
	if _, err := io.ReadFull(b, h); err != nil {
		return "", 0, fmt.Errorf("the package has no data archive: %w", cut(err))
	}
	if string(h[58:]) != "`\n" {
		return "", 0, errors.New("the package is damaged: a member has no header")
	}
	name = strings.TrimSuffix(strings.TrimRight(string(h[:16]), " "), "/")
	size, err = strconv.ParseInt(strings.TrimRight(string(h[48:58]), " "), 10, 64)
	if err != nil || size < 0 {
		return "", 0, fmt.Errorf("the package is damaged: member %q has no size", name)
	}
	return name, size, nil
}

// formats are the names of the data archive that dpkg knows.
var formats = map[string]codec.Format{
	".xz": codec.XZ, ".zst": codec.Zstd, ".gz": codec.Gzip, ".lzma": codec.LZMA, ".bz2": codec.Bzip2,
}

func open(name string, b *bufio.Reader) (io.ReadCloser, error) {
	ending := strings.TrimPrefix(name, "data.tar")
	if ending == "" {
		return io.NopCloser(b), nil
	}
	want, ok := formats[ending]
	if !ok {
		return nil, fmt.Errorf("member %s: the compression cannot be read: %w", name, errors.ErrUnsupported)
	}
	r, got, err := codec.NewReader(b)
	if err != nil {
		return nil, fmt.Errorf("member %s: %w", name, err)
	}
	if got != want {
		r.Close()
		return nil, fmt.Errorf("member %s: what is inside is %s", name, got)
	}
	return r, nil
}

// cut says of an end that came too early that it did.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
