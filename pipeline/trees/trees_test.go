package trees

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/codec"
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

func base(t *testing.T, body string) []byte {
	t.Helper()
	var b bytes.Buffer
	err := initrd.WritePart(&b, codec.Gzip, func(w io.Writer) error {
		cw := newc.NewWriter(w)
		if err := cw.WriteEntry(newc.Entry{Name: "f", Mode: newc.Regular | 0o644, Size: int64(len(body))}, bytes.NewReader([]byte(body))); err != nil {
			return err
		}
		return cw.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// counted counts what is read.
type counted struct {
	*bytes.Reader
	n int
}

func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.Reader.ReadAt(p, off)
	c.n += n
	return n, err
}

// read is c.Read of b, checked, and how many bytes of b that took.
func read(t *testing.T, c Cache, b []byte, l initrd.Limits) int {
	t.Helper()
	r := &counted{Reader: bytes.NewReader(b)}
	got, h, err := c.ReadHash(r, int64(len(b)), l)
	if err != nil {
		t.Fatal(err)
	}
	want, err := initrd.ReadTree(bytes.NewReader(b), l)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(nodes(want), nodes(got)); d != "" || got.Entries != want.Entries || got.Archives != want.Archives {
		t.Errorf("-want +got:\n%s", d)
	}
	if sum := sha256.Sum256(b); !bytes.Equal(h.Sum(nil), sum[:]) {
		t.Error("the hash is not that of what was read")
	}
	return r.n
}

func nodes(t *initrd.Tree) []initrd.Node {
	var all []initrd.Node
	for n := range t.All() {
		all = append(all, *n)
	}
	return all
}

func files(t *testing.T, c Cache) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(c.Dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTreesAreReadOnce(t *testing.T) {
	c := Cache{Dir: filepath.Join(t.TempDir(), "trees")}
	b, other := base(t, "body"), base(t, "other")
	if n := read(t, c, b, initrd.Limits{}); n <= len(b) {
		t.Errorf("read %d of %d bytes at first, and not twice", n, len(b))
	}
	if n := read(t, c, b, initrd.Limits{}); n != len(b) {
		t.Errorf("read %d of %d bytes, and not once", n, len(b))
	}
	if n := read(t, c, other, initrd.Limits{}); n <= len(other) {
		t.Errorf("took another base for the first one")
	}
	if n := read(t, c, b, initrd.Limits{Ratio: 7}); n <= len(b) {
		t.Errorf("took what other limits let through")
	}
	if n := len(files(t, c)); n != 3 {
		t.Errorf("%d files, want 3", n)
	}
	if n := read(t, Cache{}, b, initrd.Limits{}); n <= len(b) {
		t.Errorf("the zero value knows something")
	}
}

// A limit stays one, whatever was read before.
func TestLimitsHold(t *testing.T) {
	c, b := Cache{Dir: t.TempDir()}, base(t, "body")
	read(t, c, b, initrd.Limits{})
	for range 2 {
		if _, err := c.Read(bytes.NewReader(b), int64(len(b)), initrd.Limits{Limits: newc.Limits{Size: 4}}); err == nil {
			t.Error("more than the limit, and no error")
		}
	}
}

func TestDamageIsReadAnew(t *testing.T) {
	c, b := Cache{Dir: t.TempDir()}, base(t, "body")
	read(t, c, b, initrd.Limits{})
	name := files(t, c)[0]
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(whole); at += 7 {
		bad := bytes.Clone(whole)
		bad[at] ^= 1
		for _, bad := range [][]byte{bad, whole[:at]} {
			if err := os.WriteFile(name, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if n := read(t, c, b, initrd.Limits{}); n <= len(b) {
				t.Fatalf("trusts what is damaged at byte %d", at)
			}
		}
	}
}

// What is no whole initramfs is not kept.
func TestProblemsAreNotKept(t *testing.T) {
	c, b := Cache{Dir: t.TempDir()}, base(t, "body")
	for range 2 {
		tree, err := c.Read(bytes.NewReader(b), int64(len(b))-9, initrd.Limits{})
		if err != nil || tree.Damage() == nil {
			t.Errorf("%v, damage %v", err, tree.Damage())
		}
	}
	if n := len(files(t, c)); n != 0 {
		t.Errorf("%d files", n)
	}
}

func TestSizeIsBounded(t *testing.T) {
	c := Cache{Dir: t.TempDir()}
	read(t, c, base(t, "first"), initrd.Limits{})
	info, err := os.Stat(files(t, c)[0])
	if err != nil {
		t.Fatal(err)
	}
	c.Size = 5 * info.Size()
	for n := range 20 {
		read(t, c, base(t, string(rune('a'+n))), initrd.Limits{})
	}
	if n := len(files(t, c)); n < 3 || n > 5 {
		t.Errorf("%d files, want as many as fit", n)
	}
	c.Size = 1
	read(t, c, base(t, "too large"), initrd.Limits{})
	if n := len(files(t, c)); n > 5 {
		t.Errorf("%d files", n)
	}
}

// changing is the second file from when the first was read once.
type changing struct {
	first, second []byte
	n             int
}

func (c *changing) ReadAt(p []byte, off int64) (int, error) {
	b := c.first
	if c.n >= len(c.first) {
		b = c.second
	}
	n, err := bytes.NewReader(b).ReadAt(p, off)
	c.n += n
	return n, err
}

// A base that changes while it is read is kept under no digest.
func TestChangingBaseIsNotKept(t *testing.T) {
	c := Cache{Dir: t.TempDir()}
	first, second := base(t, "body"), base(t, "ydob")
	if len(first) != len(second) {
		t.Fatalf("%d and %d bytes", len(first), len(second))
	}
	if _, err := c.Read(&changing{first: first, second: second}, int64(len(first)), initrd.Limits{}); err != nil {
		t.Fatal(err)
	}
	if n := len(files(t, c)); n != 0 {
		t.Errorf("%d files", n)
	}
}
