package serve_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
	"piimg/store/serve"
	"piimg/store/serve/servetest"
	"piimg/store/serve/web"
)

func TestFaultRow28Names(t *testing.T) {
	w := newWorld(t)
	image := w.promote("dev", "v1")
	w.want("91cdf03d/config.txt", "v1") // the address is known from here on
	digest := "/by-digest/" + image.String()
	tests := []struct {
		name  string
		found bool
	}{
		{"91cdf03d/config.txt", true},
		{"/91cdf03d/config.txt", true},
		{"//91CDF03D//config.txt", true},
		{"91cdf03d//overlays///overlay_map.dtb", true},
		{"dc-a6-32-01-02-03/config.txt", true},
		{"config.txt", true},
		{"/config.txt", true},
		{"overlays/overlay_map.dtb", true},
		{digest + "/config.txt", true},
		{digest + "//overlays/overlay_map.dtb", true},
		{"/env/dev/config.txt", true},
		{"env/dev/config.txt", true},

		{"", false},
		{"/", false},
		{"91cdf03d", false},
		{"91cdf03d/", false},
		{"91cdf03d/config.txt/", false},
		{"91cdf03d/Config.txt", false},
		{"91cdf03d/overlays", false},
		{"91cdf03d/91cdf03d/config.txt", false},
		{"91cdf03d/./config.txt", false},
		{"91cdf03d/overlays/../config.txt", false},
		{"../config.txt", false},
		{"..", false},
		{"/etc/passwd", false},
		{`91cdf03d\config.txt`, false},
		{`91cdf03d/..\config.txt`, false},
		{"91cdf03d/config.txt\x00", false},
		{"91cdf03d/config.txt\x00.txt", false},
		{"91cdf03d/\x7f", false},
		{"91cdf03d/config.txt ", false},
		{"91cdf03d/config.txt\n", false},
		{"91cdf03d/cönfig.txt", false},
		{"91cdf03d/%2e%2e/config.txt", false},
		{"91cdf03d/%2E%2E%2fconfig.txt", false},
		{"91cdf03d/" + strings.Repeat("a/", 4000) + "b", false},
		{digest, false},
		{digest + "/", false},
		{digest + "/nothing", false},
		{"/by-digest/" + image.Hex() + "/config.txt", false},
		{"/by-digest/" + image.Short() + "/config.txt", false},
		{"/by-digest/" + store.Sum(nil).String() + "/config.txt", false},
		{"/by-digest/../config.txt", false},
		{"/env/prod/config.txt", false},
		{"/env/91cdf03d/config.txt", false},
		{"/env/dev", false},
		{"store/config.txt", false},
		{"v2/config.txt", false},
		{"healthz", false},
		{"metrics", false},
	}
	for _, tt := range tests {
		if !tt.found {
			w.wantMissing(tt.name)
			continue
		}
		if _, err := w.get(tt.name); err != nil {
			t.Errorf("get %q: %v, want it found", tt.name, err)
		}
	}
}

// TestReserved keeps a board whose name the front end needs from being one.
func TestReserved(t *testing.T) {
	w := newWorld(t, func(c *serve.Config) { c.Fleet = anyName{c.Fleet} })
	w.promote("dev", "v1")
	w.want("a-board/config.txt", "v1")
	for _, name := range []string{"by-digest", "env", "v2", "chain", "report", "metrics", "healthz", "readyz", "store"} {
		w.wantMissing(name + "/config.txt")
	}
}

// anyName is a fleet in which every name is that of a board.
type anyName struct{ serve.Fleet }

func (anyName) Board(name string) (string, bool) { return name, true }

func TestImmutable(t *testing.T) {
	w := newWorld(t)
	image := w.promote("dev", "v1")
	for name, want := range map[string]bool{
		"91cdf03d/config.txt":                         false,
		"env/dev/config.txt":                          false,
		"by-digest/" + image.String() + "/config.txt": true,
	} {
		f, err := w.open(name)
		if err != nil {
			t.Fatal(err)
		}
		if f.Immutable != want || f.Image != image || f.Digest != store.Sum([]byte(text("config.txt", "v1"))) {
			t.Errorf("%s: immutable %v, image %s, digest %s", name, f.Immutable, f.Image, f.Digest)
		}
		f.Close()
	}
}

