package arm64

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"piimg/pipeline/format/fdt/gomodtest"
)

// The values are those that scripts/extract-ikconfig of the kernel prints for this file.
func TestConfigOfARealKernel(t *testing.T) {
	f, err := os.Open(filepath.Join(gomodtest.Dir(t, gomodtest.Kernel), "vmlinuz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := ReadConfig(f)
	if err != nil {
		t.Fatal(err)
	}
	for option, want := range map[string]string{"ARM64": "y", "BLK_DEV_INITRD": "y", "RD_GZIP": "y", "IKCONFIG": "y", "NR_CPUS": "4", "X86": ""} {
		if c[option] != want || c.On(option) != (want == "y") {
			t.Errorf("CONFIG_%s is %q, want %q", option, c[option], want)
		}
	}
	t.Logf("%d options, RD_*: gzip %q zstd %q xz %q lz4 %q", len(c), c["RD_GZIP"], c["RD_ZSTD"], c["RD_XZ"], c["RD_LZ4"])
}

// configured is an image with a configuration, n bytes into it.
func configured(n int, text string) string {
	var b bytes.Buffer
	b.WriteString(strings.Repeat("I", n) + "IKCFG_ST")
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.String() + "IKCFG_ED and more"
}

func TestReadConfig(t *testing.T) {
	const text = "# CONFIG_RD_LZ4 is not set\nCONFIG_RD_GZIP=y\nCONFIG_CMDLINE=\"a=b\"\nCONFIG_CRC=m"
	for _, at := range []int{0, 1, chunk - 20, chunk - 8, chunk - 1, chunk, 3*chunk + 5} {
		c, err := ReadConfig(iotest.OneByteReader(strings.NewReader(configured(at, text))))
		if err != nil || len(c) != 3 || !c.On("RD_GZIP") || c.On("RD_LZ4") || c.On("CRC") || c["CMDLINE"] != `"a=b"` {
			t.Errorf("at %d: %v, %v", at, c, err)
		}
	}
	whole := configured(9, text)
	for _, image := range []string{"", "IKCFG_ST", strings.Repeat("IKCFG_ST ", 100)} {
		if _, err := ReadConfig(strings.NewReader(image)); !errors.Is(err, ErrNoConfig) {
			t.Errorf("%q: %v, want ErrNoConfig", image, err)
		}
	}
	if _, err := ReadConfig(strings.NewReader(whole[:60])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut image: %v", err)
	}
	broken := errors.New("broken")
	if _, err := ReadConfig(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("%v, want the reader's error", err)
	}
}
