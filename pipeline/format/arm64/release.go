package arm64

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ErrNoRelease says that an image holds no banner.
var ErrNoRelease = errors.New("no \"Linux version\" banner")

const (
	maxRelease = 64 // bytes: __NEW_UTS_LEN of Linux
	chunk      = 256 << 10
)

var banner = []byte("Linux version ")

// Release finds the kernel's release, such as "6.12.47-v8", in the banner of an
// uncompressed image. It reads up to the banner and is bounded by what r yields. The
// error is [ErrNoRelease] or that of r.
func Release(r io.Reader) (string, error) {
	buf := make([]byte, 0, chunk+len(banner)+maxRelease+1)
	for {
		n, err := io.ReadFull(r, buf[len(buf):min(len(buf)+chunk, cap(buf))])
		buf = buf[:len(buf)+n]
		ended := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !ended {
			return "", fmt.Errorf("search kernel release: %w", err)
		}
		if release := findRelease(buf); release != "" {
			return release, nil
		}
		if ended {
			return "", ErrNoRelease
		}
		keep := min(len(buf), len(banner)+maxRelease)
		buf = buf[:copy(buf, buf[len(buf)-keep:])]
	}
}

// findRelease is the first complete banner in b. A format string ("Linux version %s")
// is no release.
func findRelease(b []byte) string {
	for {
		i := bytes.Index(b, banner)
		if i < 0 {
			return ""
		}
		b = b[i+len(banner):]
		end := bytes.IndexByte(b[:min(len(b), maxRelease+1)], ' ')
		if end > 0 && isRelease(b[:end]) {
			return string(b[:end])
		}
	}
}

func isRelease(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return b[0] >= '0' && b[0] <= '9'
}