func TestFileReads(t *testing.T) {
	w := newWorld(t)
	w.promote("dev", "v1")
	want := text("initramfs.gz", "v1") // stored in two parts
	f, err := w.open("91cdf03d/initramfs.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := iotest.TestReader(f, []byte(want)); err != nil {
		t.Error(err)
	}
	half := int64(len(want) / 2)
	got := make([]byte, 20)
	if n, err := f.ReadAt(got, half-10); n != 20 || err != nil || string(got) != want[half-10:half+10] {
		t.Errorf("read across parts: %d, %v, %q", n, err, got)
	}
	if n, err := f.ReadAt(got, f.Size-5); n != 5 || err != io.EOF {
		t.Errorf("read over the end: %d, %v, want 5 bytes and EOF", n, err)
	}
}

// TestAddresses asks for names without a board.
func TestAddresses(t *testing.T) {
	known := netip.MustParseAddrPort("[::ffff:10.9.9.9]:1000")
	w := newWorld(t, func(c *serve.Config) {
		c.Addresses = map[netip.Addr]string{netip.MustParseAddr("10.9.9.9"): "2E2F16B6"}
	})
	dev, prod := w.promote("dev", "v1"), w.image("v2", pi4Files...)
	w.fleet.assign("2e2f16b6", serve.Assignment{Image: prod})

	image := func(from netip.AddrPort, name string) store.Digest {
		f, err := w.openFrom(from, name)
		if err != nil {
			return store.Digest{}
		}
		defer f.Close()
		return f.Image
	}
	other := netip.MustParseAddrPort("10.1.2.3:5000")
	var nothing store.Digest
	for _, s := range []struct {
		what string
		from netip.AddrPort
		name string
		want store.Digest
		wait time.Duration
	}{
		{"a configured address", known, "config.txt", prod, 0},
		{"an unknown address", client, "config.txt", nothing, 0},
		{"with its prefix", client, "91cdf03d/config.txt", dev, 0},
		{"known by its session", other, "config.txt", dev, 0},
		{"another board there", client, "2e2f16b6/config.txt", prod, 0},
		{"the last one counts", client, "config.txt", prod, 0},
		{"the session is over", client, "config.txt", nothing, 31 * time.Second},
		{"a configured address stays", known, "config.txt", prod, 0},
	} {
		w.clock.pass(s.wait)
		if got := image(s.from, s.name); got != s.want {
			t.Errorf("%s: %s from %s is of image %s, want %s", s.what, s.name, s.from, got, s.want)
		}
	}
}

// TestBootROM asks as a Pi 3 does that was never seen: for its boot loader without a folder,
// at an address that says nothing.
func TestBootROM(t *testing.T) {
	at := func(addr string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(addr), 49152) }
	var log bytes.Buffer
	w := newWorld(t, func(c *serve.Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		c.Default = "dev"
		c.Networks = []serve.Network{
			{Prefix: netip.MustParsePrefix("10.8.0.0/16"), Target: serve.Target{Env: "prod"}},
			{Prefix: netip.MustParsePrefix("10.7.0.0/16"), Target: serve.Target{Local: true}},
		}
	})
	names := []string{"bootcode.bin", "config.txt", "start.elf"}
	dev, prod, own := w.image("v1", names...), w.image("v2", names...), w.image("v3", names...)
	w.fleet.promote("dev", dev)
	w.fleet.promote("prod", prod)
	w.fleet.assign("2e2f16b6", serve.Assignment{Image: own})
	w.refresh()
	var nothing store.Digest
	for _, s := range []struct {
		what, from, name string
		want             store.Digest
	}{
		{"the default", "10.9.0.1", "bootcode.bin", dev},
		{"its network", "10.8.0.1", "//bootcode.bin", prod},
		{"a network whose boards boot from their own disks", "10.7.0.1", "bootcode.bin", nothing},
		{"that alone", "10.9.0.1", "start.elf", nothing},
		{"not elsewhere", "10.9.0.1", "x/bootcode.bin", nothing},
		{"it is board 2e2f16b6", "10.9.0.1", "2e2f16b6/start.elf", own},
		{"which is known now", "10.9.0.1", "bootcode.bin", own},
	} {
		var got store.Digest
		if f, err := w.openFrom(at(s.from), s.name); err == nil {
			got = f.Image
			f.Done(serve.OK, f.Size)
			f.Close()
		}
		if got != s.want {
			t.Errorf("%s: %s from %s is of image %s, want %s", s.what, s.name, s.from, got, s.want)
		}
	}
	if !strings.Contains(log.String(), `msg="boot ROM gets nothing" client=10.7.0.1 why="network 10.7.0.0/16"`) {
		t.Errorf("log:\n%s", log.String())
	}
	if boots := w.front.Boards(); len(boots) != 1 || boots[0].Board != "2e2f16b6" {
		t.Errorf("boards that were seen: %+v", boots)
	}
}

