package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/open"
	"piimg/store/s3/s3test"
)

// wireRecipe has a kernel of 46 MB, an initramfs with a base of 4 MB that is left as it is, and
// an overlay.
const wireRecipe = `
name   = "wire"
boards = ["pi5"]
[sources.kernel]
module = "github.com/gokrazy/kernel.rpi@v0.0.0-20251127164438-9778ec0261de"
[kernel]
file    = "kernel:vmlinuz"
cmdline = "console=tty1"
[dtb]
files   = ["kernel:bcm2712*.dtb"]
[initramfs]
base        = "base.cpio"
compression = "none"
overlays    = ["overlay"]
`

// wireSite is a folder with a recipe, a store on a real server, and the program. It counts what
// goes over the wire.
type wireSite struct {
	dir    string
	proxy  *s3test.Proxy
	server *s3test.Server
}

func newWireSite(t testing.TB) *wireSite {
	t.Helper()
	server := s3test.Start(t)
	w := &wireSite{t.TempDir(), s3test.NewProxy(t, server), server}
	t.Setenv("AWS_ACCESS_KEY_ID", server.Access)
	t.Setenv("AWS_SECRET_ACCESS_KEY", server.Secret)
	t.Setenv("HOME", w.dir)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(w.dir, "cache"))
	t.Setenv("PIIMG_STORE", server.Location(server.NewBucket(t), "fleet", w.proxy.URL))
	w.write(t, "recipe.toml", []byte(wireRecipe))
	base := make([]byte, 4<<20)
	rand.NewChaCha8([32]byte{7}).Read(base)
	w.write(t, "bin/blob", base)
	cpio := exec.Command("cpio", "-o", "-H", "newc", "--quiet")
	cpio.Dir, cpio.Stdin = w.dir, strings.NewReader("bin\nbin/blob\n")
	out, err := cpio.Output()
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "base.cpio", out)
	return w
}

func (w *wireSite) write(t testing.TB, name string, doc []byte) {
	t.Helper()
	file := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, doc, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (w *wireSite) overlay(t testing.TB, seed byte, size int) {
	t.Helper()
	doc := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(doc)
	w.write(t, "overlay/etc/blob", doc)
}

// moved is what a command has moved between here and the server.
type moved struct {
	wire     int64 // all bytes, in both directions
	bodies   int64 // of these, what was content
	requests []string
}

// run runs a command, and answers its result and what it moved.
func (w *wireSite) run(t testing.TB, args ...string) (string, moved) {
	t.Helper()
	up, down := w.proxy.Moved()
	before, seen := moved{wire: up + down, bodies: w.proxy.Bodies()}, len(w.proxy.Seen())
	var out, messages bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &results{w: &out}, ui: &ui{w: &messages}, getenv: os.Getenv, now: time.Now, program: "piimg"}
	if code := run(t.Context(), args, a); code != codeOK {
		t.Fatalf("piimg %v: exit code %d\n%s", args, code, messages.Bytes())
	}
	up, down = w.proxy.Moved()
	m := moved{up + down - before.wire, w.proxy.Bodies() - before.bodies, w.proxy.Seen()[seen:]}
	t.Logf("piimg %s: %d requests, %d bytes, %d of them content", args[0], len(m.requests), m.wire, m.bodies)
	return strings.TrimSpace(out.String()), m
}

// A new build whose overlay has changed moves the overlay, once, the manifest and less than
// 64 KiB more, although the image has 50 MB; a build without changes moves next to nothing,
// and writes nothing but the lease under which it looks.
func TestBytesOverTheWire(t *testing.T) {
	w := newWireSite(t)
	recipe := filepath.Join(w.dir, "recipe.toml")
	const overlay = 1 << 20
	w.overlay(t, 1, overlay)
	w.run(t, "lock", recipe)
	first, m := w.run(t, "build", recipe)
	if m.bodies < 50<<20 {
		t.Errorf("the first build moved %d bytes, less than its image has", m.bodies)
	}

	again, m := w.run(t, "build", recipe)
	if again != first {
		t.Errorf("it became %s, then %s", first, again)
	}
	if m.wire > 64<<10 || m.bodies > 32<<10 {
		t.Errorf("a build without changes moved %d bytes, %d of them content", m.wire, m.bodies)
	}
	for _, r := range m.requests {
		if !strings.HasPrefix(r, "GET ") && !strings.HasPrefix(r, "HEAD ") && !strings.Contains(r, "/leases/") {
			t.Errorf("a build without changes asked for %s", r)
		}
	}

	w.overlay(t, 2, overlay)
	second, m := w.run(t, "build", recipe)
	if second == first {
		t.Error("the image is the same")
	}
	doc := w.manifest(t, second)
	if other := m.bodies - overlay - doc; other > 64<<10 {
		t.Errorf("besides the overlay and the manifest, %d bytes of content were moved: %s", other, strings.Join(m.requests, "\n"))
	}
	if other := m.wire - overlay - doc; other > 96<<10 { // with the heads of some 45 requests and answers
		t.Errorf("besides the overlay and the manifest, %d bytes were moved: %s", other, strings.Join(m.requests, "\n"))
	}
}

// A build in a trust scope writes where the README says that its credential has to let it, and
// nowhere else.
func TestScopedBuildWritesBelow(t *testing.T) {
	w := newWireSite(t)
	recipe := filepath.Join(w.dir, "recipe.toml")
	w.overlay(t, 1, 1000)
	w.run(t, "lock", recipe)
	w.run(t, "store", "init")
	_, m := w.run(t, "build", "--scope", "pull-requests", recipe)
	may := regexp.MustCompile(`^(GET|HEAD) |/fleet/(blobs|images|leases|published|cache/scopes/pull-requests)/`)
	for _, r := range m.requests {
		if !may.MatchString(r) {
			t.Errorf("it asked for %s", r)
		}
	}
	if _, m = w.run(t, "build", "--scope", "pull-requests", recipe); m.bodies > 32<<10 {
		t.Errorf("once more it moved %d bytes of content", m.bodies)
	}
}

// manifest is the size of the manifest of an image.
func (w *wireSite) manifest(t *testing.T, image string) int64 {
	t.Helper()
	b, err := open.Bucket(t.Context(), os.Getenv("PIIMG_STORE"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := store.ParseDigest(image)
	if err != nil {
		t.Fatal(err)
	}
	found, err := store.NewBlobs(b).Find(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return found.Size
}

// A build without changes, against a local server.
func BenchmarkBuildUnchangedOnS3(b *testing.B) {
	w := newWireSite(b)
	recipe := filepath.Join(w.dir, "recipe.toml")
	w.overlay(b, 1, 1<<20)
	w.run(b, "lock", recipe)
	w.run(b, "build", recipe)
	for b.Loop() {
		w.run(b, "build", recipe)
	}
}
