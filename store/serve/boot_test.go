package serve_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"piimg/store"
	"piimg/store/serve"
)

// A step of a recorded boot is a name and what the board does with it: P takes the
// first packet and aborts, F takes the whole file, M finds nothing. "/" starts a name
// that the board asks for without its prefix.
//
// The order of a Pi 4B, EEPROM stage first.
const pi4 = `
start4.elf P
config.txt F
pieeprom.sig M
recover4.elf M
recovery.elf M
start4.elf F
fixup4.dat F
recovery.elf M
config.txt P F
dt-blob.bin M
recovery.elf M
config.txt P F
bootcfg.txt M
bcm2711-rpi-4-b.dtb P F
overlays/overlay_map.dtb P F
config.txt P F
overlays/disable-bt.dtbo P F
cmdline.txt F
initramfs.gz P F
recovery8.img M
kernel8.img M
armstub8-gic.bin M
vmlinuz P F`

// The order of a Pi 3B+ with firmware of 2025, with the ROM stage before the prefix.
const pi3 = `
/bootsig.bin M
/bootcode.bin F
start.elf P
autoboot.txt M
start.elf P
config.txt F
recovery.elf M
start.elf F
fixup.dat F
recovery.elf M
config.txt P F
dt-blob.bin M
recovery.elf M
config.txt P F
bootcfg.txt M
recovery8.img M
kernel8.img P P
initramfs8 P P P F
bcm2710-rpi-3-b-plus.dtb P F
overlays/overlay_map.dtb P F
config.txt P F
overlays/vc4-kms-v3d.dtbo P F
cmdline.txt P F
armstub8.bin M
kernel8.img P F`

// The order of a Pi 5.
const pi5 = `
config.txt F
pieeprom.upd M
bcm2712-rpi-5-b.dtb F
config.txt F F
initramfs_2712 F
kernel_2712.img P
bcm2712-rpi-5-b.dtb F
overlays/overlay_map.dtb F
config.txt F
overlays/disable-bt.dtbo F
cmdline.txt F
armstub8-2712.bin M
kernel_2712.img F`

type step struct {
	name string
	does byte
}

func steps(t *testing.T, order string) []step {
	t.Helper()
	var all []step
	for line := range strings.Lines(strings.TrimSpace(order)) {
		words := strings.Fields(line)
		for _, w := range words[1:] {
			all = append(all, step{words[0], w[0]})
		}
	}
	return all
}

// files are the names that a recorded boot finds.
func files(t *testing.T, order string) []string {
	t.Helper()
	seen := map[string]bool{}
	var all []string
	for _, s := range steps(t, order) {
		name := strings.TrimPrefix(s.name, "/")
		if s.does != 'M' && !seen[name] {
			seen[name] = true
			all = append(all, name)
		}
	}
	return all
}

// board is a simulated board: it asks as recorded and checks what it gets.
type board struct {
	w      *world
	id     string
	addr   netip.AddrPort
	images map[store.Digest]bool // that bytes came from in this boot
}

