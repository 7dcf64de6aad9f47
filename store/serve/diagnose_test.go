package serve_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
	"piimg/store/serve"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// ev is a transfer of a boot: ok unless it says otherwise, at second n.
func ev(n int, name string, change ...func(*serve.Event)) serve.Event {
	e := serve.Event{Time: noon.Add(time.Duration(n) * time.Second), Name: name, Protocol: "tftp", Result: serve.OK, Bytes: 1000, Size: 1000}
	for _, c := range change {
		c(&e)
	}
	return e
}

func gets(r serve.Result, bytes int64) func(*serve.Event) {
	return func(e *serve.Event) { e.Result, e.Bytes = r, bytes }
}

func sized(n int64) func(*serve.Event) { return func(e *serve.Event) { e.Size, e.Bytes = n, n } }
func plain(e *serve.Event)             { e.Plain = true }
func rooted(e *serve.Event)            { e.Rooted = true }
func overHTTP(e *serve.Event)          { e.Protocol = "http" }
func slow(e *serve.Event)              { e.Duration = 41 * time.Second }
func missing(e *serve.Event)           { e.Result, e.Bytes, e.Size = serve.Missing, 0, 0 }

// boot is a boot that has come to m with these events.
func boot(m serve.Milestone, events ...serve.Event) serve.Boot {
	b := serve.Boot{Board: "91cdf03d", Image: store.Sum([]byte("image")), Opened: noon, Milestone: m, Events: events}
	for _, e := range events {
		if e.Time.After(b.Seen) {
			b.Seen = e.Time
		}
	}
	return b
}

// good is a boot in which nothing is wrong.
func good() serve.Boot {
	return boot(serve.Kernel,
		ev(0, "start4.elf", gets(serve.Probe, 0)), ev(1, "config.txt"), ev(2, "recovery.elf", missing), ev(2, "start4.elf"), ev(3, "fixup4.dat"),
		ev(4, "config.txt"), ev(5, "bcm2711-rpi-4-b.dtb", sized(56_000)), ev(6, "initramfs8"), ev(7, "cmdline.txt"), ev(9, "kernel8.img"))
}

// unseenRows are those of the table that a server of files sees nothing of, and why.
var unseenRows = map[int]string{
	1: "DHCP", 13: "looks as row 12 does", 14: "DHCP", 15: "the simulated Pi 3 tries it", 19: "DHCP",
	21: "the linter's: rule P12", 22: "DHCP", 23: "DHCP",
}