func TestAssignments(t *testing.T) {
	w := newWorld(t)
	w.promote("dev", "v1")
	w.fleet.promote("prod", w.image("v2", pi4Files...))
	pinned := w.image("v3", pi4Files...)
	w.fleet.assign("00000002", serve.Assignment{Target: serve.Target{Env: "prod"}})
	w.fleet.assign("00000003", serve.Assignment{Image: pinned, Target: serve.Target{Env: "prod"}})
	w.fleet.assign("00000004", serve.Assignment{Target: serve.Target{Local: true}})
	w.fleet.assign("00000005", serve.Assignment{Target: serve.Target{Env: "nowhere"}})
	w.want("00000001/config.txt", "v1")
	w.want("00000002/config.txt", "v2")
	w.want("00000003/config.txt", "v3")
	w.wantMissing("00000004/config.txt")
	w.wantMissing("00000005/config.txt")

	// What a running boot has it keeps; the next one follows the new assignment.
	w.fleet.assign("00000001", serve.Assignment{Target: serve.Target{Local: true}})
	w.fleet.assign("00000004", serve.Assignment{})
	w.want("00000001/config.txt", "v1")
	w.wantMissing("00000004/config.txt") // refused a moment ago
	w.clock.pass(31 * time.Second)
	w.wantMissing("00000001/config.txt")
	w.want("00000004/config.txt", "v1")

	if b := w.front.Trail("00000005"); len(b) != 1 || !strings.Contains(b[0].Reason, "nowhere") {
		t.Errorf("trail of a refused board: %+v", b)
	}
}

func TestNoDefault(t *testing.T) {
	w := newWorld(t, func(c *serve.Config) { c.Default = "" })
	w.fleet.promote("prod", w.image("v1", pi4Files...))
	for range 100 {
		w.wantMissing("91cdf03d/start4.elf")
	}
	if w.fleet.asked != 1 {
		t.Errorf("a board in a tight loop made the fleet answer %d times", w.fleet.asked)
	}
	if err := w.front.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	w.fleet.assign("91cdf03d", serve.Assignment{Target: serve.Target{Env: "prod"}})
	w.refresh()
	w.want("91cdf03d/start4.elf", "v1")
}

// TestStoreAway serves on while the store does not answer, and over a restart.
func TestStoreAway(t *testing.T) {
	away := errors.New("no route to the store")
	source := &flakySource{}
	w := newWorld(t, func(c *serve.Config) { source.Source = c.Source; c.Source = source })
	w.promote("dev", "v1")
	w.want("00000001/start4.elf", "v1")
	pinned := w.image("v2", pi4Files...)
	w.fleet.assign("00000002", serve.Assignment{Image: pinned})
	w.want("00000002/start4.elf", "v2")
	w.promote("prod", "v3")
	w.want("env/prod/start4.elf", "v3")

	w.fleet.goDown(away)
	source.fail(away)
	for _, restart := range []bool{false, true} {
		if restart {
			w.restart()
		}
		w.clock.pass(time.Minute)
		if err := w.front.Refresh(t.Context()); !errors.Is(err, away) {
			t.Errorf("refresh: %v, want %v", err, away)
		}
		w.want("00000001/start4.elf", "v1")
		w.want("00000002/start4.elf", "v2")
		w.want("env/prod/start4.elf", "v3")
		if err := w.front.Ready(); err != nil {
			t.Errorf("not ready: %v", err)
		}
		// A board that nobody knows could be assigned anything: it is not guessed.
		w.wantTrouble("00000009/start4.elf")
		w.wantTrouble("env/new/start4.elf")
	}
	w.fleet.goDown(nil)
	source.fail(nil)
	w.promote("dev", "v4")
	w.clock.pass(time.Minute)
	w.want("00000001/start4.elf", "v4")
	w.want("00000009/start4.elf", "v4")
}