func (b *board) do(s step) error {
	name := b.id + "/" + s.name
	if strings.HasPrefix(s.name, "/") {
		name = s.name
	}
	f, err := b.w.openFrom(b.addr, name)
	if s.does == 'M' {
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %v, want not found", name, err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	b.images[f.Image] = true
	if s.does == 'P' {
		f.Done(serve.Probe, 0)
		return nil
	}
	got, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if store.Sum(got) != f.Digest || int64(len(got)) != f.Size {
		return fmt.Errorf("%s: %d bytes that are not those of %s", name, len(got), f.Digest)
	}
	f.Done(serve.OK, f.Size)
	return nil
}

// boot runs the steps and calls between before each of them.
func (b *board) boot(steps []step, between func(n int)) error {
	b.images = map[store.Digest]bool{}
	for n, s := range steps {
		between(n)
		if err := b.do(s); err != nil {
			return fmt.Errorf("step %d: %w", n, err)
		}
	}
	return nil
}

func (b *board) wantOnly(t *testing.T, when string, image store.Digest) {
	t.Helper()
	if want := map[store.Digest]bool{image: true}; !cmp.Equal(b.images, want) {
		t.Errorf("%s: bytes of %v, want only %v", when, b.images, image)
	}
}

// TestPromoteInMidBoot promotes a new image before every single step of every recorded
// boot: the boot stays with its image, and the next one gets the new image, even where
// it begins at once.
func TestPromoteInMidBoot(t *testing.T) {
	for _, tt := range []struct{ name, order string }{{"pi4", pi4}, {"pi3", pi3}, {"pi5", pi5}} {
		t.Run(tt.name, func(t *testing.T) {
			addr := client
			w := newWorld(t, func(c *serve.Config) { c.Addresses = map[netip.Addr]string{addr.Addr(): "91CDF03D"} })
			order, names := steps(t, tt.order), files(t, tt.order)
			b := &board{w: w, id: "91cdf03d", addr: addr}
			version := 0
			publish := func() store.Digest {
				version++
				d := w.image(fmt.Sprint("v", version), names...)
				w.fleet.promote("dev", d)
				w.refresh()
				return d
			}
			now := publish()
			for at := 1; at < len(order); at++ {
				var next store.Digest
				err := b.boot(order, func(n int) {
					w.clock.pass(100 * time.Millisecond)
					if n == at {
						next = publish()
					}
				})
				if err != nil {
					t.Fatalf("promote before step %d: %v", at, err)
				}
				b.wantOnly(t, fmt.Sprintf("promote before step %d (%s)", at, order[at].name), now)
				now = next
			}
			if err := b.boot(order, func(int) {}); err != nil {
				t.Fatal(err)
			}
			b.wantOnly(t, "last boot", now)
		})
	}
}

// TestRestartInMidBoot replaces the front end before every step, after a promote.
func TestRestartInMidBoot(t *testing.T) {
	for _, tt := range []struct{ name, order string }{{"pi4", pi4}, {"pi5", pi5}} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			order, names := steps(t, tt.order), files(t, tt.order)
			b := &board{w: w, id: "91cdf03d", addr: client}
			old := w.image("v1", names...)
			w.fleet.promote("dev", old)
			w.refresh()
			err := b.boot(order, func(n int) {
				w.clock.pass(time.Second)
				if n == 1 {
					w.fleet.promote("dev", w.image("v2", names...))
				}
				if n > 0 {
					w.restart()
					w.refresh()
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			b.wantOnly(t, "boot", old)
		})
	}
}

func TestFiftyBoards(t *testing.T) {
	w := newWorld(t)
	order, names := steps(t, pi4), files(t, pi4)
	old := w.image("v1", names...)
	w.fleet.promote("dev", old)
	next := w.image("v2", names...)
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Go(func() {
			b := &board{w: w, id: fmt.Sprintf("%08x", n), addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}), 4000)}
			if err := b.boot(order, func(step int) {
				if n == 0 && step == 7 {
					w.fleet.promote("dev", next)
					w.front.Refresh(w.t.Context())
				}
			}); err != nil {
				t.Errorf("board %s: %v", b.id, err)
			}
			if len(b.images) != 1 {
				t.Errorf("board %s got bytes of %v", b.id, b.images)
			}
		})
	}
	wg.Wait()
	boots := w.front.Boards()
	if len(boots) != 50 {
		t.Fatalf("%d boards, want 50", len(boots))
	}
	for _, b := range boots {
		if b.Milestone != serve.Kernel {
			t.Errorf("board %s came to %s", b.Board, b.Milestone)
		}
	}
}

