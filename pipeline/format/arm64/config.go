package arm64

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrNoConfig says that an image does not hold its own configuration: it was built without
// CONFIG_IKCONFIG, or with that as a module.
var ErrNoConfig = errors.New("no configuration in the image")

// ikconfig is what kernel/configs.c puts in front of the configuration, with the beginning
// of the gzip member that follows (scripts/extract-ikconfig looks for the same).
var ikconfig = []byte("IKCFG_ST\x1f\x8b\x08")

const (
	ikconfigMagic = len("IKCFG_ST")
	maxConfig     = 4 << 20 // bytes; a distribution's has 300 KB
)

// Config is a kernel's configuration: what is switched on, without "CONFIG_", such as
// "RD_ZSTD" = "y".
type Config map[string]string

// On says whether an option is built in.
func (c Config) On(option string) bool { return c[option] == "y" }

// ReadConfig finds the configuration in an uncompressed image. The error is [ErrNoConfig],
// that of r, or says what is wrong with what was found.
func ReadConfig(r io.Reader) (Config, error) {
	z, err := seek(r, ikconfig)
	if err == io.EOF {
		return nil, ErrNoConfig
	}
	if err != nil {
		return nil, fmt.Errorf("search kernel configuration: %w", err)
	}
	if _, err := io.CopyN(io.Discard, z, int64(ikconfigMagic)); err != nil {
		return nil, fmt.Errorf("read kernel configuration: %w", err)
	}
	text, err := gzip.NewReader(bufio.NewReader(z))
	if err != nil {
		return nil, fmt.Errorf("read kernel configuration: %w", err)
	}
	text.Multistream(false)
	return parseConfig(io.LimitReader(text, maxConfig))
}

func parseConfig(r io.Reader) (Config, error) {
	c := Config{}
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		line, ok := strings.CutPrefix(s.Text(), "CONFIG_")
		if name, value, set := strings.Cut(line, "="); ok && set {
			c[name] = value
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read kernel configuration: %w", err)
	}
	return c, nil
}

// seek reads up to the first pattern and yields it with all that follows; the error is
// io.EOF where there is none.
func seek(r io.Reader, pattern []byte) (io.Reader, error) {
	buf := make([]byte, 0, chunk+len(pattern))
	for {
		n, err := io.ReadFull(r, buf[len(buf):min(len(buf)+chunk, cap(buf))])
		buf = buf[:len(buf)+n]
		if at := bytes.Index(buf, pattern); at >= 0 {
			return io.MultiReader(bytes.NewReader(buf[at:]), r), nil
		}
		if err == io.ErrUnexpectedEOF {
			err = io.EOF
		}
		if err != nil {
			return nil, err
		}
		keep := min(len(buf), len(pattern)-1)
		buf = buf[:copy(buf, buf[len(buf)-keep:])]
	}
}