func TestColdStartWithoutStore(t *testing.T) {
	w := newWorld(t)
	w.fleet.goDown(errors.New("away"))
	w.front.Refresh(t.Context())
	if err := w.front.Ready(); err == nil {
		t.Error("ready with nothing to serve")
	}
	w.wantTrouble("91cdf03d/config.txt")
}

// TestRequestsDoNotAskForHeads counts what a boot asks the fleet for.
func TestRequestsDoNotAskForHeads(t *testing.T) {
	w := newWorld(t)
	w.fleet.promote("dev", w.image("v1", files(t, pi4)...))
	w.refresh()
	before := w.fleet.lookedAt
	b := &board{w: w, id: "91cdf03d", addr: client}
	if err := b.boot(steps(t, pi4), func(int) {}); err != nil {
		t.Fatal(err)
	}
	if w.fleet.lookedAt != before || w.fleet.asked != 1 {
		t.Errorf("a boot looked %d times for a head and asked %d times for its assignment, want 0 and 1", w.fleet.lookedAt-before, w.fleet.asked)
	}
}

// TestFirstRequest resolves an environment that was never seen, in the request.
func TestFirstRequest(t *testing.T) {
	w := newWorld(t)
	w.fleet.promote("dev", w.image("v1", pi4Files...))
	w.want("91cdf03d/start4.elf", "v1")
}

func TestRun(t *testing.T) {
	w := newWorld(t, func(c *serve.Config) { c.Poll = 10 * time.Millisecond })
	w.fleet.promote("dev", w.image("v1", pi4Files...))
	done := make(chan error)
	ctx, stop := context.WithCancel(t.Context())
	go func() { done <- w.front.Run(ctx) }()
	next := w.image("v2", pi4Files...)
	w.fleet.promote("dev", next)
	servetest.Await(t, "an environment that runs the next image", func() bool {
		envs := w.front.Environments()
		return len(envs) == 1 && envs[0].Image == next
	})
	w.want("91cdf03d/config.txt", "v2")
	stop()
	if err := <-done; !errors.Is(err, ctx.Err()) {
		t.Errorf("run ended with %v", err)
	}
}

// hanging is a fleet that may be asked for ever, and notes for how long it is.
type hanging struct {
	serve.Fleet
	most time.Duration
}

func (h *hanging) asked(ctx context.Context) {
	end, ok := ctx.Deadline()
	if !ok {
		end = time.Now().Add(time.Hour)
	}
	h.most = max(h.most, time.Until(end))
}

func (h *hanging) Head(ctx context.Context, env string, good serve.Head) (serve.Head, error) {
	h.asked(ctx)
	return h.Fleet.Head(ctx, env, good)
}

func (h *hanging) Boards(ctx context.Context) (map[string]serve.Assignment, error) {
	h.asked(ctx)
	return nil, errors.New("away")
}

func (h *hanging) Assigned(ctx context.Context, board string) (serve.Assignment, error) {
	h.asked(ctx)
	return serve.Assignment{}, errors.New("away")
}

// TestKnownBoardDoesNotWait: where it is known what a board was told, a store that does not
// answer keeps it waiting for less than the 2 s after which it asks again.
func TestKnownBoardDoesNotWait(t *testing.T) {
	w := newWorld(t)
	w.promote("dev", "v1")
	w.want("91cdf03d/config.txt", "v1")
	w.clock.pass(time.Minute)
	w.front.Close()
	h := &hanging{Fleet: w.fleet}
	w.cfg.Fleet = h
	w.start()
	w.want("91cdf03d/config.txt", "v1")
	if h.most == 0 || h.most >= 2*time.Second {
		t.Errorf("an answer is waited for %s", h.most)
	}
}

// TestNewHeadWithin15Seconds: when a store is back that has not answered, its new head is
// served 15 s later at most. What a question of before can take from that is its own time,
// and the pause after it.
func TestNewHeadWithin15Seconds(t *testing.T) {
	const pause = 6 * time.Second // the longest between two looks, without Config.Poll
	h := &hanging{}
	w := newWorld(t, func(c *serve.Config) { h.Fleet, c.Fleet = c.Fleet, h })
	w.fleet.promote("dev", w.image("v1", pi4Files...))
	_ = w.front.Refresh(t.Context()) // that the list of boards is away is no news
	if h.most == 0 || h.most+pause > 15*time.Second {
		t.Errorf("an answer is waited for %s", h.most)
	}
}