// TestSessionRules walks a board through the ends of a session.
func TestSessionRules(t *testing.T) {
	const id = "91cdf03d/"
	tests := []struct {
		name string
		walk func(w *world)
	}{
		{"idle for 30 seconds", func(w *world) {
			w.want(id+"start4.elf", "v1")
			w.promote("dev", "v2")
			w.clock.pass(29 * time.Second)
			w.want(id+"config.txt", "v1")
			w.clock.pass(30 * time.Second)
			w.want(id+"config.txt", "v2")
		}},
		{"a missing file is a sign of life too", func(w *world) {
			w.want(id+"start4.elf", "v1")
			w.promote("dev", "v2")
			for range 3 {
				w.clock.pass(20 * time.Second)
				w.wantMissing(id + "recovery.elf")
			}
			w.want(id+"config.txt", "v1")
		}},
		{"a long transfer keeps it", func(w *world) {
			f, err := w.open(id + "initramfs.gz")
			if err != nil {
				w.t.Fatal(err)
			}
			w.promote("dev", "v2")
			w.clock.pass(time.Minute)
			w.want(id+"config.txt", "v1")
			w.clock.pass(time.Minute)
			f.Close()
			w.clock.pass(29 * time.Second)
			w.want(id+"config.txt", "v1")
		}},
		{"power cycle in the first stage", func(w *world) {
			w.want(id+"start4.elf", "v1")
			w.promote("dev", "v2")
			w.want(id+"start4.elf", "v1")
			w.want(id+"start4.elf", "v1")
			w.want(id+"fixup4.dat", "v1")
		}},
		{"power cycle in the second stage", func(w *world) {
			w.want(id+"start4.elf", "v1")
			w.want(id+"fixup4.dat", "v1")
			w.promote("dev", "v2")
			w.want(id+"config.txt", "v1")
			w.want(id+"start4.elf", "v2")
			w.want(id+"config.txt", "v2")
		}},
		{"power cycle while the kernel comes", func(w *world) {
			w.want(id+"start4.elf", "v1")
			w.want(id+"fixup4.dat", "v1")
			f, err := w.open(id + "vmlinuz")
			if err != nil {
				w.t.Fatal(err)
			}
			w.promote("dev", "v2")
			w.want(id+"start4.elf", "v2")
			f.Close() // belongs to the boot before, and ends nothing of this one
			w.want(id+"config.txt", "v2")
		}},
		{"config.txt again before the kernel", func(w *world) {
			w.want(id+"config.txt", "v1")
			w.promote("dev", "v2")
			w.want(id+"config.txt", "v1")
			w.want(id+"bcm2711-rpi-4-b.dtb", "v1")
			w.want(id+"config.txt", "v1")
		}},
		{"config.txt again after half a kernel", func(w *world) {
			w.want(id+"config.txt", "v1")
			f, err := w.open(id + "vmlinuz")
			if err != nil {
				w.t.Fatal(err)
			}
			f.Done(serve.Aborted, f.Size-1)
			f.Close()
			w.promote("dev", "v2")
			w.want(id+"config.txt", "v1")
		}},
		{"config.txt again after the kernel", func(w *world) {
			w.want(id+"config.txt", "v1")
			w.want(id+"vmlinuz", "v1")
			w.promote("dev", "v2")
			w.want(id+"vmlinuz", "v1")
			w.want(id+"config.txt", "v2")
		}},
		{"a board that fails for ever", func(w *world) {
			for n := 0; n < 4*60; n += 4 {
				w.want(id+"config.txt", "v1")
				w.wantMissing(id + "bcm2712-rpi-5-b.dtb")
				w.clock.pass(4 * time.Second)
			}
			w.promote("dev", "v2")
			w.want(id+"config.txt", "v1")
			w.clock.pass(20 * time.Second)
			w.wantMissing(id + "bcm2712-rpi-5-b.dtb")
			w.clock.pass(20 * time.Second)
			w.wantMissing(id + "bcm2712-rpi-5-b.dtb")
			w.clock.pass(20 * time.Second)
			w.want(id+"config.txt", "v2")
		}},
		{"a session first seen in the middle of a boot", func(w *world) {
			w.want(id+"overlays/overlay_map.dtb", "v1")
			w.promote("dev", "v2")
			w.want(id+"config.txt", "v1")
			w.want(id+"overlays/overlay_map.dtb", "v1")
			w.want(id+"vmlinuz", "v1")
			w.want(id+"start4.elf", "v2")
		}},
		{"after a restart, half a minute later", func(w *world) {
			w.want(id+"start4.elf", "v1")
			w.promote("dev", "v2")
			w.clock.pass(31 * time.Second)
			w.restart()
			w.want(id+"config.txt", "v2")
		}},
		{"after a restart, with the clock set back", func(w *world) {
			w.want(id+"start4.elf", "v1")
			w.promote("dev", "v2")
			w.clock.pass(-time.Hour)
			w.restart()
			w.want(id+"config.txt", "v2")
		}},
		{"after the kernel and a restart", func(w *world) {
			w.want(id+"config.txt", "v1")
			w.want(id+"vmlinuz", "v1")
			w.promote("dev", "v2")
			w.restart()
			w.want(id+"config.txt", "v2")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.promote("dev", "v1")
			tt.walk(w)
		})
	}
}