// TestDiagnosis has a test for each row of the table of failures that a server can see.
func TestDiagnosis(t *testing.T) {
	unseen := map[int]string{}
	for row := 1; row <= 25; row++ {
		unseen[row] = unseenRows[row]
	}
	was := good()
	ramdisk := boot(serve.Kernel, ev(0, "config.txt"), ev(9, "boot.img", sized(70<<20)))
	again := boot(serve.ConfigRead, ev(60, "config.txt"))
	again.Opened = noon.Add(60 * time.Second)
	signed := boot(serve.Kernel, ev(0, "boot.sig", overHTTP), ev(9, "boot.img", overHTTP))
	signedAgain := boot(serve.Kernel, ev(20, "boot.sig", overHTTP), ev(29, "boot.img", overHTTP))
	signedAgain.Opened = noon.Add(20 * time.Second)
	var loop []serve.Event
	for n := range 30 {
		e := ev(0, "start4.elf", missing)
		e.Time = noon.Add(time.Duration(n) * 16 * time.Millisecond)
		loop = append(loop, e)
	}
	for _, tt := range []struct {
		row    int
		name   string
		before *serve.Boot
		boot   serve.Boot
	}{
		{2, "no options", nil, boot(serve.Kernel, ev(0, "start4.elf"), ev(1, "config.txt", plain), ev(2, "cmdline.txt"))},
		{3, "block counter of 512", nil, boot(serve.Fixup, ev(0, "fixup4.dat"), ev(9, "vmlinuz", gets(serve.Aborted, 65535*512)))},
		{3, "block counter of 1468", nil, boot(serve.Fixup, ev(0, "fixup4.dat"), ev(9, "vmlinuz", gets(serve.Aborted, 65535*1468)))},
		{4, "boot.img cut", &ramdisk, again},
		{5, "signed TFTP on a CM5", nil, boot(serve.ConfigRead, ev(0, "boot.img", gets(serve.Aborted, 0)), ev(1, "boot.img", gets(serve.Probe, 0)), ev(2, "boot.img", gets(serve.Aborted, 0)))},
		{6, "start and fixup mixed", nil, boot(serve.Kernel, ev(0, "start4x.elf"), ev(1, "fixup4.dat"), ev(2, "kernel8.img"))},
		{7, "another kernel", nil, boot(serve.Kernel, ev(0, "kernel7.img", gets(serve.Aborted, 5000)), ev(3, "kernel.img"))},
		{8, "tight loop", nil, boot(serve.PrefixProbe, loop...)},
		{9, "left its folder", nil, boot(serve.ConfigRead, ev(0, "start4.elf", missing), ev(0, "start.elf", missing), ev(1, "config.txt", rooted))},
		{10, "wrong initramfs", nil, boot(serve.Kernel, ev(0, "initramfs_2712"), ev(2, "kernel8.img"))},
		{11, "after an initramfs of another name, late", nil, boot(serve.Initramfs, ev(0, "fixup4.dat"), ev(2, "bcm2711-rpi-4-b.dtb", sized(56_000)), ev(3, "rootfs.cpio.gz"))},
		{11, "after the initramfs", nil, boot(serve.Initramfs, ev(0, "fixup4.dat"), ev(2, "initramfs8"))},
		{12, "starts over", &was, again},
		{16, "after fixup", nil, boot(serve.Fixup, ev(0, "start4.elf"), ev(1, "fixup4.dat"))},
		{17, "update of the boot loader", nil, boot(serve.Kernel, ev(0, "pieeprom.upd"), ev(5, "kernel8.img"))},
		{18, "HTTP again and again", nil, boot(serve.Kernel, ev(0, "boot.img", overHTTP), ev(2, "boot.img", overHTTP), ev(4, "boot.img", overHTTP))},
		{18, "HTTP, each time from the beginning", &signed, signedAgain},
		{20, "config.txt cut", nil, boot(serve.ConfigRead, ev(0, "start4.elf", gets(serve.Probe, 0)), ev(1, "config.txt"))},
		{24, "silence in a transfer", nil, boot(serve.DTB, ev(0, "bcm2712-rpi-5-b.dtb", sized(80_000)), ev(9, "kernel_2712.img", gets(serve.Aborted, 3_000_000)))},
		{24, "a file that takes too long", nil, boot(serve.DTB, ev(0, "bcm2711-rpi-4-b.dtb", sized(56_000)), ev(9, "kernel8.img", gets(serve.Aborted, 3_000_000), slow))},
		{25, "no RP1", nil, boot(serve.Kernel, ev(0, "bcm2712-rpi-5-b.dtb", sized(6_860)), ev(2, "kernel8.img"))},
	} {
		delete(unseen, tt.row)
		t.Run(fmt.Sprintf("Row%d %s", tt.row, tt.name), func(t *testing.T) {
			rows := func(now time.Time) (all []int) {
				for _, f := range serve.Diagnose(tt.boot, tt.before, now) {
					all = append(all, f.Row)
				}
				return all
			}
			later := rows(tt.boot.Seen.Add(2 * time.Minute))
			if !slices.Contains(later, tt.row) {
				t.Errorf("rows %v", later)
			}
			// What silence shows is not said of a boot that goes on.
			lasts := slices.ContainsFunc(tt.boot.Events, func(e serve.Event) bool { return e.Duration > 0 })
			if now := rows(tt.boot.Seen.Add(time.Second)); slices.Contains([]int{11, 16, 20, 24}, tt.row) && !lasts && len(now) > 0 {
				t.Errorf("rows %v while the boot goes on", now)
			}
		})
	}
	if diff := cmp.Diff(unseenRows, unseen); diff != "" {
		t.Errorf("rows without a test, and those of which a server sees nothing (-):\n%s", diff)
	}
	cmdline := boot(serve.Initramfs, ev(0, "initramfs8"), ev(2, "cmdline.txt"))
	if got := serve.Diagnose(cmdline, nil, cmdline.Seen.Add(time.Minute)); len(got) > 0 {
		t.Errorf("silence after cmdline.txt: %v", got)
	}
	elsewhere := again
	elsewhere.Address = netip.MustParseAddr("192.0.2.9")
	if got := serve.Diagnose(elsewhere, &was, elsewhere.Seen.Add(time.Second)); len(got) > 0 {
		t.Errorf("somebody has looked at config.txt from another address: %v", got)
	}
	next := good()
	next.Opened = noon.Add(24 * time.Hour)
	for n := range next.Events {
		next.Events[n].Time = next.Events[n].Time.Add(24 * time.Hour)
	}
	for _, b := range []serve.Boot{good(), next} {
		if got := serve.Diagnose(b, &was, b.Seen.Add(time.Hour)); len(got) > 0 {
			t.Errorf("a good boot: %v", got)
		}
	}
}