// TestOlderHead refuses to go back to an earlier step of a log.
func TestOlderHead(t *testing.T) {
	w := newWorld(t)
	w.promote("dev", "v1")
	w.promote("dev", "v2")
	for _, seq := range []int64{1, 2} {
		w.fleet.heads["dev"] = serve.Head{Seq: seq, Image: w.image("v3", pi4Files...)}
		if err := w.front.Refresh(t.Context()); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("step %d after step 2: %v, want corrupt", seq, err)
		}
		w.clock.pass(time.Minute)
		w.want("91cdf03d/config.txt", "v2")
	}
}

func TestNewRefuses(t *testing.T) {
	good := serve.Config{Dir: t.TempDir(), Fleet: &fleet{}, Source: store.Blobs{}}
	for name, change := range map[string]func(*serve.Config){
		"no folder":       func(c *serve.Config) { c.Dir = "" },
		"no fleet":        func(c *serve.Config) { c.Fleet = nil },
		"no source":       func(c *serve.Config) { c.Source = nil },
		"bad environment": func(c *serve.Config) { c.Default = "../x" },
		"bad board":       func(c *serve.Config) { c.Addresses = map[netip.Addr]string{{}: "nobody"} },
		"folder is a file": func(c *serve.Config) {
			c.Dir += "/file"
			if err := os.WriteFile(c.Dir, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		},
	} {
		cfg := good
		change(&cfg)
		if f, err := serve.New(cfg); err == nil {
			f.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

func TestClosed(t *testing.T) {
	w := newWorld(t)
	w.promote("dev", "v1")
	f, err := w.open("91cdf03d/config.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w.front.Close()
	if b, err := io.ReadAll(f); err != nil || string(b) != text("config.txt", "v1") {
		t.Errorf("read after close: %q, %v", b, err)
	}
	w.wantTrouble("91cdf03d/config.txt")
}

// TestFlood makes up boards until the front end forgets the first of them.
func TestFlood(t *testing.T) {
	w := newWorld(t)
	w.promote("dev", "v1")
	w.fleet.assign("ffffffff", serve.Assignment{Target: serve.Target{Env: "dev"}})
	w.want("ffffffff/config.txt", "v1")
	const limit = 8192
	for n := range limit + 10 {
		w.wantMissing(fmt.Sprintf("%08x/nothing", n))
		w.clock.pass(5 * time.Millisecond)
	}
	if n := len(w.front.Boards()); n > limit {
		t.Errorf("%d boards are in memory, want %d at most", n, limit)
	}
	saved, err := os.ReadDir(filepath.Join(w.cfg.Dir, "boards"))
	if err != nil || len(saved) > limit {
		t.Errorf("%d boards are saved, %v, want %d at most", len(saved), err, limit)
	}
	if len(w.front.Trail("00000000")) != 0 {
		t.Error("the first board is still known")
	}
	if len(w.front.Trail("ffffffff")) == 0 {
		t.Error("a board with an assignment was forgotten")
	}
}

// TestFloodInMidBoot makes up more boards than there is room for while a board boots:
// it stays with its image, also over a restart, and so does whoever else was let in.
func TestFloodInMidBoot(t *testing.T) {
	w := newWorld(t)
	w.promote("dev", "v1")
	w.want("91cdf03d/start4.elf", "v1")
	w.promote("dev", "v2")
	flood := web.Handler(web.Config{}, w.front)
	statuses := map[int]int{}
	for n := range 9600 {
		w.clock.pass(time.Millisecond)
		got := httptest.NewRecorder()
		flood.ServeHTTP(got, httptest.NewRequest("GET", fmt.Sprintf("/%08x/config.txt", n), nil))
		statuses[got.Code]++
	}
	if want := map[int]int{http.StatusOK: 8191, http.StatusServiceUnavailable: 9600 - 8191}; !cmp.Equal(statuses, want) {
		t.Errorf("statuses of the flood %v, want %v", statuses, want)
	}
	w.want("91cdf03d/config.txt", "v1")
	w.wantTrouble("00003112/start4.elf")

	w.restart()
	for n := range 8192 {
		w.wantMissing(fmt.Sprintf("%08x/nothing", 1<<16+n))
	}
	w.wantTrouble("00003112/start4.elf")
	w.want("91cdf03d/fixup4.dat", "v1")

	w.clock.pass(30 * time.Second)
	w.want("00003112/start4.elf", "v2")
	w.want("91cdf03d/start4.elf", "v2")
}

// TestLog reads what a boot says at info: that it begins, and that its kernel is out.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	w := newWorld(t, func(c *serve.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	w.promote("dev", "v1")
	for _, name := range []string{"start4.elf", "config.txt", "fixup4.dat", "vmlinuz"} {
		w.want("91cdf03d/"+name, "v1")
	}
	w.wantMissing("91cdf03d/recovery.elf")
	want := []string{"environment has a new head", "boot begins", "kernel delivered"}
	if diff := cmp.Diff(want, messages(&log)); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

// messages is what a text log says, without the particulars.
func messages(log *bytes.Buffer) []string {
	var all []string
	for line := range strings.Lines(log.String()) {
		_, rest, _ := strings.Cut(line, `msg="`)
		message, _, _ := strings.Cut(rest, `"`)
		all = append(all, message)
	}
	return all
}

// TestLogOfEnvironments reads what is said of an environment without a good image: each
// thing once, and nothing of names that somebody only asked for.
func TestLogOfEnvironments(t *testing.T) {
	var log bytes.Buffer
	w := newWorld(t, func(c *serve.Config) {
		c.Default = "nope"
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	for range 3 {
		w.front.Refresh(t.Context())
		w.wantMissing("env/other/config.txt")
	}
	w.fleet.goDown(errors.New("no route to the store"))
	w.front.Refresh(t.Context())
	w.wantTrouble("env/other/config.txt")
	w.fleet.goDown(nil)
	w.promote("nope", "v1")
	w.fleet.goDown(errors.New("no route to the store"))
	w.front.Refresh(t.Context())
	want := []string{
		"there is no environment nope yet", "environment has no image yet",
		"environment has a new head", "environment is up to date again", "environment stays at its last good image",
	}
	if diff := cmp.Diff(want, messages(&log)); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	if strings.Contains(log.String(), `image=""`) {
		t.Errorf("an image without a name is in the log:\n%s", &log)
	}
}

// TestErrorsAreWrappedOnce leaves a board's name to the fleet's own error.
func TestErrorsAreWrappedOnce(t *testing.T) {
	w := newWorld(t)
	w.fleet.goDown(errors.New("board 00003112: no route to the store"))
	if err := w.wantTrouble("00003112/config.txt"); err.Error() != "board 00003112: no route to the store" {
		t.Errorf("the error is %q", err)
	}
	w.fleet.goDown(nil)
	if _, err := w.open("00003113/config.txt"); err == nil || err.Error() != "board 00003113: environment dev: file does not exist" {
		t.Errorf("the error is %q", err)
	}
}

// slowFleet says what was the head when it was asked, and takes its time for that.
type slowFleet struct {
	*fleet
	wait chan struct{}
}

func (f *slowFleet) Head(ctx context.Context, env string, now serve.Head) (serve.Head, error) {
	h, err := f.fleet.Head(ctx, env, now)
	<-f.wait
	return h, err
}

// TestRefreshIsNoOlderLook promotes while a look for heads is under way: whoever looks after
// that gets the new head, and not what the earlier look has found.
func TestRefreshIsNoOlderLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowFleet{wait: make(chan struct{})}
		w := newWorld(t, func(c *serve.Config) { slow.fleet = c.Fleet.(*fleet); c.Fleet = slow })
		w.fleet.promote("dev", w.image("v1", pi4Files...))
		next := w.image("v2", pi4Files...)
		var looks sync.WaitGroup
		looks.Go(func() { w.front.Refresh(t.Context()) })
		synctest.Wait()
		w.fleet.promote("dev", next)
		looks.Go(func() {
			w.refresh()
			if envs := w.front.Environments(); len(envs) != 1 || envs[0].Image != next {
				t.Errorf("after a look boards get %+v, want %s", envs, next)
			}
		})
		synctest.Wait()
		close(slow.wait)
		looks.Wait()
	})
}