// TestTrail compares the whole trail of a boot that is cut off in the kernel.
func TestTrail(t *testing.T) {
	w := newWorld(t)
	image := w.promote("dev", "v1")
	opened := w.clock.now()
	b := &board{w: w, id: "91cdf03d", addr: client, images: map[store.Digest]bool{}}
	for _, s := range []step{{"start4.elf", 'P'}, {"config.txt", 'F'}, {"recovery.elf", 'M'}, {"initramfs.gz", 'F'}} {
		if err := b.do(s); err != nil {
			t.Fatal(err)
		}
	}
	f, err := w.open("91cdf03d/vmlinuz")
	if err != nil {
		t.Fatal(err)
	}
	w.clock.pass(9 * time.Second)
	f.Done(serve.Aborted, 700)
	f.Close()

	size := func(name string) int64 { return int64(len(text(name, "v1"))) }
	want := []serve.Boot{{
		Board: "91cdf03d", Address: client.Addr(), Image: image, Env: "dev",
		Opened: opened, Seen: opened.Add(9 * time.Second), Milestone: serve.Initramfs,
		Files: 2, Bytes: size("config.txt") + size("initramfs.gz") + 700,
		Events: []serve.Event{
			{Name: "start4.elf", Result: serve.Probe},
			{Name: "config.txt", Result: serve.OK, Bytes: size("config.txt")},
			{Name: "recovery.elf", Result: serve.Missing},
			{Name: "initramfs.gz", Result: serve.OK, Bytes: size("initramfs.gz")},
			{Name: "vmlinuz", Result: serve.Aborted, Bytes: 700, Duration: 9 * time.Second},
		},
	}}
	for n := range want[0].Events {
		e := &want[0].Events[n]
		e.Time, e.Protocol, e.Client = opened, "tftp", client
		if e.Result != serve.Missing {
			e.Size = size(e.Name)
		}
	}
	if diff := cmp.Diff(want, w.front.Trail("91CDF03D"), cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})); diff != "" {
		t.Errorf("trail (-want +got):\n%s", diff)
	}
}

func TestTrailIsBounded(t *testing.T) {
	w := newWorld(t)
	w.promote("dev", "v1")
	for range 10 {
		for range 100 {
			w.want("91cdf03d/config.txt", "v1")
			w.wantMissing("91cdf03d/a")
			w.wantMissing("91cdf03d/b")
		}
		w.clock.pass(time.Minute)
	}
	trail := w.front.Trail("91cdf03d")
	if len(trail) != 4 {
		t.Errorf("%d boots are kept, want 4", len(trail))
	}
	for _, b := range trail {
		if len(b.Events) != 256 || b.Dropped != 300-256 {
			t.Errorf("%d events are kept and %d dropped, want 256 and 44", len(b.Events), b.Dropped)
		}
	}
}