// Trails outlive the front end, with what can be said of them, and are read from outside.
func TestTrailsAreKept(t *testing.T) {
	w := newWorld(t)
	w.promote("dev", "v1")
	w.want("91cdf03d/start4.elf", "v1")
	w.want("91cdf03d/fixup4.dat", "v1")
	w.clock.pass(time.Minute)
	w.restart()
	w.clock.pass(time.Second)
	w.want("91cdf03d/start4.elf", "v1") // starts over
	w.wantMissing("91cdf03d/recovery.elf")
	w.front.Close()
	defer w.start()
	all, err := serve.Trails(filepath.Dir(w.cfg.Dir))
	if err != nil {
		t.Fatal(err)
	}
	boots := all["91cdf03d"]
	if len(boots) != 2 || boots[0].Files != 2 || boots[1].Restarts != 1 || boots[1].Milestone != serve.Start || len(boots[1].Events) != 2 {
		t.Fatalf("kept: %+v", boots)
	}
	if len(boots[0].Diagnosis) != 1 || boots[0].Diagnosis[0].Row != 16 {
		t.Errorf("diagnosis of a boot that stopped after fixup4.dat: %+v", boots[0].Diagnosis)
	}
	if err := os.WriteFile(filepath.Join(w.cfg.Dir, "trail", "00000001.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if all, err := serve.Trails(w.cfg.Dir); err != nil || len(all) != 1 {
		t.Errorf("beside a broken one: %v, %v", all, err)
	}
	old := filepath.Join(w.cfg.Dir, "trail", "00000002.json")
	if err := errors.Join(os.WriteFile(old, []byte("[]"), 0o644), os.Chtimes(old, noon, noon.Add(-40*24*time.Hour))); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.front.Close()
	if _, err := os.Stat(old); err == nil {
		t.Error("the trail of a board that nobody has seen for 40 days is still there")
	}
}

// A board that does not accept boot.img asks for boot.sig again, which begins its next boot.
func TestHTTPBootThatStartsOver(t *testing.T) {
	w := newWorld(t)
	w.promoteFiles("dev", map[string]string{"boot.sig": "sig", "boot.img": "img"})
	for range 2 {
		for _, name := range []string{"boot.sig", "boot.img"} {
			f, err := w.front.Open(t.Context(), serve.Request{Client: client, Name: "91cdf03d/" + name, Protocol: "http"})
			if err != nil {
				t.Fatal(err)
			}
			f.Done(serve.OK, f.Size)
			f.Close()
			w.clock.pass(time.Second)
		}
	}
	boots := w.front.Trail("91cdf03d")
	if len(boots) != 2 || len(boots[0].Diagnosis) != 0 || len(boots[1].Diagnosis) != 1 || boots[1].Diagnosis[0].Row != 18 {
		t.Errorf("%+v", boots)
	}
}
