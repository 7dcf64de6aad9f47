package serve_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/mem"
	"piimg/store/serve"
	"piimg/store/serve/servetest"
)

// fleet is a fleet that a test rearranges.
type fleet struct {
	mu       sync.Mutex
	heads    map[string]serve.Head
	boards   map[string]serve.Assignment
	down     error
	asked    int // Assigned
	lookedAt int // Head
}

var boardName = regexp.MustCompile(`^([0-9a-f]{8}|([0-9a-f]{2}-){5}[0-9a-f]{2})$`)

func (f *fleet) Board(name string) (string, bool) {
	name = strings.ToLower(name)
	return name, boardName.MatchString(name)
}

func (f *fleet) Assigned(_ context.Context, board string) (serve.Assignment, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.down != nil {
		return serve.Assignment{}, f.down
	}
	a, ok := f.boards[board]
	if !ok {
		return a, fmt.Errorf("board %s: %w", board, fs.ErrNotExist)
	}
	return a, nil
}

func (f *fleet) Head(_ context.Context, env string, _ serve.Head) (serve.Head, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lookedAt++
	if f.down != nil {
		return serve.Head{}, f.down
	}
	h, ok := f.heads[env]
	if !ok {
		return h, fmt.Errorf("environment %s: %w", env, fs.ErrNotExist)
	}
	return h, nil
}

func (f *fleet) promote(env string, image store.Digest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heads[env] = serve.Head{Seq: f.heads[env].Seq + 1, Image: image}
}

func (f *fleet) assign(board string, a serve.Assignment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.boards[board] = a
}

func (f *fleet) goDown(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = err
}

// clock is a clock that stands still until it is moved.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// world is a store, a fleet, a clock and a front end over them.
type world struct {
	t     *testing.T
	store *store.Store
	fleet *fleet
	clock *clock
	cfg   serve.Config
	front *serve.Front
}

func newWorld(t *testing.T, change ...func(*serve.Config)) *world {
	t.Helper()
	servetest.NoLeaks(t)
	s, err := store.Init(t.Context(), mem.New())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t:     t,
		store: s,
		fleet: &fleet{heads: map[string]serve.Head{}, boards: map[string]serve.Assignment{}},
		clock: &clock{t: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)},
	}
	w.cfg = serve.Config{Dir: t.TempDir(), Fleet: w.fleet, Source: s.Blobs(), Policy: serve.Policy{Rules: serve.Rules{Default: "dev"}}, Now: w.clock.now, Plain: true}
	for _, c := range change {
		c(&w.cfg)
	}
	w.start()
	t.Cleanup(func() { w.front.Close() })
	return w
}

func (w *world) start() {
	w.t.Helper()
	f, err := serve.New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.front = f
}

// restart replaces the front end by a new one over the same folder.
func (w *world) restart() {
	w.t.Helper()
	w.front.Close()
	w.start()
}

// put stores bytes and returns their name.
func (w *world) put(b []byte) store.Blob {
	w.t.Helper()
	return servetest.Put(w.t, w.store, b)
}

// image publishes files whose content says which version they are of. A text with a
// "|" is stored as several parts.
func (w *world) image(version string, names ...string) store.Digest {
	w.t.Helper()
	img := store.Image{Name: "test", Config: w.put([]byte(`{"version":"` + version + `"}`))}
	for _, name := range names {
		img.Files = append(img.Files, w.file(name, version))
	}
	d, err := w.store.PutImage(w.t.Context(), img, store.Record{Name: "test", Time: w.clock.now()})
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) file(name, version string) store.File {
	body := text(name, version)
	if !strings.HasPrefix(name, "initramfs") {
		return store.NewFile(name, 0o644, w.put([]byte(body)))
	}
	f := store.File{Path: name, Mode: 0o644, Digest: store.Sum([]byte(body)), Size: int64(len(body))}
	cut := len(body) / 2
	f.Parts = []store.Blob{w.put([]byte(body[:cut])), w.put([]byte(body[cut:]))}
	return f
}

// text is the content of a file of a version.
func text(name, version string) string {
	if name == "config.txt" {
		return "# " + version + "\narm_64bit=1\nkernel=vmlinuz\ninitramfs initramfs.gz followkernel\n"
	}
	var b strings.Builder
	for line := range 100 {
		fmt.Fprintln(&b, version, name, line)
	}
	return b.String()
}

var pi4Files = []string{
	"bcm2711-rpi-4-b.dtb", "cmdline.txt", "config.txt", "fixup4.dat", "initramfs.gz",
	"overlays/disable-bt.dtbo", "overlays/overlay_map.dtb", "start4.elf", "vmlinuz",
}

// promote publishes version and makes it what env runs, known to the front end.
func (w *world) promote(env, version string) store.Digest {
	w.t.Helper()
	d := w.image(version, pi4Files...)
	w.fleet.promote(env, d)
	w.refresh()
	return d
}

func (w *world) refresh() {
	w.t.Helper()
	if err := w.front.Refresh(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

var client = netip.MustParseAddrPort("10.1.2.3:49152")

func (w *world) open(name string) (*serve.File, error) { return w.openFrom(client, name) }

func (w *world) openFrom(from netip.AddrPort, name string) (*serve.File, error) {
	return w.front.Open(w.t.Context(), serve.Request{Client: from, Name: name, Protocol: "tftp"})
}

// get is the whole of a file, taken to its end.
func (w *world) get(name string) (string, error) {
	f, err := w.open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return "", err
	}
	f.Done(serve.OK, int64(len(b)))
	return string(b), nil
}

// want checks that name has the content of version.
func (w *world) want(name, version string) {
	w.t.Helper()
	got, err := w.get(name)
	if err != nil {
		w.t.Errorf("get %s: %v, want version %s", name, err, version)
		return
	}
	path := strings.Split(strings.TrimLeft(name, "/"), "/")[1:]
	if strings.HasPrefix(name, "env/") || strings.HasPrefix(name, "by-digest/") {
		path = path[1:]
	}
	if got != text(strings.Join(path, "/"), version) {
		w.t.Errorf("get %s: %.20q, want version %s", name, got, version)
	}
}

func (w *world) wantMissing(name string) {
	w.t.Helper()
	f, err := w.open(name)
	if err == nil {
		f.Close()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		w.t.Errorf("open %q: %v, want not found", name, err)
	}
}

// wantTrouble checks that name cannot be had for a reason that is not its absence.
func (w *world) wantTrouble(name string) error {
	w.t.Helper()
	f, err := w.open(name)
	if err == nil {
		f.Close()
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		w.t.Errorf("open %q: %v, want trouble", name, err)
	}
	return err
}

// cached is the path of d's copy in the cache.
func (w *world) cached(d store.Digest) string {
	return filepath.Join(w.cfg.Dir, "blobs", "sha256", d.Hex())
}
